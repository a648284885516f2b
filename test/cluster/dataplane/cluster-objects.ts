/** The API server's objects as the planner takes them. */
import type { ClusterObjects, EndpointSliceObject, ServiceObject, SliceEndpoint } from "#agent/dataplane/objects.ts";

/** The fields of core/v1 and discovery.k8s.io/v1 that the test's own manifests have. */
export interface ApiService {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly spec: {
    readonly type: ServiceObject["type"];
    readonly clusterIPs: readonly string[];
    readonly ports: readonly {
      readonly name?: string;
      readonly protocol: "TCP" | "UDP";
      readonly port: number;
      readonly nodePort?: number;
    }[];
    readonly externalIPs?: readonly string[];
    readonly loadBalancerSourceRanges?: readonly string[];
    readonly internalTrafficPolicy: "Cluster" | "Local";
    readonly externalTrafficPolicy?: "Cluster" | "Local";
    readonly sessionAffinityConfig?: { readonly clientIP: { readonly timeoutSeconds: number } };
    readonly healthCheckNodePort?: number;
  };
  readonly status: { readonly loadBalancer: { readonly ingress?: readonly { readonly ip: string; readonly ipMode: "VIP" | "Proxy" }[] } };
}

export interface ApiEndpointSlice {
  readonly metadata: { readonly name: string; readonly namespace: string; readonly labels: Readonly<Record<string, string>> };
  readonly addressType: "IPv4" | "IPv6";
  readonly ports: EndpointSliceObject["ports"];
  readonly endpoints: readonly ApiEndpoint[] | null;
}

interface ApiEndpoint {
  readonly addresses: readonly string[];
  readonly conditions: { readonly ready: boolean; readonly serving: boolean; readonly terminating: boolean };
  readonly nodeName: string;
  readonly hints?: { readonly forZones?: readonly { readonly name: string }[] };
}

export function toClusterObjects(
  services: readonly ApiService[],
  slices: readonly ApiEndpointSlice[],
  rest: Pick<ClusterObjects, "node" | "serviceCidrs">,
): ClusterObjects {
  const byService = Map.groupBy(slices.map(toSlice), ({ namespace, service }) => `${namespace}/${service}`);
  return {
    ...rest,
    services: new Map(services.map(toService).map((service) => [`${service.namespace}/${service.name}`, service])),
    slices: new Map([...byService].map(([key, list]) => [key, new Map(list.map((slice) => [slice.name, slice]))])),
  };
}

function toService({ metadata, spec, status }: ApiService): ServiceObject {
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    uid: metadata.uid,
    clusterIps: spec.clusterIPs,
    ports: spec.ports.map(({ name = "", protocol, port, nodePort }) => ({ name, protocol, port, nodePort })),
    type: spec.type,
    externalIps: spec.externalIPs ?? [],
    ingress: (status.loadBalancer.ingress ?? []).map(({ ip, ipMode }) => ({ ip, mode: ipMode })),
    sourceRanges: spec.loadBalancerSourceRanges ?? [],
    internalTrafficPolicy: spec.internalTrafficPolicy,
    externalTrafficPolicy: spec.externalTrafficPolicy ?? "Cluster",
    affinitySeconds: spec.sessionAffinityConfig?.clientIP.timeoutSeconds,
    proxyProtocol: "none",
    healthCheckNodePort: spec.healthCheckNodePort,
    trafficDistribution: undefined,
  };
}

function toSlice({ metadata, addressType, ports, endpoints }: ApiEndpointSlice): EndpointSliceObject {
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    service: metadata.labels["kubernetes.io/service-name"] ?? "",
    family: addressType,
    endpoints: (endpoints ?? []).map(toEndpoint),
    ports,
    triggeredAtMs: undefined,
  };
}

function toEndpoint({ addresses, conditions, nodeName, hints }: ApiEndpoint): SliceEndpoint {
  const [address = ""] = addresses;
  return { address, ...conditions, nodeName, zone: undefined, forZones: hints?.forZones?.map(({ name }) => name), forNodes: undefined };
}
