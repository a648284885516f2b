/**
 * Upgrades: which of a client's requests to change the protocol are carried, and how a stream that the gateway itself must end
 * is ended. Only WebSocket crosses the gateway: other protocols would need a raw connection, which Workers do not have. What
 * `sallyport proxy` carries inside a WebSocket is read by raw-upgrade.ts.
 */
import type { ErrorCode } from "#core/errors.ts";
import { bearerProtocolPrefix, parseProtocols } from "./credentials.ts";
import { forwardApiGroup, forwardProtocol } from "./forward-target.ts";
import { headerValues, listValues } from "./headers.ts";
import type { HeaderPairs } from "./headers.ts";
import { rawUpgradeProblem, webSocketProblem } from "./raw-upgrade.ts";
import type { RawUpgrade } from "./raw-upgrade.ts";
import { isUpgradeSubresource } from "./request-class.ts";
import type { KubeRequest } from "./request-path.ts";

/** What a WebSocket stream carries, which decides its sub-protocols and its end. */
export type UpgradeKind = "exec" | "attach" | "portforward" | "log" | "watch" | "proxy" | "forward" | "other";

/** What a request's upgrade is. */
export type Upgrade =
  | { readonly type: "none" }
  /** Sub-protocols in the client's order, without a bearer token. */
  | { readonly type: "websocket"; readonly kind: UpgradeKind; readonly protocols: readonly string[] }
  /** Another protocol's bytes inside a WebSocket: what the client asked for, and what the agent asks for. */
  | { readonly type: "raw"; readonly kind: UpgradeKind; readonly protocol: string }
  /** Only after the user's right to the stream is checked as for a WebSocket: kubectl shows no other answer than this one's. */
  | { readonly type: "spdy"; readonly code: Extract<ErrorCode, "UPGRADE_UNSUPPORTED">; readonly message: string }
  | { readonly type: "refused"; readonly code: Extract<ErrorCode, "REQUEST_INVALID">; readonly message: string };

/**
 * Classifies a request's upgrade. Older kubectl, and newer after a failed WebSocket, ask for SPDY by POST; a front end may have
 * removed `Upgrade`, so `X-Stream-Protocol-Version`, or a POST that could mean nothing else, is enough to know it.
 * @param raw what the request carries inside a WebSocket: `readMeantRequest`, whose method the request was parsed with
 */
export function classifyUpgrade(request: KubeRequest, headers: HeaderPairs, raw?: RawUpgrade): Upgrade {
  if (raw !== undefined) {
    const kind = upgradeKind(request);
    if (kind === "forward") return refused(`a forward speaks the sub-protocol ${forwardProtocol}, and upgrades to nothing`);
    const problem = rawUpgradeProblem(request, raw.protocol);
    return problem === undefined ? { type: "raw", kind, protocol: raw.protocol } : refused(problem);
  }
  const tokens = listValues(headers, "upgrade").map((token) => token.toLowerCase());
  if (isSpdyRequest(request, headers, tokens)) {
    return { type: "spdy", code: "UPGRADE_UNSUPPORTED", message: "this request asks for SPDY, and only WebSocket is carried" };
  }
  if (tokens.length === 0) return { type: "none" };
  const problem = webSocketProblem(request.method, headers);
  if (problem !== undefined) return refused(problem);
  const protocols = parseProtocols(headers)?.filter((protocol) => !protocol.startsWith(bearerProtocolPrefix));
  if (protocols === undefined) return refused("Sec-WebSocket-Protocol is malformed");
  const kind = upgradeKind(request);
  if (kind === "forward" && !protocols.includes(forwardProtocol)) return refused(`a forward speaks the sub-protocol ${forwardProtocol}`);
  return { type: "websocket", kind, protocols };
}

function isSpdyRequest(request: KubeRequest, headers: HeaderPairs, tokens: readonly string[]): boolean {
  if (tokens.some((token) => token === "spdy" || token.startsWith("spdy/"))) return true;
  const isStripped = headerValues(headers, "x-stream-protocol-version").length > 0 || request.method === "POST";
  return tokens.length === 0 && isStripped && isUpgradeSubresource(request);
}

/** What a WebSocket to this request carries. */
function upgradeKind(request: KubeRequest): UpgradeKind {
  if (request.type === "nonResource") return "other";
  if (request.apiGroup === forwardApiGroup) return "forward";
  if (request.proxyTail !== undefined) return "proxy";
  if (request.verb === "watch") return "watch";
  if (request.apiGroup !== "" || request.resource !== "pods") return "other";
  const { subresource } = request;
  if (subresource === "exec" || subresource === "attach" || subresource === "portforward" || subresource === "log") return subresource;
  return "other";
}

/** How a sub-protocol frames a pod's streams. */
export type ProtocolFraming =
  /** First byte is the channel; errors are text (v1) or a Status (v4, v5) on channel 3. */
  | { readonly type: "channels"; readonly encoding: "binary" | "base64"; readonly errors: "text" | "status" }
  /** Two channels for each port; errors are text. */
  | { readonly type: "ports"; readonly encoding: "binary" | "base64" }
  /** SPDY frames as an undelimited byte stream. */
  | { readonly type: "tunnel" }
  /** Plain bytes, as base64 text or binary. */
  | { readonly type: "bytes"; readonly encoding: "binary" | "base64" };

const execFramings: ReadonlyMap<string, ProtocolFraming> = new Map([
  ["", { type: "channels", encoding: "binary", errors: "text" }],
  ["channel.k8s.io", { type: "channels", encoding: "binary", errors: "text" }],
  ["base64.channel.k8s.io", { type: "channels", encoding: "base64", errors: "text" }],
  ["v4.channel.k8s.io", { type: "channels", encoding: "binary", errors: "status" }],
  ["v4.base64.channel.k8s.io", { type: "channels", encoding: "base64", errors: "status" }],
  ["v5.channel.k8s.io", { type: "channels", encoding: "binary", errors: "status" }],
]);

const framings: Readonly<Record<UpgradeKind, ReadonlyMap<string, ProtocolFraming>>> = {
  exec: execFramings,
  attach: execFramings,
  portforward: new Map([
    ["", { type: "ports", encoding: "binary" }],
    ["v4.channel.k8s.io", { type: "ports", encoding: "binary" }],
    ["v4.base64.channel.k8s.io", { type: "ports", encoding: "base64" }],
    ["SPDY/3.1+portforward.k8s.io", { type: "tunnel" }],
  ]),
  log: new Map([
    ["", { type: "bytes", encoding: "binary" }],
    ["binary.k8s.io", { type: "bytes", encoding: "binary" }],
    ["base64.binary.k8s.io", { type: "bytes", encoding: "base64" }],
  ]),
  watch: new Map(),
  proxy: new Map(),
  forward: new Map(),
  other: new Map(),
};

/** How the chosen sub-protocol (empty for none) frames a stream of this kind; undefined when Kubernetes defines none. */
export function protocolFraming(kind: UpgradeKind, protocol: string): ProtocolFraming | undefined {
  return framings[kind].get(protocol);
}

function refused(message: string): Upgrade {
  return { type: "refused", code: "REQUEST_INVALID", message };
}
