/** Header lines at the border to the apiserver: what belongs to a connection is left off, what could break out of a line is refused. */
import { GatewayError } from "#core/errors.ts";
import { headerProblem, isToken, listValues } from "#core/kube/headers.ts";
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

/** A response's header lines without those of its connection, and what `Connection` said. */
export interface ResponseHead {
  readonly headers: HeaderPairs;
  /** The tokens of all `Connection` headers, in lower case. */
  readonly options: ReadonlySet<string>;
}

const noOptions: ReadonlySet<string> = new Set();

/** Takes off hop-by-hop headers and those that `Connection` names, in one pass where it names none, as most answers do. */
export function readResponseHead(pairs: HeaderPairs): ResponseHead {
  const headers = pairs.filter(([name]) => !connectionHeaders.has(name.toLowerCase()));
  if (!pairs.some(([name]) => name.length === "connection".length && name.toLowerCase() === "connection"))
    return { headers, options: noOptions };
  const options = new Set(listValues(pairs, "connection").map((option) => option.toLowerCase()));
  return { headers: headers.filter(([name]) => !options.has(name.toLowerCase())), options };
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
