/** An OpenID Connect issuer's signing side: keys, tokens, and the key set that verifies them. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { JWK, JWTPayload } from "jose";

export interface TestIssuer {
  readonly url: string;
  readonly keySet: { readonly keys: readonly JWK[] };
  /** Signs claims over defaults that make a good token for an hour. */
  token(claims: JWTPayload, lifetimeSeconds?: number): Promise<string>;
}

export async function createTestIssuer(url: string): Promise<TestIssuer> {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwk: JWK = { ...(await exportJWK(publicKey)), kid: "k1", alg: "ES256", use: "sig" };
  return {
    url,
    keySet: { keys: [jwk] },
    token: (claims, lifetimeSeconds = 3600) => {
      const now = Math.floor(Date.now() / 1000);
      return new SignJWT({ iss: url, iat: now, exp: now + lifetimeSeconds, ...claims })
        .setProtectedHeader({ alg: "ES256", kid: "k1", typ: "JWT" })
        .sign(privateKey);
    },
  };
}
