/**
 * Upgrades to other protocols than WebSocket, such as old kubectl's SPDY, on their way through the gateway. A Worker can switch to
 * WebSocket only, so `sallyport proxy` asks for one, and says in a header what its client asked for; the agent asks the apiserver for
 * that, and the messages carry the bytes of the switched connection.
 *
 * What must stay true:
 * - The method and the protocol are read here, once; what is authorized is the request that the agent sends, not the GET that carries it.
 * - Browsers can offer the sub-protocol but cannot set the header, and whatever has an Origin is refused.
 * - Nothing that would let HTTP be spoken on the switched connection is carried (h2c): its requests would pass unseen.
 */
import { bearerProtocolPrefix, parseProtocols } from "./credentials.ts";
import { headerValues, isToken, listValues } from "./headers.ts";
import type { HeaderPairs } from "./headers.ts";
import type { KubeRequest } from "./request-path.ts";

/** The WebSocket sub-protocol whose messages are the bytes of an upgraded connection. */
export const rawProtocol = "v1.raw.sallyport.dev";

/** The header that says what is carried: the client's method and the protocol that it asked for, such as `POST SPDY/3.1`. */
export const rawUpgradeHeader = "Sallyport-Upgrade";

/** Bytes that a client may send beyond those of which it heard that they went on to the agent: 100 ms of a line of 40 MB/s. */
export const rawUploadWindowBytes = 4 << 20;

/** What a client asks for inside a WebSocket. */
export interface RawUpgrade {
  /** The method of the client's own request. */
  readonly method: string;
  /** What its `Upgrade` header named. */
  readonly protocol: string;
}

/** A request as it is meant. */
export interface MeantRequest {
  /** The method of what is carried, or the request's own. */
  readonly method: string;
  readonly raw: RawUpgrade | undefined;
  /** Why what it carries is not carried. */
  readonly problem: string | undefined;
}

/** Reads what a WebSocket request carries; header and sub-protocol come together or not at all. */
export function readMeantRequest(method: string, headers: HeaderPairs): MeantRequest {
  const lines = headerValues(headers, rawUpgradeHeader);
  const offered = (parseProtocols(headers) ?? []).filter((protocol) => !protocol.startsWith(bearerProtocolPrefix));
  if (lines.length === 0 && !offered.includes(rawProtocol)) return { method, raw: undefined, problem: undefined };
  const [line = ""] = lines;
  const [, inner = method, protocol = ""] = /^(GET|POST) (\S+)$/.exec(line) ?? [];
  const problem = carrierProblem(method, headers, offered);
  if (problem !== undefined) return { method, raw: undefined, problem };
  if (lines.length !== 1 || protocol === "")
    return { method, raw: undefined, problem: `${rawUpgradeHeader} is not GET or POST and a protocol` };
  return { method: inner, raw: { method: inner, protocol }, problem: undefined };
}

function carrierProblem(method: string, headers: HeaderPairs, offered: readonly string[]): string | undefined {
  if (offered.length !== 1 || offered[0] !== rawProtocol) return `${rawUpgradeHeader} needs the sub-protocol ${rawProtocol} alone`;
  if (headerValues(headers, "origin").length > 0) return `${rawProtocol} is not for web pages`;
  return webSocketProblem(method, headers);
}

/** Why a request opens no WebSocket (RFC 6455 section 4.2.1), or undefined when it does. */
export function webSocketProblem(method: string, headers: HeaderPairs): string | undefined {
  const tokens = listValues(headers, "upgrade");
  if (tokens.length !== 1 || tokens[0]?.toLowerCase() !== "websocket") return "only an upgrade to websocket is carried";
  if (method !== "GET") return "a WebSocket is opened by GET";
  const versions = headerValues(headers, "sec-websocket-version");
  return versions.length === 1 && versions[0] === "13" ? undefined : "Sec-WebSocket-Version is not 13";
}

/** The header's value for an upgrade. */
export function rawUpgradeLine({ method, protocol }: RawUpgrade): string {
  return `${method} ${protocol}`;
}

/** Why an upgrade to this protocol is not carried for a request, or undefined when it is. Gateway and agent both ask. */
export function rawUpgradeProblem(request: KubeRequest, protocol: string): string | undefined {
  const parts = protocol.split("/");
  const [name = ""] = parts;
  if (protocol.length > 64 || parts.length > 2 || !parts.every((part) => isToken(part))) return "Upgrade does not name one protocol";
  if (request.method !== "GET" && request.method !== "POST") return `an upgrade by ${request.method} is not carried`;
  if (/^(?:websocket|https?|h2c?|h3|tls)$/i.test(name)) return `an upgrade to ${name} is not carried as bytes`;
  if (request.type === "resource" && /^spdy\/3\.1$/i.test(protocol)) return undefined;
  return isApplication(request) ? undefined : `an upgrade to ${name} is carried only to an application behind pods/proxy or services/proxy`;
}

/**
 * Whether an upgrade to SPDY means nothing to a request: Kubernetes switches only for a subresource or an application behind one, and
 * passes over the wish elsewhere (RFC 9110 section 7.8). kubectl 1.22 sends it with each request that follows an exec.
 */
export function isIdleSpdyUpgrade(request: KubeRequest, protocol: string): boolean {
  if (!/^spdy\/3\.1$/i.test(protocol)) return false;
  return request.type === "nonResource" || (request.subresource === "" && request.proxyTail === undefined && request.verb !== "proxy");
}

/** Behind `nodes/proxy` is the kubelet, which knows SPDY and WebSocket. */
function isApplication(request: KubeRequest): boolean {
  return request.type === "resource" && request.proxyTail !== undefined && (request.resource === "pods" || request.resource === "services");
}
