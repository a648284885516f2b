/**
 * The identity that a verified token stands for, and the last pure check before it is impersonated.
 *
 * An agent holds the right to impersonate, so a wrong name here is an escalation, not a nuisance: an empty Impersonate-User
 * makes the request run as the agent itself, a line feed starts a new header, and a `system:` name borrows the cluster's own
 * power. What must stay true: nothing reaches an Impersonate-* header that this file has not allowed, and what it cannot
 * allow is refused or dropped, never repaired.
 */

/** A user as Kubernetes knows one (authentication.k8s.io/v1 UserInfo): username, uid, groups, and lower-case extra keys. */
export interface Identity {
  readonly username: string;
  /** Empty when the issuer's configuration maps none. */
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Why an identity may not be impersonated. */
export type IdentityRefusalReason =
  | "username-empty"
  | "username-malformed"
  | "username-reserved"
  | "uid-malformed"
  | "group-malformed"
  | "group-reserved"
  | "groups-too-many"
  | "extra-malformed"
  | "extra-too-many";

/** What may be impersonated, with the number of groups that the allow-list left out; or why nothing may be. */
export type IdentityDecision =
  | { readonly type: "allowed"; readonly identity: Identity; readonly droppedGroups: number }
  | { readonly type: "refused"; readonly reason: IdentityRefusalReason; readonly message: string };

/** Limits of an impersonated identity. */
export const identityLimits = {
  /** Bytes of a username, uid or group: four times the longest mail address, and far below any header limit on the way. */
  maxNameBytes: 512,
  /** Bytes of one extra value: room for a URL or a credential id. */
  maxExtraValueBytes: 1024,
  /** Groups after the allow-list: each one is a header line and one authorization check in the apiserver. Entra sends 200 at most. */
  maxGroups: 250,
  /** Extra values in all, for the same reason. */
  maxExtraValues: 64,
} as const;

/** Names that belong to the cluster itself start with this (Kubernetes RBAC reference, "Referring to subjects"). */
const reservedPrefix = "system:";

/** The apiserver adds this group to everybody who is authenticated, so a token that claims it asks for nothing. */
const impliedGroup = "system:authenticated";

/** Unicode controls (C0, DEL, C1 with U+0085) and the two Unicode line ends. */
const forbiddenCharacters = /[\p{Cc}\u2028\u2029]/u;

/** A lower-case extra key: printable ASCII; header writers percent-encode what is not a token character. */
const extraKeyPattern = /^[!-@[-~]+$/;

/**
 * Decides what of an identity may be impersonated. `allowedGroups` holds exact names and prefixes written as `prefix*`;
 * a group that matches none is dropped and counted. A reserved or malformed name refuses the whole identity.
 */
export function decideIdentity(identity: Identity, allowedGroups: readonly string[]): IdentityDecision {
  const refusal = refuseUser(identity) ?? refuseGroups(identity.groups) ?? refuseExtra(identity.extra);
  if (refusal !== undefined) return refusal;
  const groups = identity.groups.filter((group) => isAllowedGroup(group, allowedGroups));
  if (groups.length > identityLimits.maxGroups) {
    return refused(
      "groups-too-many",
      `the user is in ${groups.length} groups that this cluster allows; at most ${identityLimits.maxGroups} can be carried. Narrow the allow-list of groups or the groups that the issuer puts into the token`,
    );
  }
  const droppedGroups = identity.groups.filter((group) => group !== impliedGroup).length - groups.length;
  return { type: "allowed", identity: { ...identity, groups }, droppedGroups };
}

function refuseUser(identity: Identity): IdentityDecision | undefined {
  if (identity.username.trim() === "") return refused("username-empty", "the token maps to an empty username");
  if (!isSafeText(identity.username, identityLimits.maxNameBytes)) {
    return refused(
      "username-malformed",
      `the username holds a control character, starts or ends with space, or is longer than ${identityLimits.maxNameBytes} bytes`,
    );
  }
  if (identity.username.startsWith(reservedPrefix)) {
    return refused("username-reserved", "usernames that start with system: belong to the cluster itself; map the claim with a prefix");
  }
  if (identity.uid !== "" && !isSafeText(identity.uid, identityLimits.maxNameBytes)) {
    return refused(
      "uid-malformed",
      `the uid holds a control character, starts or ends with space, or is longer than ${identityLimits.maxNameBytes} bytes`,
    );
  }
  return undefined;
}

function refuseGroups(groups: readonly string[]): IdentityDecision | undefined {
  for (const group of groups) {
    if (group !== "" && !isSafeText(group, identityLimits.maxNameBytes)) {
      return refused(
        "group-malformed",
        `a group holds a control character, starts or ends with space, or is longer than ${identityLimits.maxNameBytes} bytes`,
      );
    }
    if (group.startsWith(reservedPrefix) && group !== impliedGroup) {
      return refused("group-reserved", "groups that start with system: belong to the cluster itself; map the claim with a prefix");
    }
  }
  return undefined;
}

function refuseExtra(extra: Identity["extra"]): IdentityDecision | undefined {
  let count = 0;
  for (const [key, values] of Object.entries(extra)) {
    count += values.length;
    const isSafe =
      extraKeyPattern.test(key) &&
      key.length <= identityLimits.maxNameBytes &&
      values.every((value) => value === "" || isSafeText(value, identityLimits.maxExtraValueBytes));
    if (!isSafe) {
      return refused(
        "extra-malformed",
        `an extra key is not lower-case ASCII, or its value holds a control character, starts or ends with space, or is longer than ${identityLimits.maxExtraValueBytes} bytes`,
      );
    }
  }
  if (count <= identityLimits.maxExtraValues) return undefined;
  return refused("extra-too-many", `the token maps to ${count} extra values; at most ${identityLimits.maxExtraValues} can be carried`);
}

function isAllowedGroup(group: string, allowedGroups: readonly string[]): boolean {
  if (group === "" || group.startsWith(reservedPrefix)) return false;
  return allowedGroups.some((allowed) => (allowed.endsWith("*") ? group.startsWith(allowed.slice(0, -1)) : group === allowed));
}

function isSafeText(text: string, maxBytes: number): boolean {
  if (text.length > maxBytes || text.trim() !== text || forbiddenCharacters.test(text) || !text.isWellFormed()) return false;
  return new TextEncoder().encode(text).length <= maxBytes;
}

function refused(reason: IdentityRefusalReason, message: string): IdentityDecision {
  return { type: "refused", reason, message };
}
