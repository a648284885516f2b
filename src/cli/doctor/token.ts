/** Checks of the sign-in: the login's issuer, the session, and what the token door will look at in the token. */
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { doorLimits } from "#identity/limits.ts";
import { requestJson } from "#cli/session/bounded-fetch.ts";
import type { Fetch } from "#cli/session/bounded-fetch.ts";
import { decodeTokenClaims } from "#cli/session/token-claims.ts";
import type { TokenClaims } from "#cli/session/token-claims.ts";
import { failed, passed, skipped, warned } from "./check.ts";
import type { CheckResult } from "./check.ts";

/** OpenID Connect Discovery 1.0 section 4. */
export async function checkIssuer(login: LoginConfiguration | undefined, fetch: Fetch): Promise<CheckResult> {
  if (login === undefined) return skipped("the gateway names no login here; tokens come from elsewhere");
  const answer = await requestJson(fetch, `${login.issuer.replace(/\/$/, "")}/.well-known/openid-configuration`, {});
  if (answer.type === "unreachable")
    return failed("ISSUER_UNREACHABLE", `${login.issuer} gives no answer (${answer.detail})`, "Check the network to the issuer.");
  if (answer.status !== 200)
    return failed(
      "ISSUER_UNREACHABLE",
      `${login.issuer} answers with status ${answer.status}`,
      "Tell the gateway's admin: the login's issuer is wrong.",
    );
  if (answer.body?.["issuer"] !== login.issuer)
    return failed(
      "ISSUER_UNREACHABLE",
      `${login.issuer} says that it is another issuer`,
      "Tell the gateway's admin: the login's issuer is wrong.",
    );
  const flows = [
    answer.body["device_authorization_endpoint"] === undefined ? "" : "device",
    answer.body["authorization_endpoint"] === undefined ? "" : "browser",
  ];
  return passed(`${login.issuer} (${flows.filter((flow) => flow !== "").join(", ")} login)`);
}

export interface TokenCheck {
  readonly token: string;
  readonly login: LoginConfiguration | undefined;
  readonly signInCommand: string;
  readonly nowMs: number;
}

/** What the door decides by claims alone; signatures and mappings are the cluster's to judge, and `whoami` shows them. */
export function checkToken({ token, login, signInCommand, nowMs }: TokenCheck): CheckResult {
  if (token.length > doorLimits.maxTokenBytes)
    return failed(
      "TOKEN_INVALID",
      `the token has ${token.length} bytes, more than the ${doorLimits.maxTokenBytes} that are taken`,
      "Ask the issuer's admin to send fewer groups.",
    );
  const claims = decodeTokenClaims(token);
  if (claims === undefined) return failed("TOKEN_INVALID", "the token is no JWT", signInCommand);
  const fault = algorithmFault(claims) ?? timeFault(claims, nowMs) ?? claimFault(claims);
  if (fault !== undefined) return failed("TOKEN_INVALID", fault, signInCommand);
  return login === undefined ? passed(describeToken(claims, nowMs)) : checkAgainstLogin(claims, login, { signInCommand, nowMs });
}

function checkAgainstLogin(
  claims: TokenClaims,
  login: LoginConfiguration,
  { signInCommand, nowMs }: Pick<TokenCheck, "signInCommand" | "nowMs">,
): CheckResult {
  if (claims.issuer !== login.issuer)
    return warned(
      `the token is of ${claims.issuer ?? "no issuer"}, the login of ${login.issuer}`,
      "That is right only if the cluster trusts both issuers.",
    );
  if (!claims.audiences.includes(login.clientId))
    return failed("TOKEN_INVALID", `the token is meant for ${claims.audiences.join(", ")}, not for ${login.clientId}`, signInCommand);
  return passed(describeToken(claims, nowMs));
}

function describeToken(claims: TokenClaims, nowMs: number): string {
  return `${claims.displayName ?? "no name"}, by ${claims.issuer ?? ""}, for ${claims.audiences.join(", ")}, ${describeEnd(claims, nowMs)}`;
}

function algorithmFault(claims: TokenClaims): string | undefined {
  const algorithm = claims.header["alg"];
  if (typeof algorithm !== "string" || algorithm === "none" || algorithm.startsWith("HS"))
    return `the token is signed with ${String(algorithm)}, which no door takes`;
  return undefined;
}

function timeFault(claims: TokenClaims, nowMs: number): string | undefined {
  const { expiresAtMs, issuedAtMs, notBeforeMs } = claims;
  if (expiresAtMs === undefined) return "the token never expires, so it is refused";
  if (expiresAtMs <= nowMs) return `the token expired ${describeSpan(nowMs - expiresAtMs)} ago`;
  if (issuedAtMs !== undefined && issuedAtMs > nowMs + doorLimits.clockSkewMs) return "the token is from the future: a clock is wrong";
  if (notBeforeMs !== undefined && notBeforeMs > nowMs + doorLimits.clockSkewMs) return "the token is not yet valid: a clock is wrong";
  if (issuedAtMs !== undefined && expiresAtMs - issuedAtMs > doorLimits.maxLifetimeMs)
    return `the token lives for ${describeSpan(expiresAtMs - issuedAtMs)}, longer than doors allow by default`;
  return undefined;
}

function claimFault(claims: TokenClaims): string | undefined {
  if (claims.issuer === undefined) return "the token names no issuer (iss)";
  if (claims.subject === undefined) return "the token names no subject (sub)";
  return claims.audiences.length === 0 ? "the token names no audience (aud)" : undefined;
}

function describeEnd(claims: TokenClaims, nowMs: number): string {
  return claims.expiresAtMs === undefined ? "no end" : `${describeSpan(claims.expiresAtMs - nowMs)} left`;
}

function describeSpan(durationMs: number): string {
  const minutes = Math.floor(durationMs / 60_000);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}
