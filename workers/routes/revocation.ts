/** Whether a verified token still stands: the gateway's own tokens can be revoked, and only those. */
import { issuerUrlOf, tokenIssuerOf } from "#workers/issuer/issued-token.ts";
import type { Gateway } from "#workers/gateway.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";

/** Asks whether a token was revoked; undefined for a token of another issuer, about which the gateway knows nothing. */
export function revocationOf(gateway: Gateway, cluster: string, token: VerifiedToken): (() => Promise<boolean>) | undefined {
  if (token.issuer !== issuerUrlOf(gateway.env)) return undefined;
  return () => gateway.revocations.isRevoked(tokenIssuerOf(gateway.env), cluster, token.tokenId);
}
