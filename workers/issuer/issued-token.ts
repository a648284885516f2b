/** Tokens that the gateway gives out, as they are asked for, stored and shown. The token itself is kept nowhere. */
import type { PublicKeySet } from "#core/gateway-api.ts";

/** Who a token is for, as the issuer where the person signed in names them. */
export interface TokenOwner {
  readonly issuer: string;
  readonly subject: string;
}

export interface TokenRequest {
  /** The gateway as an issuer: the claim `iss`. */
  readonly issuer: string;
  readonly cluster: string;
  /** The audience of this cluster for tokens of the gateway. */
  readonly audience: string;
  readonly owner: TokenOwner;
  /** The person as this cluster's AuthenticationConfiguration maps them. */
  readonly username: string;
  readonly uid: string;
  readonly groups: readonly string[];
}

/** A token that was given out, with whom it was given to. */
export interface OwnedToken extends IssuedToken {
  readonly owner: TokenOwner;
}

/** A token that was given out. */
export interface IssuedToken {
  /** The claim `jti`. */
  readonly id: string;
  readonly cluster: string;
  readonly username: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

export type Issuance = { readonly type: "issued"; readonly token: string; readonly issued: IssuedToken } | { readonly type: "too-many" };

/** The gateway's one issuer, as the Worker calls it. */
export interface TokenIssuerStub {
  publicKeys(): Promise<PublicKeySet>;
  issue(request: TokenRequest): Promise<Issuance>;
  list(owners: readonly TokenOwner[]): Promise<readonly IssuedToken[]>;
  revoke(id: string, owners: readonly TokenOwner[]): Promise<string | undefined>;
  revoked(cluster: string): Promise<readonly string[]>;
  ownerOf(id: string): Promise<TokenOwner | undefined>;
  listAll(): Promise<readonly OwnedToken[]>;
}

export function tokenIssuerOf(env: Env): TokenIssuerStub {
  return env.ISSUER.getByName("issuer");
}

/** The gateway's name as an issuer. */
export function issuerUrlOf(env: Env): string {
  return `${new URL(env.GATEWAY_URL).origin}/issuer`;
}
