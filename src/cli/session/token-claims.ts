/**
 * The claims of a JWT, read without verifying it: only to show them, and to know when to ask for a new one.
 * The gateway and the agent are the ones who decide on tokens.
 */
import { isJsonObject, parseJsonObject } from "./private-file.ts";
import type { JsonObject } from "./private-file.ts";

export interface TokenClaims {
  readonly issuer: string | undefined;
  readonly subject: string | undefined;
  readonly audiences: readonly string[];
  /** In milliseconds since 1970. */
  readonly expiresAtMs: number | undefined;
  readonly issuedAtMs: number | undefined;
  readonly notBeforeMs: number | undefined;
  /** The name to show: email, then preferred_username, then sub. */
  readonly displayName: string | undefined;
  readonly header: JsonObject;
  readonly all: JsonObject;
}

/** Decodes a JWT in compact form (RFC 7519 section 3); undefined when the text is none. */
export function decodeTokenClaims(token: string): TokenClaims | undefined {
  const parts = token.split(".");
  const header = decodePart(parts[0]);
  const all = decodePart(parts[1]);
  if (parts.length !== 3 || header === undefined || all === undefined) return undefined;
  const audience = all["aud"];
  const audiences = (Array.isArray(audience) ? audience : [audience]).filter((item) => typeof item === "string");
  const text = (name: string): string | undefined => (typeof all[name] === "string" ? all[name] : undefined);
  return {
    issuer: text("iss"),
    subject: text("sub"),
    audiences,
    expiresAtMs: toMilliseconds(all["exp"]),
    issuedAtMs: toMilliseconds(all["iat"]),
    notBeforeMs: toMilliseconds(all["nbf"]),
    displayName: text("email") ?? text("preferred_username") ?? text("sub"),
    header,
    all,
  };
}

/** Whether the text can be sent as a bearer token (RFC 6750 section 2.1), so that no line break reaches a header. */
export function isBearerToken(text: string): boolean {
  return /^[A-Za-z0-9._~+/-]+=*$/.test(text);
}

function decodePart(part: string | undefined): JsonObject | undefined {
  if (part === undefined || !/^[A-Za-z0-9_-]+$/.test(part)) return undefined;
  const value = parseJsonObject(Buffer.from(part, "base64url").toString("utf8"));
  return isJsonObject(value) ? value : undefined;
}

/** The last second that RFC 3339 can write (the year 9999); a later expiry is kept as this, since Go would refuse the text. */
const maxDateMs = 253_402_300_799_000;

function toMilliseconds(seconds: unknown): number | undefined {
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) return undefined;
  return Math.max(0, Math.min(maxDateMs, seconds * 1000));
}
