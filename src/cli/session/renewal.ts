/** Renewing a session with its refresh token (RFC 6749 section 6, OpenID Connect Core 1.0 section 12). */
import { requestJson } from "./bounded-fetch.ts";
import type { Fetch } from "./bounded-fetch.ts";
import { isSafeForSecrets } from "./gateway-url.ts";
import type { JsonObject } from "./private-file.ts";
import { decodeTokenClaims, isBearerToken } from "./token-claims.ts";
import type { Renewal, Session } from "./token-store.ts";

/** What came of it. `refused` is final: the refresh token is spent or revoked. `unreachable` may pass. */
export type RenewalOutcome =
  | { readonly type: "renewed"; readonly session: Session }
  | { readonly type: "refused"; readonly reason: string }
  | { readonly type: "unreachable"; readonly detail: string };

export async function renewSession(session: Session, renewal: Renewal, fetch: Fetch): Promise<RenewalOutcome> {
  if (!isSafeForSecrets(renewal.tokenEndpoint)) return { type: "refused", reason: "the token endpoint is not https" };
  const answer = await requestJson(fetch, renewal.tokenEndpoint, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/x-www-form-urlencoded" },
    body: new URLSearchParams({
      grant_type: "refresh_token",
      client_id: renewal.clientId,
      refresh_token: renewal.refreshToken,
    }).toString(),
  });
  if (answer.type === "unreachable") return answer;
  if (answer.status === 429 || answer.status >= 500) return { type: "unreachable", detail: `HTTP status ${answer.status}` };
  if (answer.status !== 200) return { type: "refused", reason: errorCode(answer.body) ?? `HTTP status ${answer.status}` };
  return readAnswer(session, renewal, answer.body ?? {});
}

function readAnswer(session: Session, renewal: Renewal, body: JsonObject): RenewalOutcome {
  const { id_token: idToken, refresh_token: rotated } = body;
  if (typeof idToken !== "string" || !isBearerToken(idToken)) return { type: "refused", reason: "the issuer renews no ID tokens" };
  const before = decodeTokenClaims(session.idToken);
  const after = decodeTokenClaims(idToken);
  // OpenID Connect Core section 12.2: a renewed ID token names the same issuer, subject and client.
  const isSame = after !== undefined && after.issuer === before?.issuer && after.subject === before?.subject;
  if (!isSame || !after.audiences.includes(renewal.clientId))
    return { type: "refused", reason: "the issuer answered with another user's or client's token" };
  const refreshToken = typeof rotated === "string" && rotated !== "" ? rotated : renewal.refreshToken;
  return { type: "renewed", session: { ...session, idToken, expiresAtMs: after.expiresAtMs, renewal: { ...renewal, refreshToken } } };
}

/** The error code of RFC 6749 section 5.2; the description is the issuer's free text and is left out. */
function errorCode(body: JsonObject | undefined): string | undefined {
  const error = body?.["error"];
  return typeof error === "string" && /^[A-Za-z0-9_.-]{1,64}$/.test(error) ? error : undefined;
}
