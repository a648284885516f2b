/** Kubernetes objects for the planner's tests, with defaults that a test changes where it matters. */
import type { IpFamily } from "#agent/dataplane/dataplane.ts";
import type { PlanOptions } from "#agent/dataplane/node-plan.ts";
import type { ClusterObjects, EndpointSliceObject, NodeObject, ServiceObject, SliceEndpoint } from "#agent/dataplane/objects.ts";

export const here = "node-a";
export const elsewhere = "node-b";

export function makeNode(changes: Partial<NodeObject> = {}): NodeObject {
  return {
    name: here,
    uid: "",
    internalIps: ["192.168.0.1", "fd00::1"],
    zone: "zone-1",
    podCidrs: ["10.244.1.0/24"],
    isEligible: true,
    ...changes,
  };
}

export function makeService(changes: Partial<ServiceObject> = {}): ServiceObject {
  return {
    namespace: "default",
    name: "web",
    uid: "uid-web",
    clusterIps: ["10.96.0.10"],
    ports: [{ name: "http", protocol: "TCP", port: 80, nodePort: undefined }],
    type: "ClusterIP",
    externalIps: [],
    ingress: [],
    sourceRanges: [],
    internalTrafficPolicy: "Cluster",
    externalTrafficPolicy: "Cluster",
    affinitySeconds: undefined,
    proxyProtocol: "none",
    healthCheckNodePort: undefined,
    trafficDistribution: undefined,
    ...changes,
  };
}

export function makeEndpoint(address: string, changes: Partial<SliceEndpoint> = {}): SliceEndpoint {
  return {
    address,
    ready: true,
    serving: true,
    terminating: false,
    nodeName: elsewhere,
    zone: undefined,
    forZones: undefined,
    forNodes: undefined,
    ...changes,
  };
}

export function makeSlice(endpoints: readonly SliceEndpoint[], changes: Partial<EndpointSliceObject> = {}): EndpointSliceObject {
  return {
    namespace: "default",
    name: "web-1",
    service: "web",
    family: "IPv4" satisfies IpFamily,
    endpoints,
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    triggeredAtMs: undefined,
    ...changes,
  };
}

export function makeObjects(
  services: readonly ServiceObject[],
  slices: readonly EndpointSliceObject[],
  changes: Partial<ClusterObjects> = {},
): ClusterObjects {
  const byService = new Map<string, Map<string, EndpointSliceObject>>();
  for (const slice of slices) {
    const key = `${slice.namespace}/${slice.service}`;
    byService.set(key, (byService.get(key) ?? new Map<string, EndpointSliceObject>()).set(slice.name, slice));
  }
  return {
    services: new Map(services.map((service) => [`${service.namespace}/${service.name}`, service])),
    slices: byService,
    node: makeNode(),
    serviceCidrs: ["10.96.0.0/16"],
    ...changes,
  };
}

export const planOptions: PlanOptions = {
  externalIps: "serve",
  nodePortAddresses: { IPv4: { type: "all" }, IPv6: { type: "all" } },
  localDetection: { type: "cidrs", cidrs: ["10.244.0.0/16"] },
  masqueradeAll: false,
};
