/** The gateway as an issuer, for whoever verifies its tokens: the discovery document (OpenID Connect Discovery 1.0) and the keys. */
import { GatewayError } from "#core/errors.ts";
import { issuerUrlOf, tokenIssuerOf } from "#workers/issuer/issued-token.ts";
import { assertSignInConfigured } from "#workers/session/configuration.ts";

/** How long a verifier may keep the keys; a new key is published an hour before it signs. */
const documentHeaders = { "content-type": "application/json", "cache-control": "public, max-age=60", "x-content-type-options": "nosniff" };

/** What is at a path of the issuer. @throws GatewayError NOT_FOUND, SIGN_IN_UNAVAILABLE */
export async function issuerDocument(env: Env, path: string): Promise<Response> {
  await assertSignInConfigured(env);
  const issuer = issuerUrlOf(env);
  switch (path) {
    case "/issuer/.well-known/openid-configuration":
      return new Response(
        JSON.stringify({
          issuer,
          jwks_uri: `${issuer}/jwks`,
          response_types_supported: ["id_token"],
          subject_types_supported: ["public"],
          id_token_signing_alg_values_supported: ["ES256"],
          claims_supported: ["iss", "sub", "aud", "exp", "iat", "jti", "groups", "uid"],
        }),
        { headers: documentHeaders },
      );
    case "/issuer/jwks":
      return new Response(JSON.stringify(await tokenIssuerOf(env).publicKeys()), { headers: documentHeaders });
    default:
      throw new GatewayError("NOT_FOUND", "the gateway as an issuer has its discovery document and its keys, and nothing else");
  }
}
