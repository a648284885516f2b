import type { Issuer, JwtAuthenticator } from "./configuration.ts";
import { doorLimits } from "./limits.ts";
import { type JsonObject, type JsonValue, toJsonObject } from "./strict-json.ts";
import { refuse, type RefusedToken } from "./token-verdict.ts";

/** The registered claims of a token (RFC 7519 section 4.1), with times in milliseconds since 1970. */
export interface RegisteredClaims {
  readonly type: "registered";
  readonly issuer: string;
  readonly subject: string;
  readonly audiences: readonly string[];
  readonly tokenId: string | undefined;
  readonly times: TokenTimes;
}

/** When a token may be used. */
export interface TokenTimes {
  readonly issuedAtMs: number;
  readonly notBeforeMs: number | undefined;
  readonly expiresAtMs: number;
}

/** Claims that kube-apiserver reads without regard to the case of their names, so that another spelling would be a second meaning. */
const foldedClaims = new Set(["iss", "sub", "aud", "exp", "nbf", "iat", "nonce", "at_hash", "_claim_names", "_claim_sources"]);

/** The largest NumericDate that a JavaScript date can hold, the year 275760. */
const maxSeconds = 8.64e12;

/** Reads the registered claims; what kube-apiserver reads in another type, or cannot read, is refused. */
export function parseRegisteredClaims(claims: JsonObject): RegisteredClaims | RefusedToken {
  if ([...claims.keys()].some(isFoldedClaim)) return malformed("it has a registered claim whose name is not in lower case");
  const issuer = claims.get("iss");
  const subject = claims.get("sub");
  const tokenId = claims.get("jti");
  const audiences = parseAudiences(claims.get("aud"));
  const times = parseTimes(claims);
  if (typeof issuer !== "string" || issuer === "") return malformed("iss must be a string");
  if (typeof subject !== "string" || subject === "") return malformed("sub must be a string that is not empty");
  if (audiences === undefined) return malformed("aud must be a string or an array of strings");
  if (typeof times === "string") return malformed(times);
  if (!isTextOrNull(claims.get("nonce")) || !isTextOrNull(claims.get("at_hash"))) return malformed("nonce and at_hash must be strings");
  return { type: "registered", issuer, subject, audiences, tokenId: typeof tokenId === "string" ? tokenId : undefined, times };
}

/** Checks a token's times against a clock; the same check serves a fresh token and a remembered verdict. */
export function refuseTimes(times: TokenTimes, nowMs: number): RefusedToken | undefined {
  if (nowMs > times.expiresAtMs) {
    return refuse("token-expired", "the token has expired; sign in again (or set the clock of this machine, if it is wrong)");
  }
  if (times.notBeforeMs !== undefined && times.notBeforeMs > nowMs + doorLimits.clockSkewMs) {
    return refuse("token-not-yet-valid", "the token is not valid yet (nbf): the clock of the issuer or of this machine is wrong");
  }
  if (times.issuedAtMs > nowMs + doorLimits.clockSkewMs) {
    return refuse("issued-in-future", "the token was issued in the future (iat): the clock of the issuer or of this machine is wrong");
  }
  return undefined;
}

/** Checks that the token lives no longer than the operator allows. */
export function refuseLifetime(times: TokenTimes, maxLifetimeMs: number): RefusedToken | undefined {
  if (times.expiresAtMs - times.issuedAtMs <= maxLifetimeMs) return undefined;
  return refuse(
    "lifetime-too-long",
    `the token lives longer (exp minus iat) than the ${Math.floor(maxLifetimeMs / 1000)} seconds allowed here`,
  );
}

/** Checks that the token is meant for this cluster, and that a token for several was issued to one of its own clients. */
export function refuseAudience(claims: JsonObject, registered: RegisteredClaims, issuer: Issuer): RefusedToken | undefined {
  if (!registered.audiences.some((audience) => issuer.audiences.includes(audience))) {
    return refuse("audience-mismatch", "the token is meant for another audience (aud)");
  }
  const authorizedParty = claims.get("azp");
  if (registered.audiences.length < 2 || authorizedParty === undefined) return undefined;
  if (typeof authorizedParty === "string" && issuer.audiences.includes(authorizedParty)) return undefined;
  return refuse("authorized-party-mismatch", "the token has several audiences and was issued to another client (azp)");
}

/**
 * Refuses a token whose groups must be fetched from somewhere else (OpenID Connect Core section 5.6.2): the address and
 * the credential for it come from the token, and the door never fetches because of a token.
 */
export function refuseDistributedClaims(claims: JsonObject, authenticator: JwtAuthenticator): RefusedToken | undefined {
  if (!claims.has("_claim_names") && !claims.has("_claim_sources")) return undefined;
  const names = toJsonObject(claims.get("_claim_names") ?? null);
  const sources = toJsonObject(claims.get("_claim_sources") ?? null);
  const isSound =
    names !== undefined &&
    sources !== undefined &&
    [...names.values()].every((source) => typeof source === "string" && source !== "" && toJsonObject(sources.get(source)) !== undefined);
  if (!isSound) return malformed("_claim_names and _claim_sources do not fit each other");
  const groups = authenticator.groups;
  if (groups?.type !== "claim" || claims.has(groups.claim) || !names.has(groups.claim)) return undefined;
  return refuse(
    "distributed-claims",
    "the token names a place to fetch the user's groups from instead of holding them; let the issuer put fewer groups into the token (Entra: groups assigned to the application)",
  );
}

function isFoldedClaim(name: string): boolean {
  return !foldedClaims.has(name) && foldedClaims.has(name.toUpperCase().toLowerCase());
}

function parseTimes(claims: JsonObject): TokenTimes | string {
  const [expires, issued, notBefore] = [claims.get("exp"), claims.get("iat"), claims.get("nbf")];
  if (!isNumericDate(expires)) return "exp must be a number of seconds since 1970";
  if (!isNumericDate(issued)) return "iat must be a number of seconds since 1970";
  if (notBefore !== undefined && !isNumericDate(notBefore)) return "nbf must be a number of seconds since 1970";
  // Whole seconds, as kube-apiserver takes them.
  const notBeforeMs = notBefore === undefined ? undefined : Math.trunc(notBefore) * 1000;
  return { expiresAtMs: Math.trunc(expires) * 1000, issuedAtMs: Math.trunc(issued) * 1000, notBeforeMs };
}

function isNumericDate(value: JsonValue | undefined): value is number {
  return typeof value === "number" && value >= 0 && value <= maxSeconds;
}

function parseAudiences(value: JsonValue | undefined): readonly string[] | undefined {
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) return undefined;
  const audiences = value.filter((audience) => typeof audience === "string");
  return audiences.length === value.length ? audiences : undefined;
}

function isTextOrNull(value: JsonValue | undefined): boolean {
  return value === undefined || value === null || typeof value === "string";
}

function malformed(what: string): RefusedToken {
  return refuse("claims-malformed", `the token's claims cannot be used: ${what}`);
}
