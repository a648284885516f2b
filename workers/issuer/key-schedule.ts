/**
 * When signing keys are made, used and forgotten. A key is published before it signs, so that no verifier meets a key that it could not
 * know, and after it has signed last, for as long as a token of it may live.
 */
import { issuerLimits } from "./limits.ts";

export interface DatedKey {
  readonly id: string;
  readonly createdAtMs: number;
}

export interface KeyPlan<Key extends DatedKey> {
  /** May sign now; the last one does. The first key ever needs no announcement: nobody knows another. */
  readonly ready: readonly Key[];
  /** Whether another key is to be made and published now. */
  readonly wantsNewKey: boolean;
  /** Are published no longer. */
  readonly expired: readonly Key[];
}

/** @param keys all keys, the oldest first */
export function planKeys<Key extends DatedKey>(keys: readonly Key[], nowMs: number): KeyPlan<Key> {
  const ready = keys.filter((key, index) => index === 0 || nowMs - key.createdAtMs >= issuerLimits.announcedMs);
  const newest = keys.at(-1);
  const wantsNewKey = newest === undefined || nowMs - newest.createdAtMs >= issuerLimits.signingMs;
  const expired = keys.filter((_key, index) => {
    const successor = keys[index + 1];
    return successor !== undefined && nowMs - successor.createdAtMs >= issuerLimits.announcedMs + issuerLimits.retiredMs;
  });
  return { ready, wantsNewKey, expired };
}
