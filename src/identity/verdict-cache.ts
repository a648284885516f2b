import type { TokenTimes } from "./claims.ts";
import type { KeySource } from "./key-source.ts";
import { doorLimits } from "./limits.ts";
import type { VerifiedToken } from "./token-verdict.ts";

/** A verified token, and what must still hold for the verdict to hold. */
export interface RememberedVerdict {
  readonly verdict: VerifiedToken;
  readonly times: TokenTimes;
  readonly keys: KeySource;
  /** Of the keys when the signature was verified. */
  readonly generation: number;
}

/**
 * Verdicts of verified tokens, so that a repeated token costs one look-up. The key is the token's text: parsing admits one
 * spelling only. Bounded in entries and in characters; the least recently used one goes first. Refusals are not kept, or
 * anybody could fill it.
 */
export class VerdictCache {
  readonly #entries = new Map<string, RememberedVerdict>();
  #characters = 0;

  get(token: string): RememberedVerdict | undefined {
    const entry = this.#entries.get(token);
    if (entry === undefined) return undefined;
    this.#entries.delete(token);
    this.#entries.set(token, entry);
    return entry;
  }

  put(token: string, entry: RememberedVerdict): void {
    if (!this.#entries.has(token)) this.#characters += token.length;
    this.#entries.set(token, entry);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= doorLimits.maxCachedVerdicts && this.#characters <= doorLimits.maxCachedCharacters) return;
      this.#entries.delete(oldest);
      this.#characters -= oldest.length;
    }
  }
}
