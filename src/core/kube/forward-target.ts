/**
 * What a forward reaches: the grammar of the paths under which the gateway carries raw TCP and UDP.
 *
 *     /apis/forward.sallyport.dev/v1/namespaces/<namespace>/{pods,services,deployments}/<name>/{tcp,udp}?port=<number or name>
 *     /apis/forward.sallyport.dev/v1/nodes/<name>/{tcp,udp}?port=<number>
 *
 * They look like any API's, so that the one request grammar parses them and audit logs name their object; but no apiserver is ever asked:
 * the agent dials. A plain GET says what would be dialled, an upgrade to the sub-protocol dials it. What is authorized is the value
 * that is parsed here, and nothing else of the request is looked at again.
 */
import type { KubeRequest, ResourceRequest } from "./request-path.ts";

/** The API group whose paths are forwards. */
export const forwardApiGroup = "forward.sallyport.dev";

/** The WebSocket sub-protocol: binary messages of whole tunnel frames of stream 1 (docs/protocol.md). */
export const forwardProtocol = "forward.sallyport.v1";

/** The response header that says what was chosen, such as `pods/web/shop-5d9/8080`. */
export const forwardTargetHeader = "sallyport-forward-target";

export type TransportProtocol = "tcp" | "udp";

/** A port as a user names it. */
export type PortChoice = { readonly type: "number"; readonly port: number } | { readonly type: "name"; readonly name: string };

/** What is reached, by its object's name; the agent reads the object and resolves the address. */
export type ForwardTarget =
  | {
      readonly type: "pod" | "service" | "deployment";
      readonly namespace: string;
      readonly name: string;
      readonly protocol: TransportProtocol;
      readonly port: PortChoice;
    }
  | { readonly type: "node"; readonly name: string; readonly protocol: TransportProtocol; readonly port: PortChoice };

export type ParsedForward =
  /** The request is for the Kubernetes API. */
  | { readonly type: "none" }
  | { readonly type: "forward"; readonly target: ForwardTarget }
  /** The request is for a forward, and for none that exists. */
  | { readonly type: "invalid"; readonly message: string };

/** Reads a parsed request as a forward. */
export function parseForward(request: KubeRequest): ParsedForward {
  if (request.type === "nonResource" || request.apiGroup !== forwardApiGroup) return { type: "none" };
  if (request.apiVersion !== "v1") return invalid(`${forwardApiGroup} has the version v1 alone`);
  if (request.method !== "GET") return invalid("a forward is opened by GET");
  const protocol = request.subresource;
  if (protocol !== "tcp" && protocol !== "udp") return invalid("a forward's path ends with its protocol, /tcp or /udp");
  if (request.path.split("/").length !== (request.resource === "nodes" ? 7 : 9)) return invalid("the path is none of a forward");
  const port = parsePort(request.query);
  if (port === undefined) return invalid("the query is port=<number from 1 to 65535, or a port's name>, and nothing else");
  return parseObject(request, protocol, port);
}

/** Path and query of a forward; what `parseForward` reads back. */
export function forwardPath(target: ForwardTarget): string {
  const port = target.port.type === "number" ? String(target.port.port) : target.port.name;
  const object = target.type === "node" ? `nodes/${target.name}` : `namespaces/${target.namespace}/${target.type}s/${target.name}`;
  return `/apis/${forwardApiGroup}/v1/${object}/${target.protocol}?port=${port}`;
}

/** A port's number or name (IANA_SVC_NAME, RFC 6335 section 5.1); undefined for any other text. */
export function parsePortChoice(text: string): PortChoice | undefined {
  if (/^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535) return { type: "number", port: Number(text) };
  const isName = /^[a-z0-9](?:[a-z0-9-]{0,13}[a-z0-9])?$/.test(text) && /[a-z]/.test(text) && !text.includes("--");
  return isName ? { type: "name", name: text } : undefined;
}

/** A DNS label or subdomain (RFC 1123), as Kubernetes names namespaces and the objects that forwards reach. */
export function isObjectName(text: string): boolean {
  return text.length <= 253 && /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/.test(text);
}

const namespacedTypes: ReadonlyMap<string, "pod" | "service" | "deployment"> = new Map([
  ["pods", "pod"],
  ["services", "service"],
  ["deployments", "deployment"],
]);

function parseObject(request: ResourceRequest, protocol: TransportProtocol, port: PortChoice): ParsedForward {
  const { namespace, name, resource } = request;
  if (!isObjectName(name)) return invalid("the object's name is none");
  if (resource === "nodes") {
    if (namespace !== "") return invalid("nodes have no namespace");
    if (port.type === "name") return invalid("a node's ports have no names: give a number");
    return { type: "forward", target: { type: "node", name, protocol, port } };
  }
  const type = namespacedTypes.get(resource);
  if (type === undefined) return invalid("a forward reaches pods, services, deployments and nodes");
  if (!isObjectName(namespace) || namespace.includes(".")) return invalid("the path names no namespace");
  return { type: "forward", target: { type, namespace, name, protocol, port } };
}

/** The whole query, byte for byte: a second parameter, or an escape, could be read in two ways. */
function parsePort(query: string): PortChoice | undefined {
  return query.startsWith("port=") ? parsePortChoice(query.slice("port=".length)) : undefined;
}

function invalid(message: string): ParsedForward {
  return { type: "invalid", message };
}
