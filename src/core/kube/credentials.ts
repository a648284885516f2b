/**
 * The one reader of a client's bearer token. A request shows exactly one credential, in one of two places: the `Authorization`
 * field, or, because browsers cannot set that on a WebSocket, a sub-protocol (k8s.io/apiserver
 * pkg/authentication/request/websocket). Everything else that looks like one is refused, never guessed at: a wrong credential is
 * not an absent one. Query parameters are never read.
 */
import type { ErrorCode } from "#core/errors.ts";
import { headerValues } from "./headers.ts";
import type { HeaderPairs } from "./headers.ts";

/** Longest token in bytes: ID tokens with 200 groups have about 10 KiB. */
export const maximumTokenBytes = 16 * 1024;

/** A WebSocket sub-protocol that starts so carries a bearer token in base64url. */
export const bearerProtocolPrefix = "base64url.bearer.authorization.k8s.io.";

/** What a request shows. `protocols` are the WebSocket sub-protocols that remain to be negotiated, in the client's order. */
export type Credentials =
  | { readonly type: "bearer"; readonly token: string; readonly protocols: readonly string[] }
  | { readonly type: "none"; readonly protocols: readonly string[] }
  | { readonly type: "invalid"; readonly code: Extract<ErrorCode, "TOKEN_INVALID" | "REQUEST_INVALID">; readonly message: string };

/** Reads the one bearer token of a request, and takes it out of the sub-protocols. */
export function parseCredentials(headers: HeaderPairs): Credentials {
  const offered = parseProtocols(headers);
  if (offered === undefined) return invalid("REQUEST_INVALID", "Sec-WebSocket-Protocol is malformed");
  const carriers = offered.filter((protocol) => isBearerProtocol(protocol));
  const protocols = offered.filter((protocol) => !isBearerProtocol(protocol));
  const lines = headerValues(headers, "authorization");
  if (lines.length + carriers.length > 1) return invalid("TOKEN_INVALID", "the request shows more than one credential");
  const [line] = lines;
  if (line !== undefined) return withToken(readAuthorization(line), protocols);
  const [carrier] = carriers;
  if (carrier === undefined) return { type: "none", protocols };
  if (protocols.length === 0) return invalid("TOKEN_INVALID", "the bearer sub-protocol needs another sub-protocol beside it");
  return withToken(readProtocol(carrier), protocols);
}

/**
 * The WebSocket sub-protocols that a request offers, in order; undefined when the list is malformed or names one twice
 * (RFC 6455 section 4.1). `/` is taken although no token may hold it: `SPDY/3.1+portforward.k8s.io` is Kubernetes' own.
 */
export function parseProtocols(headers: HeaderPairs): readonly string[] | undefined {
  const lines = headerValues(headers, "sec-websocket-protocol");
  const protocols = lines.flatMap((line) => line.split(",")).map((protocol) => protocol.replaceAll(/^[ \t]+|[ \t]+$/g, ""));
  const isList = protocols.length <= maximumProtocols && protocols.every((protocol) => /^[!#$%&'*+\-.^_`|~0-9A-Za-z/=]+$/.test(protocol));
  const others = protocols.filter((protocol) => !isBearerProtocol(protocol));
  return isList && new Set(others).size === others.length ? protocols : undefined;
}

/** kubectl offers one sub-protocol, other clients up to six. */
const maximumProtocols = 16;

function isBearerProtocol(protocol: string): boolean {
  return protocol.startsWith(bearerProtocolPrefix);
}

/** RFC 6750 section 2.1, with one space; the scheme in any case. */
function readAuthorization(line: string): string | undefined {
  return /^bearer (?<token>.+)$/i.exec(line)?.groups?.["token"];
}

function readProtocol(carrier: string): string | undefined {
  const encoded = carrier.slice(bearerProtocolPrefix.length);
  if (encoded.length > maximumTokenBytes * 2 || !/^[A-Za-z0-9_-]+$/.test(encoded) || encoded.length % 4 === 1) return undefined;
  const bytes = atob(encoded.replaceAll("-", "+").replaceAll("_", "/"));
  const canonical = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return canonical === encoded ? bytes : undefined; // spare bits set: two texts for one token
}

/** A token is RFC 6750's b64token: no comma, no space, nothing but ASCII. */
function withToken(token: string | undefined, protocols: readonly string[]): Credentials {
  if (token === undefined) return invalid("TOKEN_INVALID", "the credential is not a bearer token");
  if (token.length > maximumTokenBytes) return invalid("TOKEN_INVALID", `the bearer token is longer than ${maximumTokenBytes} bytes`);
  if (!/^[A-Za-z0-9\-._~+/]+=*$/.test(token)) return invalid("TOKEN_INVALID", "the bearer token holds a character that none may hold");
  return { type: "bearer", token, protocols };
}

function invalid(code: "TOKEN_INVALID" | "REQUEST_INVALID", message: string): Credentials {
  return { type: "invalid", code, message };
}
