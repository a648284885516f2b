/**
 * The gateway's cookies. Each holds one opaque secret and nothing else. The prefix `__Host-` makes browsers keep them to this very host,
 * over TLS, for all paths (RFC 6265bis section 4.1.3.2); a name that comes twice was put there by somebody else, and none of the two counts.
 */
import { isSecret } from "./secret.ts";

/** The session of somebody who has signed in, and the mark of a browser that is signing in. */
export const cookieNames = { session: "__Host-sallyport-session", start: "__Host-sallyport-start" } as const;

export type CookieName = keyof typeof cookieNames;

/** The cookie's secret; undefined when it is missing, malformed or there more than once. */
export function readCookie(headers: Headers, name: CookieName): string | undefined {
  const values = (headers.get("cookie") ?? "")
    .split(/[;,]/)
    .map((pair) => pair.trim())
    .filter((pair) => pair.slice(0, Math.max(0, pair.indexOf("="))).trimEnd() === cookieNames[name])
    .map((pair) => pair.slice(pair.indexOf("=") + 1).trimStart());
  const [value = ""] = values;
  return values.length === 1 && isSecret(value) ? value : undefined;
}

/** A Set-Cookie line. Lax, because the issuer's redirect back comes from another site; no form of another site brings it along. */
export function setCookie(name: CookieName, secret: string, maxAgeMs: number): string {
  return `${cookieNames[name]}=${secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=${Math.floor(maxAgeMs / 1000)}`;
}

/** A Set-Cookie line that takes the cookie away. */
export function clearCookie(name: CookieName): string {
  return setCookie(name, "", 0);
}
