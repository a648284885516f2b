/**
 * The one writer of identity headers. Agents hold the right to impersonate, so whoever writes `Impersonate-*` decides who acts in
 * the cluster; nobody else may write those names, and this file trusts nothing that a client sent under them.
 *
 * What must stay true:
 * - Fields of the hop, and those that the client's `Connection` names, go first; identity is written last, after all else.
 * - To the API only listed client headers go. To an application behind a `/proxy` subresource all go, except those that say who
 *   or where somebody is, which only the gateway may say, and the gateway's own cookies.
 * - Each group and each extra value is one line. Joined lines would be one strange group, split ones an invented group.
 * - An empty username never leaves here: the apiserver would run the request as the agent itself.
 * - No value holds a control character: a bare line feed starts a new header for Go's server.
 */
import { GatewayError } from "#core/errors.ts";
import type { ErrorCode } from "#core/errors.ts";
import { encodeHeaderText, headerProblem, headerValues, isHeaderValue, isToken, withoutHopByHop } from "./headers.ts";
import type { HeaderPair, HeaderPairs } from "./headers.ts";
import type { KubeRequest } from "./request-path.ts";
import { isExactText, userLimits } from "./user-info.ts";
import type { UserInfo } from "./user-info.ts";

/** The extra that names the true user of a request that runs as somebody else (`kubectl --as`), for the cluster's audit log. */
export const originalUserExtra = "sallyport.dev/original-user";

/** Bytes of a User-Agent that go on: kubectl's has about 60; the field goes into the cluster's audit log as it is. */
export const maximumUserAgentBytes = 256;

/** Cookies whose name starts so (after `__Host-` or `__Secure-`) are the gateway's and never reach an application. */
export const gatewayCookiePrefix = "sallyport";

/** What the apiserver's request headers are made from. */
export interface RequestHeaderInput {
  readonly request: KubeRequest;
  /** As the client sent them; names in any case. Trailers are not headers and are never forwarded. */
  readonly clientHeaders: HeaderPairs;
  /** Who the request runs as: the verified user, or whom that user may impersonate. */
  readonly identity: UserInfo;
  /** The verified user's name when `identity` is another, asked for with `--as` and authorized. */
  readonly originalUser?: string | undefined;
  /** The agent's own credential, such as `Bearer …`; undefined when it authenticates by client certificate. */
  readonly authorization?: string | undefined;
  readonly auditId: string;
  /** The address that the gateway saw. */
  readonly clientIp?: string | undefined;
  /** The Host that the client used: an application behind `/proxy` is told it. */
  readonly clientHost?: string | undefined;
  /** For a WebSocket upgrade, and only then: the sub-protocols to offer, without any credential. */
  readonly webSocketProtocols?: readonly string[] | undefined;
  /** For an upgrade to SPDY, and only then: the stream protocols to offer (`X-Stream-Protocol-Version`). */
  readonly streamProtocols?: readonly string[] | undefined;
}

/** The headers to send, or why the request must not be sent. */
export type RequestHeaders =
  | { readonly type: "headers"; readonly headers: HeaderPairs }
  | { readonly type: "refused"; readonly code: Extract<ErrorCode, "REQUEST_INVALID" | "IDENTITY_REFUSED">; readonly message: string };

/**
 * Writes the headers of a request to the apiserver. A client's malformed header refuses the request, and so does an identity
 * that cannot be written exactly. Throws a `GatewayError` INTERNAL when the agent's own values hold what no header can.
 */
export function writeRequestHeaders(input: RequestHeaderInput): RequestHeaders {
  const problem =
    headerProblem(input.clientHeaders) ?? repeatedHeader(input.clientHeaders) ?? streamProtocolProblem(input.streamProtocols ?? []);
  if (problem !== undefined) return { type: "refused", code: "REQUEST_INVALID", message: problem };
  const refusal = identityProblem(input.identity) ?? originalUserProblem(input);
  if (refusal !== undefined) return { type: "refused", code: "IDENTITY_REFUSED", message: refusal };
  const offers = [...protocolLine(input.webSocketProtocols ?? []), ...streamProtocolLines(input.streamProtocols ?? [])];
  const headers = [...clientLines(input), ...offers, ...gatewayLines(input), ...identityLines(input)];
  return { type: "headers", headers };
}

/** The identity's lines alone, as a client that may impersonate writes them (`kubectl --as`), or why they cannot be written. */
export function writeIdentity(identity: UserInfo): RequestHeaders {
  const refusal = identityProblem(identity);
  if (refusal !== undefined) return { type: "refused", code: "IDENTITY_REFUSED", message: refusal };
  return { type: "headers", headers: userLines(identity) };
}

/** Client headers that mean something to an apiserver, and none that says who somebody is. */
const apiHeaderNames: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "cache-control",
  "content-encoding",
  "content-type",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-unmodified-since",
  "kubectl-command",
  "kubectl-session",
  "pragma",
  "range",
  "user-agent",
]);

/** Headers that must stand once: of two, the gateway and the apiserver could believe different ones. */
const singleHeaderNames = ["host", "content-type", "content-length", "user-agent", "origin"] as const;

/**
 * What an application behind `/proxy` must not get from a client: identity, addresses, credentials, and the fields that this
 * module or the connection writes itself. A client's own Content-Length is among them: a body of another length would smuggle a
 * second request to the apiserver, with the agent's credential.
 */
const withheldNamePattern =
  /^(?:impersonate-.*|x-remote-.*|x-forwarded-.*|x-auth-request-.*|x-original-.*|cf-.*|sec-websocket-.*|(?:x-)?sallyport-.*|forwarded|x-real-ip|true-client-ip|x-client-ip|x-cluster-client-ip|via|cdn-loop|audit-id|authorization|x-kubernetes-peer-proxied|x-stream-protocol-version|host|content-length|expect)$/;

function clientLines(input: RequestHeaderInput): readonly HeaderPair[] {
  const isProxied = input.request.type === "resource" && input.request.proxyTail !== undefined;
  const lines = withoutHopByHop(input.clientHeaders).flatMap(([name, value]): readonly HeaderPair[] => {
    const lower = name.toLowerCase();
    if (lower === "user-agent") return [[name, printable(value).slice(0, maximumUserAgentBytes)]];
    if (!isProxied)
      return apiHeaderNames.has(lower) || (lower === "origin" && input.webSocketProtocols !== undefined) ? [[name, value]] : [];
    // Some applications read `_` in a name as `-`, so `X_Remote_User` would be `X-Remote-User` to them.
    if (lower.includes("_") || withheldNamePattern.test(lower)) return [];
    return lower === "cookie" ? cookieLine(name, value) : [[name, value]];
  });
  return isProxied ? [...lines, ...proxyLines(input.clientHost)] : lines;
}

/** A Cookie line without the gateway's own cookies and those of Cloudflare Access, which are credentials. */
function cookieLine(name: string, value: string): readonly HeaderPair[] {
  const reserved = new RegExp(`^(?:__Host-|__Secure-)?(?:${gatewayCookiePrefix}|_*cf_)`, "i");
  const kept = value.split(";").filter((crumb) => !reserved.test(crumb.trim()));
  return kept.length === 0 ? [] : [[name, kept.join(";").trim()]];
}

/** An application is told the host and scheme that its user's browser knows, so that the links and redirects it makes work. */
function proxyLines(clientHost: string | undefined): readonly HeaderPair[] {
  if (clientHost === undefined || !/^[A-Za-z0-9.\-:[\]]{1,255}$/.test(clientHost)) return [];
  return [
    ["X-Forwarded-Host", clientHost],
    ["X-Forwarded-Proto", "https"],
  ];
}

function protocolLine(protocols: readonly string[]): readonly HeaderPair[] {
  if (protocols.length === 0) return [];
  return [["Sec-WebSocket-Protocol", protocols.map((protocol) => own("a sub-protocol", protocol)).join(", ")]];
}

/** A line for each, as kubectl before 1.30 writes them: the only form that every apiserver reads. */
function streamProtocolLines(protocols: readonly string[]): readonly HeaderPair[] {
  return protocols.map((protocol) => ["X-Stream-Protocol-Version", protocol]);
}

/** kubectl offers five. */
const maximumStreamProtocols = 16;

function streamProtocolProblem(protocols: readonly string[]): string | undefined {
  const isList = protocols.length <= maximumStreamProtocols && protocols.every((protocol) => isToken(protocol));
  return isList ? undefined : "X-Stream-Protocol-Version is malformed";
}

function gatewayLines(input: RequestHeaderInput): readonly HeaderPair[] {
  const lines: HeaderPair[] = [["Audit-ID", own("auditId", input.auditId)]];
  if (input.clientIp !== undefined && /^[0-9a-fA-F.:]{2,45}$/.test(input.clientIp)) lines.push(["X-Forwarded-For", input.clientIp]);
  if (input.authorization !== undefined) lines.push(["Authorization", own("authorization", input.authorization)]);
  return lines;
}

function identityLines(input: RequestHeaderInput): readonly HeaderPair[] {
  const lines = [...userLines(input.identity)];
  if (input.originalUser !== undefined) lines.push([extraHeaderName(originalUserExtra), encodeHeaderText(input.originalUser)]);
  return lines;
}

/** Kubernetes authentication reference, "User impersonation". */
function userLines({ username, uid, groups, extra }: UserInfo): readonly HeaderPair[] {
  const lines: HeaderPair[] = [["Impersonate-User", encodeHeaderText(username)]];
  if (uid !== "") lines.push(["Impersonate-Uid", encodeHeaderText(uid)]);
  for (const group of groups) lines.push(["Impersonate-Group", encodeHeaderText(group)]);
  for (const [key, values] of Object.entries(extra)) {
    for (const value of values) lines.push([extraHeaderName(key), encodeHeaderText(value)]);
  }
  return lines;
}

/** Every byte of the key that no field name can hold, and `%` itself, is percent-encoded, as client-go does. */
function extraHeaderName(key: string): string {
  const encoded = encodeHeaderText(key).replaceAll(/[^!#$&'*+\-.^_`|~0-9A-Za-z]/g, (byte) => {
    return `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
  });
  return `Impersonate-Extra-${encoded}`;
}

function repeatedHeader(headers: HeaderPairs): string | undefined {
  const repeated = singleHeaderNames.find((name) => headerValues(headers, name).length > 1);
  return repeated === undefined ? undefined : `the header ${repeated} is repeated`;
}

/** The last look at an identity before it acts: what cannot be written exactly is not written at all. */
function identityProblem(identity: UserInfo): string | undefined {
  if (identity.username.trim() === "") return "the username is empty";
  if (!isExactText(identity.username, userLimits.maxNameBytes)) return "the username cannot be written as a header";
  if (identity.uid !== "" && !isExactText(identity.uid, userLimits.maxNameBytes)) return "the uid cannot be written as a header";
  if (identity.groups.length > userLimits.maxGroups) return `the user has more than ${userLimits.maxGroups} groups`;
  if (!identity.groups.every((group) => isExactText(group, userLimits.maxNameBytes))) {
    return "a group is empty or cannot be written as a header";
  }
  const entries = Object.entries(identity.extra);
  if (!entries.every(([key, values]) => isExtraKey(key) && values.every((value) => isExtraValue(value)))) {
    return "an extra cannot be written as a header";
  }
  const count = entries.reduce((sum, [, values]) => sum + values.length, 0);
  return count > userLimits.maxExtraValues ? `the user has more than ${userLimits.maxExtraValues} extra values` : undefined;
}

function originalUserProblem(input: RequestHeaderInput): string | undefined {
  if (Object.hasOwn(input.identity.extra, originalUserExtra)) return `the extra ${originalUserExtra} is the gateway's to write`;
  if (input.originalUser === undefined || isExactText(input.originalUser, userLimits.maxNameBytes)) return undefined;
  return "the original username cannot be written as a header";
}

/** The apiserver lower-cases the header's name, so a key with capitals would arrive as another key. */
function isExtraKey(key: string): boolean {
  return isExactText(key, userLimits.maxNameBytes) && !/[A-Z]/.test(key);
}

function isExtraValue(value: string): boolean {
  return value === "" || isExactText(value, userLimits.maxExtraValueBytes);
}

function printable(value: string): string {
  return value.replaceAll(/[^\x20-\x7e]/g, "?");
}

/** A value of the agent's own: what no header can hold there, or a comma that makes one value two, is a fault of ours, never sent. */
function own(name: string, value: string): string {
  if (value !== "" && value.trim() === value && isHeaderValue(value) && !value.includes(",")) return value;
  throw new GatewayError("INTERNAL", `${name} cannot be written as a header`);
}
