/** Header lines at the border to the apiserver: what belongs to a connection is left off, what could break out of a line is refused. */
import { GatewayError } from "#core/errors.ts";
import { headerProblem, isToken } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";

/**
 * Headers that the HTTP client writes itself, or that belong to another connection (RFC 9110 section 7.6.1). They are left off by
 * name only: a `Connection` header that reached this point must not be able to name one of the identity headers away.
 */
const connectionHeaders: ReadonlySet<string> = new Set([
  "connection",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

const targetPattern = /^\/[\x21-\x7e\x80-\xff]*$/;

/** The request's lines as `[name, value, name, value…]` without connection headers; throws REQUEST_INVALID for what is not a header line. */
export function toWireHeaders(pairs: HeaderPairs): string[] {
  const problem = headerProblem(pairs);
  if (problem !== undefined) throw new GatewayError("REQUEST_INVALID", problem);
  const flat: string[] = [];
  for (const [name, value] of pairs) {
    if (!connectionHeaders.has(name.toLowerCase())) flat.push(name, value);
  }
  return flat;
}

/** Throws REQUEST_INVALID unless a request line can be made of both without ambiguity (RFC 9112 section 3). */
export function assertRequestLine(method: string, target: string): void {
  if (!isToken(method)) throw new GatewayError("REQUEST_INVALID", "the method is not a token of RFC 9110");
  if (!targetPattern.test(target))
    throw new GatewayError("REQUEST_INVALID", "the target is not a path without spaces and control characters");
}

/** The first value of a header, by its lower-case name. */
export function headerValue(pairs: HeaderPairs, lowerName: string): string | undefined {
  return pairs.find(([name]) => name.length === lowerName.length && name.toLowerCase() === lowerName)?.[1];
}

/** Pairs of the flat list that Node's parser gives. */
export function toPairs(flat: readonly string[]): HeaderPairs {
  const pairs: [string, string][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) pairs.push([flat[index] ?? "", flat[index + 1] ?? ""]);
  return pairs;
}
