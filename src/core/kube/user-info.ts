/** Users as Kubernetes knows them, and what of them can be written as a header without changing. */

/** authentication.k8s.io/v1 UserInfo, with every field present. */
export interface UserInfo {
  readonly username: string;
  /** Empty for none. */
  readonly uid: string;
  readonly groups: readonly string[];
  /** Keys in lower case. */
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Limits of a user that is impersonated; what is above them is refused, never cut. */
export const userLimits = {
  /** Bytes of a username, uid, group or extra key: four times the longest mail address. */
  maxNameBytes: 512,
  /** Bytes of one extra value: room for a URL or a credential id. */
  maxExtraValueBytes: 1024,
  /** Each group is a header line and one authorization check in the apiserver; Entra sends 200 at most. */
  maxGroups: 250,
  /** Extra values in all, for the same reason. */
  maxExtraValues: 64,
} as const;

/**
 * Whether a header can carry the text exactly: well formed, not empty, no controls, no Unicode line ends, and no space at an end,
 * which HTTP/1.1 would trim.
 */
export function isExactText(text: string, maximumBytes: number): boolean {
  if (text === "" || text.length > maximumBytes || !text.isWellFormed() || text.trim() !== text) return false;
  return !/[\p{Cc}\u2028\u2029]/u.test(text) && new TextEncoder().encode(text).length <= maximumBytes;
}
