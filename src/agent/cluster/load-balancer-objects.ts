/** The objects that decide about load balancers, as they are read: which are watched, and what is kept of each. Nothing throws. */
import { createHash } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";
import type {
  Condition,
  Ingress,
  IngressPort,
  IpFamily,
  LoadBalancerNode,
  LoadBalancerPort,
  LoadBalancerService,
  LoadBalancerSpec,
  ReadyEndpoints,
  ServiceProtocol,
} from "#agent/load-balancer/objects.ts";
import { isObject, listField, objectField, textField, textsField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { WatchedResource } from "./watch.ts";

/** Annotations with these beginnings are kept: ours, and those that service controllers have in common. */
const annotationPrefixes = ["sallyport.dev/", "service.beta.kubernetes.io/"];
/** The longest value that is kept: what is longer is no annotation of a load balancer. */
const maxAnnotationCharacters = 4_096;
const serviceNameLabel = "kubernetes.io/service-name";
const toBeDeletedTaint = "ToBeDeletedByClusterAutoscaler";

/** Services of type LoadBalancer, and others that still have our finalizer. */
export function watchedLoadBalancerServices(finalizer: string, conditionType: string): WatchedResource<LoadBalancerService> {
  return {
    path: "/api/v1/services",
    selectors: {},
    isOptional: false,
    reduce: (object) => reduceLoadBalancerService(object, finalizer, conditionType),
  };
}

/** All nodes. */
export const watchedNodes: WatchedResource<LoadBalancerNode> = {
  path: "/api/v1/nodes",
  selectors: {},
  isOptional: false,
  reduce: reduceLoadBalancerNode,
};

/** Where Services have ready endpoints. */
export const watchedReadyEndpoints: WatchedResource<ReadyEndpoints> = {
  path: "/apis/discovery.k8s.io/v1/endpointslices",
  selectors: { labelSelector: "!service.kubernetes.io/headless" },
  isOptional: false,
  reduce: reduceReadyEndpoints,
};

export function reduceLoadBalancerService(object: JsonObject, finalizer: string, conditionType: string): LoadBalancerService | undefined {
  const [metadata, spec] = [objectField(object, "metadata"), objectField(object, "spec")];
  const isLoadBalancer = textField(spec, "type") === "LoadBalancer";
  const finalizers = textsField(metadata, "finalizers");
  if ((!isLoadBalancer && !finalizers.includes(finalizer)) || textField(metadata, "name") === "") return undefined;
  const createdAtMs = Date.parse(textField(metadata, "creationTimestamp"));
  const status = objectField(object, "status");
  return {
    namespace: textField(metadata, "namespace"),
    name: textField(metadata, "name"),
    uid: textField(metadata, "uid"),
    resourceVersion: textField(metadata, "resourceVersion"),
    createdAtMs: Number.isNaN(createdAtMs) ? Number.MAX_SAFE_INTEGER : createdAtMs,
    isDeleting: textField(metadata, "deletionTimestamp") !== "",
    isLoadBalancer,
    loadBalancerClass: textField(spec, "loadBalancerClass") || undefined,
    finalizers,
    spec: readSpec(metadata, spec),
    status: {
      ingress: listField(objectField(status, "loadBalancer"), "ingress").filter(isObject).map(readIngress),
      condition: readCondition(listField(status, "conditions").filter(isObject), conditionType),
    },
  };
}

export function reduceLoadBalancerNode(object: JsonObject): LoadBalancerNode | undefined {
  const [metadata, spec, status] = [objectField(object, "metadata"), objectField(object, "spec"), objectField(object, "status")];
  const name = textField(metadata, "name");
  if (name === "") return undefined;
  const isReady = listField(status, "conditions")
    .filter(isObject)
    .some((condition) => textField(condition, "type") === "Ready" && textField(condition, "status") === "True");
  return {
    name,
    providerId: textField(spec, "providerID"),
    labels: readTexts(objectField(metadata, "labels")),
    externalIps: readNodeIps(status, "ExternalIP"),
    internalIps: readNodeIps(status, "InternalIP"),
    isReady,
    isDeleting: textField(metadata, "deletionTimestamp") !== "",
    isToBeDeleted: listField(spec, "taints")
      .filter(isObject)
      .some((taint) => textField(taint, "key") === toBeDeletedTaint),
  };
}

export function reduceReadyEndpoints(object: JsonObject): ReadyEndpoints | undefined {
  const metadata = objectField(object, "metadata");
  const service = textField(objectField(metadata, "labels"), serviceNameLabel);
  const family = textField(object, "addressType");
  if (service === "" || !isFamily(family)) return undefined;
  const ready = listField(object, "endpoints")
    .filter(isObject)
    .filter((endpoint) => objectField(endpoint, "conditions")["ready"] !== false);
  const nodes = new Set(ready.map((endpoint) => textField(endpoint, "nodeName")).filter((node) => node !== ""));
  return { service: `${textField(metadata, "namespace")}/${service}`, family, nodes: [...nodes].toSorted() };
}

function readSpec(metadata: JsonObject, spec: JsonObject): LoadBalancerSpec {
  const annotations = readTexts(objectField(metadata, "annotations"));
  return {
    ports: listField(spec, "ports").filter(isObject).flatMap(readPort),
    sourceRanges: textsField(spec, "loadBalancerSourceRanges"),
    externalIps: textsField(spec, "externalIPs"),
    loadBalancerIp: textField(spec, "loadBalancerIP") || undefined,
    sessionAffinity: textField(spec, "sessionAffinity") || "None",
    affinitySeconds: numberField(objectField(objectField(spec, "sessionAffinityConfig"), "clientIP"), "timeoutSeconds"),
    externalTrafficPolicy: textField(spec, "externalTrafficPolicy") === "Local" ? "Local" : "Cluster",
    healthCheckNodePort: numberField(spec, "healthCheckNodePort"),
    ipFamilies: textsField(spec, "ipFamilies").filter(isFamily),
    allocatesNodePorts: spec["allocateLoadBalancerNodePorts"] !== false,
    annotations: Object.fromEntries(
      Object.entries(annotations).filter(
        ([name, value]) => value.length <= maxAnnotationCharacters && annotationPrefixes.some((prefix) => name.startsWith(prefix)),
      ),
    ),
    annotationsDigest: digest(annotations),
  };
}

function readPort(port: JsonObject): readonly LoadBalancerPort[] {
  const number = numberField(port, "port");
  const protocol = textField(port, "protocol") || "TCP";
  if (number === undefined || !isProtocol(protocol)) return [];
  const target = port["targetPort"];
  return [
    {
      name: textField(port, "name"),
      protocol,
      port: number,
      nodePort: numberField(port, "nodePort"),
      targetPort: typeof target === "string" || typeof target === "number" ? String(target) : "",
      appProtocol: textField(port, "appProtocol") || undefined,
    },
  ];
}

function readIngress(entry: JsonObject): Ingress {
  const [ip, hostname, ipMode] = [textField(entry, "ip"), textField(entry, "hostname"), textField(entry, "ipMode")];
  const ports = listField(entry, "ports").filter(isObject).flatMap(readIngressPort);
  return {
    ...(ip !== "" && { ip }),
    ...(hostname !== "" && { hostname }),
    ...((ipMode === "VIP" || ipMode === "Proxy") && { ipMode }),
    ...(ports.length > 0 && { ports }),
  };
}

function readIngressPort(port: JsonObject): readonly IngressPort[] {
  const number = numberField(port, "port");
  const protocol = textField(port, "protocol");
  if (number === undefined || !isProtocol(protocol)) return [];
  const error = textField(port, "error");
  return [{ port: number, protocol, ...(error !== "" && { error }) }];
}

function readCondition(conditions: readonly JsonObject[], type: string): Condition | undefined {
  const condition = conditions.find((candidate) => textField(candidate, "type") === type);
  if (condition === undefined) return undefined;
  const status = textField(condition, "status");
  return {
    status: status === "True" || status === "False" ? status : "Unknown",
    reason: textField(condition, "reason"),
    message: textField(condition, "message"),
    lastTransitionTime: textField(condition, "lastTransitionTime"),
  };
}

function readNodeIps(status: JsonObject, type: string): readonly string[] {
  return listField(status, "addresses")
    .filter(isObject)
    .filter((entry) => textField(entry, "type") === type)
    .map((entry) => textField(entry, "address"))
    .filter((address) => isIPv4(address) || isIPv6(address));
}

function readTexts(object: JsonObject): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(object).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

/** Annotations may be long, and only whether they change counts. */
function digest(texts: Readonly<Record<string, string>>): string {
  const entries = Object.entries(texts).toSorted(([one], [other]) => (one < other ? -1 : 1));
  return createHash("sha256").update(JSON.stringify(entries)).digest("base64");
}

function numberField(object: JsonObject, name: string): number | undefined {
  const value = object[name];
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : undefined;
}

function isFamily(text: string): text is IpFamily {
  return text === "IPv4" || text === "IPv6";
}

function isProtocol(text: string): text is ServiceProtocol {
  return text === "TCP" || text === "UDP" || text === "SCTP";
}
