import type { Identity } from "#core/access/identity.ts";

/** Why a token was refused. */
export type TokenRefusalReason =
  | "token-too-large"
  | "token-malformed"
  | "token-encrypted"
  | "token-type-refused"
  | "header-refused"
  | "algorithm-refused"
  | "claims-malformed"
  | "issuer-unknown"
  | "audience-mismatch"
  | "authorized-party-mismatch"
  | "token-expired"
  | "token-not-yet-valid"
  | "issued-in-future"
  | "lifetime-too-long"
  | "key-unknown"
  | "keys-unavailable"
  | "signature-invalid"
  | "distributed-claims"
  | "mapping-failed"
  | "claim-rule-failed"
  | "user-rule-failed"
  | "internal";

/** A token that the door accepts: who it stands for, and the facts that streams, renewals, revocation and audit need. */
export interface VerifiedToken {
  readonly type: "verified";
  /** As kube-apiserver maps it, before the agent's allow-list of groups (`decideIdentity`). */
  readonly identity: Identity;
  /** The claim `iss`; with `subject` it names the token's owner for renewals and revocation. */
  readonly issuer: string;
  /** The claim `sub`. */
  readonly subject: string;
  /** The claim `jti`. */
  readonly tokenId: string | undefined;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

/** A token that the door refuses; the message is fit for the token's sender and holds nothing of the token's values. */
export interface RefusedToken {
  readonly type: "refused";
  readonly reason: TokenRefusalReason;
  readonly message: string;
}

/** The door's answer to a token. */
export type TokenVerdict = VerifiedToken | RefusedToken;

/** A refusal. */
export function refuse(reason: TokenRefusalReason, message: string): RefusedToken {
  return { type: "refused", reason, message };
}
