/**
 * The objects that decide a node's Service traffic, as they are read: which of them are watched, and what is kept of each. Defaults of the
 * API are filled in here, so that nobody behind this file asks what an absent field means. Nothing throws, whatever the object: what the
 * apiserver would not have let in is left out.
 */
import { isIPv4, isIPv6 } from "node:net";
import type { IpFamily, ProxyProtocol, ServiceProtocol } from "#agent/dataplane/dataplane.ts";
import type { EndpointSliceObject, NodeObject, ServiceObject, ServiceObjectPort, SliceEndpoint } from "#agent/dataplane/objects.ts";
import { isObject, listField, objectField, textField, textsField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { WatchedResource } from "./watch.ts";

/** The label that gives a Service to another proxy, or to the one of that name. */
const proxyNameLabel = "service.kubernetes.io/service-proxy-name";
const headlessLabel = "service.kubernetes.io/headless";
const serviceNameLabel = "kubernetes.io/service-name";
const zoneLabel = "topology.kubernetes.io/zone";
const topologyModeAnnotation = "service.kubernetes.io/topology-mode";
const topologyHintsAnnotation = "service.kubernetes.io/topology-aware-hints";
const proxyProtocolAnnotation = "sallyport.dev/proxy-protocol";
const triggerTimeAnnotation = "endpoints.kubernetes.io/last-change-trigger-time";
/** Set by the cluster autoscaler on a node that it is about to remove (KEP-3836). */
const toBeDeletedTaint = "ToBeDeletedByClusterAutoscaler";
/** The API's default timeout of sessionAffinity ClientIP, in seconds. */
const defaultAffinitySeconds = 10_800;

/** Which proxy this is: undefined for the cluster's own, which takes what carries no name. */
export type ServiceProxyName = string | undefined;

/** Services with a cluster IP; Services of other proxies and headless ones are not sent by the apiserver at all. */
export function watchedServices(proxyName: ServiceProxyName): WatchedResource<ServiceObject> {
  return {
    path: "/api/v1/services",
    selectors: { labelSelector: labelSelector(proxyName), fieldSelector: "spec.clusterIP!=None" },
    isOptional: false,
    reduce: reduceService,
  };
}

/** EndpointSlices of such Services: the controllers copy a Service's labels to its slices. */
export function watchedSlices(proxyName: ServiceProxyName): WatchedResource<EndpointSliceObject> {
  return {
    path: "/apis/discovery.k8s.io/v1/endpointslices",
    selectors: { labelSelector: labelSelector(proxyName) },
    isOptional: false,
    reduce: reduceEndpointSlice,
  };
}

/** This node. */
export function watchedNode(name: string): WatchedResource<NodeObject> {
  return { path: "/api/v1/nodes", selectors: { fieldSelector: `metadata.name=${name}` }, isOptional: false, reduce: reduceNode };
}

/** The ranges that cluster IPs come from; apiservers before Kubernetes 1.33 may not have them. */
export const watchedServiceCidrs: WatchedResource<readonly string[]> = {
  path: "/apis/networking.k8s.io/v1/servicecidrs",
  selectors: {},
  isOptional: true,
  reduce: reduceServiceCidr,
};

/** A Service of core/v1; undefined when it is not proxied. */
export function reduceService(object: JsonObject): ServiceObject | undefined {
  const [metadata, spec] = [objectField(object, "metadata"), objectField(object, "spec")];
  const type = readServiceType(textField(spec, "type"));
  const clusterIps = readClusterIps(spec);
  if (type === undefined || clusterIps.length === 0 || textField(metadata, "name") === "") return undefined;
  const affinity = objectField(objectField(spec, "sessionAffinityConfig"), "clientIP");
  const ingress = listField(objectField(objectField(object, "status"), "loadBalancer"), "ingress").filter(isObject);
  return {
    namespace: textField(metadata, "namespace"),
    name: textField(metadata, "name"),
    uid: textField(metadata, "uid"),
    clusterIps,
    ports: listField(spec, "ports").filter(isObject).flatMap(readServicePort),
    type,
    externalIps: textsField(spec, "externalIPs").filter(isAddress),
    ingress: ingress.flatMap(readIngress),
    sourceRanges: textsField(spec, "loadBalancerSourceRanges").map((range) => range.trim()),
    internalTrafficPolicy: readTrafficPolicy(textField(spec, "internalTrafficPolicy")),
    externalTrafficPolicy: readTrafficPolicy(textField(spec, "externalTrafficPolicy")),
    affinitySeconds:
      textField(spec, "sessionAffinity") === "ClientIP" ? (numberField(affinity, "timeoutSeconds") ?? defaultAffinitySeconds) : undefined,
    healthCheckNodePort: readHealthCheckNodePort(spec),
    proxyProtocol: readProxyProtocol(textField(objectField(metadata, "annotations"), proxyProtocolAnnotation)),
    trafficDistribution: readTrafficDistribution(spec, objectField(metadata, "annotations")),
  };
}

/** An EndpointSlice of discovery.k8s.io/v1; undefined for one of names, or of no Service. */
export function reduceEndpointSlice(object: JsonObject): EndpointSliceObject | undefined {
  const metadata = objectField(object, "metadata");
  const family = readFamily(textField(object, "addressType"));
  const service = textField(objectField(metadata, "labels"), serviceNameLabel);
  if (family === undefined || service === "" || textField(metadata, "name") === "") return undefined;
  const triggeredAtMs = Date.parse(textField(objectField(metadata, "annotations"), triggerTimeAnnotation));
  return {
    namespace: textField(metadata, "namespace"),
    name: textField(metadata, "name"),
    service,
    family,
    endpoints: listField(object, "endpoints")
      .filter(isObject)
      .flatMap((endpoint) => readEndpoint(endpoint, family)),
    ports: listField(object, "ports").filter(isObject).flatMap(readSlicePort),
    triggeredAtMs: Number.isNaN(triggeredAtMs) ? undefined : triggeredAtMs,
  };
}

/** A Node of core/v1. */
export function reduceNode(object: JsonObject): NodeObject | undefined {
  const [metadata, spec] = [objectField(object, "metadata"), objectField(object, "spec")];
  const name = textField(metadata, "name");
  if (name === "") return undefined;
  const taints = listField(spec, "taints").filter(isObject);
  const podCidrs = textsField(spec, "podCIDRs");
  const podCidr = textField(spec, "podCIDR");
  return {
    name,
    uid: textField(metadata, "uid"),
    internalIps: readNodeIps(objectField(object, "status")),
    zone: textField(objectField(metadata, "labels"), zoneLabel) || undefined,
    podCidrs: podCidrs.length > 0 || podCidr === "" ? podCidrs : [podCidr],
    isEligible: textField(metadata, "deletionTimestamp") === "" && !taints.some((taint) => textField(taint, "key") === toBeDeletedTaint),
  };
}

/** The ranges of a ServiceCIDR of networking.k8s.io/v1; undefined while it is not ready. */
export function reduceServiceCidr(object: JsonObject): readonly string[] | undefined {
  const conditions = listField(objectField(object, "status"), "conditions").filter(isObject);
  const isReady = conditions.some((condition) => textField(condition, "type") === "Ready" && textField(condition, "status") === "True");
  return isReady ? textsField(objectField(object, "spec"), "cidrs") : undefined;
}

function labelSelector(proxyName: ServiceProxyName): string {
  return `${proxyName === undefined ? `!${proxyNameLabel}` : `${proxyNameLabel}=${proxyName}`},!${headlessLabel}`;
}

/** undefined for ExternalName, even where an old object kept a cluster IP. */
function readServiceType(type: string): ServiceObject["type"] | undefined {
  switch (type) {
    case "":
    case "ClusterIP":
      return "ClusterIP";
    case "NodePort":
    case "LoadBalancer":
      return type;
    default:
      return undefined;
  }
}

function readClusterIps(spec: JsonObject): readonly string[] {
  const ips = textsField(spec, "clusterIPs");
  return (ips.length > 0 ? ips : [textField(spec, "clusterIP")]).filter(isAddress);
}

function readServicePort(port: JsonObject): readonly ServiceObjectPort[] {
  const protocol = readProtocol(port);
  const number = portField(port, "port");
  if (protocol === undefined || number === undefined) return [];
  return [{ name: textField(port, "name"), protocol, port: number, nodePort: portField(port, "nodePort") }];
}

function readSlicePort(port: JsonObject): EndpointSliceObject["ports"] {
  const protocol = readProtocol(port);
  const number = portField(port, "port");
  return protocol === undefined || number === undefined ? [] : [{ name: textField(port, "name"), protocol, port: number }];
}

/** Names of load balancers have no address to answer for. */
function readIngress(ingress: JsonObject): ServiceObject["ingress"] {
  const ip = textField(ingress, "ip");
  return isAddress(ip) ? [{ ip, mode: textField(ingress, "ipMode") === "Proxy" ? "Proxy" : "VIP" }] : [];
}

function readHealthCheckNodePort(spec: JsonObject): number | undefined {
  const isLocal = textField(spec, "type") === "LoadBalancer" && textField(spec, "externalTrafficPolicy") === "Local";
  return isLocal ? portField(spec, "healthCheckNodePort") : undefined;
}

/** What is no version of it asks for nothing: a header that the pods do not expect would break every connection. */
function readProxyProtocol(version: string): ProxyProtocol {
  return version === "v1" || version === "v2" ? version : "none";
}

function readTrafficDistribution(spec: JsonObject, annotations: JsonObject): string | undefined {
  const asked = [
    textField(spec, "trafficDistribution"),
    textField(annotations, topologyModeAnnotation),
    textField(annotations, topologyHintsAnnotation),
  ];
  return asked.find((text) => text !== "");
}

function readTrafficPolicy(policy: string): "Cluster" | "Local" {
  return policy === "Local" ? "Local" : "Cluster";
}

function readProtocol(port: JsonObject): ServiceProtocol | undefined {
  const protocol = textField(port, "protocol") || "TCP";
  return protocol === "TCP" || protocol === "UDP" || protocol === "SCTP" ? protocol : undefined;
}

function readFamily(addressType: string): IpFamily | undefined {
  return addressType === "IPv4" || addressType === "IPv6" ? addressType : undefined;
}

function readEndpoint(endpoint: JsonObject, family: IpFamily): readonly SliceEndpoint[] {
  const [address] = textsField(endpoint, "addresses");
  if (address === undefined || !(family === "IPv4" ? isIPv4(address) : isIPv6(address))) return [];
  const conditions = objectField(endpoint, "conditions");
  const hints = objectField(endpoint, "hints");
  return [
    {
      address,
      ready: conditions["ready"] !== false,
      serving: conditions["serving"] !== false,
      terminating: conditions["terminating"] === true,
      nodeName: textField(endpoint, "nodeName") || undefined,
      zone: textField(endpoint, "zone") || undefined,
      forZones: readHints(hints, "forZones"),
      forNodes: readHints(hints, "forNodes"),
    },
  ];
}

function readHints(hints: JsonObject, name: string): readonly string[] | undefined {
  const names = listField(hints, name)
    .filter(isObject)
    .map((hint) => textField(hint, "name"));
  return names.length === 0 ? undefined : names;
}

/** Internal addresses, or external ones where a family has no internal one (as component-helpers' GetNodeHostIPs). */
function readNodeIps(status: JsonObject): readonly string[] {
  const addresses = listField(status, "addresses").filter(isObject);
  const ofType = (type: string) =>
    addresses
      .filter((entry) => textField(entry, "type") === type)
      .map((entry) => textField(entry, "address"))
      .filter(isAddress);
  const internal = ofType("InternalIP");
  const external = ofType("ExternalIP").filter((address) => !internal.some((other) => isIPv4(other) === isIPv4(address)));
  return [...new Set([...internal, ...external])];
}

function isAddress(text: string): boolean {
  return isIPv4(text) || isIPv6(text);
}

function numberField(object: JsonObject, name: string): number | undefined {
  const value = object[name];
  return typeof value === "number" && Number.isInteger(value) && value > 0 ? value : undefined;
}

/** A port number; undefined where there is none, or 0. */
function portField(object: JsonObject, name: string): number | undefined {
  const value = numberField(object, name);
  return value !== undefined && value < 65_536 ? value : undefined;
}
