/** What kind of traffic a parsed request is: how long it may run, and which lane of the tunnel carries it. */
import { forwardApiGroup } from "./forward-target.ts";
import { isTrue, parseQuery } from "./query.ts";
import type { KubeRequest, ResourceRequest } from "./request-path.ts";

/** How a request shares the tunnel: interactive never waits behind bulk. */
export type StreamClass = "interactive" | "normal" | "bulk";

const longRunningSubresources: ReadonlySet<string> = new Set(["attach", "exec", "proxy", "log", "portforward"]);

/**
 * Whether Kubernetes sets the request no deadline (the apiserver's long-running check: verbs watch and proxy, subresources attach,
 * exec, proxy, log and portforward, and profiles), or it is a forward.
 */
export function isLongRunning(request: KubeRequest): boolean {
  if (request.type === "nonResource") return request.path.startsWith("/debug/pprof/");
  if (request.apiGroup === forwardApiGroup) return true;
  return request.verb === "watch" || request.verb === "proxy" || longRunningSubresources.has(request.subresource);
}

/** Whether the request opens a pod's exec, attach or port-forward: things that only an upgraded connection can carry. */
export function isUpgradeSubresource(request: KubeRequest): request is ResourceRequest {
  if (request.type === "nonResource" || request.apiGroup !== "" || request.resource !== "pods") return false;
  return request.subresource === "exec" || request.subresource === "attach" || request.subresource === "portforward";
}

/** Whether the answer says what the API consists of: versions, groups, resources, OpenAPI; equal for all who may read it. */
export function isDiscovery(request: KubeRequest): boolean {
  if (request.type !== "nonResource" || request.method !== "GET") return false;
  return /^\/(?:api(?:\/[^/]+)?|apis(?:\/[^/]+){0,2}|openapi\/v2|openapi\/v3(?:\/.+)?|version)\/?$/.test(request.path);
}

/** Subresources that carry another protocol's bytes. */
const bulkSubresources: ReadonlySet<string> = new Set(["proxy", "portforward"]);

/** The lane of a request: watches and terminals are interactive; whole collections, logs, copies and proxied traffic are bulk. */
export function streamClass(request: KubeRequest): StreamClass {
  if (request.type === "nonResource") return "normal";
  if (request.verb === "watch") return "interactive";
  if (request.apiGroup === forwardApiGroup) return forwardClass(request);
  if (request.verb === "proxy" || bulkSubresources.has(request.subresource)) return "bulk";
  if (request.verb === "list" && request.name === "") return "bulk";
  if (request.subresource === "log") return hasFlag(request, "follow") ? "normal" : "bulk";
  if (isUpgradeSubresource(request)) return hasFlag(request, "tty") ? "interactive" : "bulk";
  return "normal";
}

/** Datagrams are mostly questions and answers, which must not wait behind somebody's copy. */
function forwardClass({ subresource }: ResourceRequest): StreamClass {
  return subresource === "udp" ? "interactive" : "bulk";
}

function hasFlag({ query }: ResourceRequest, name: string): boolean {
  return isTrue(parseQuery(query), name);
}
