/** Objects as the apiserver writes them, and as they are read. */
import { reduceLoadBalancerNode, reduceLoadBalancerService, reduceReadyEndpoints } from "#agent/cluster/load-balancer-objects.ts";
import { ClusterStore } from "#agent/load-balancer/cluster-store.ts";
import type { ObjectChange } from "#agent/load-balancer/cluster-store.ts";
import type { LoadBalancerNode, LoadBalancerService } from "#agent/load-balancer/objects.ts";
import { conditionType } from "#agent/load-balancer/status.ts";
import type { JsonObject } from "#core/json-fields.ts";

export const testClass = "sallyport.dev/node-ip";
export const classes = { loadBalancerClass: testClass, takesUnclassed: false };

export interface ServiceParts {
  readonly name?: string;
  readonly uid?: string;
  readonly metadata?: JsonObject;
  readonly spec?: JsonObject;
  readonly status?: JsonObject;
}

/** A Service of our class with TCP port 80. */
export function rawService({ name = "web", uid = `uid-${name}`, metadata = {}, spec = {}, status = {} }: ServiceParts = {}): JsonObject {
  return {
    metadata: { namespace: "shop", name, uid, resourceVersion: "1", creationTimestamp: "2026-01-01T00:00:00Z", ...metadata },
    spec: {
      type: "LoadBalancer",
      loadBalancerClass: testClass,
      ipFamilies: ["IPv4"],
      externalTrafficPolicy: "Cluster",
      ports: [{ name: "http", protocol: "TCP", port: 80, nodePort: 30080, targetPort: 8080 }],
      ...spec,
    },
    status: { loadBalancer: {}, ...status },
  };
}

/** A ready node whose internal address is 10.0.0.`index`. */
export function rawNode(
  index: number,
  parts: { readonly metadata?: JsonObject; readonly spec?: JsonObject; readonly status?: JsonObject } = {},
): JsonObject {
  return {
    metadata: { name: `node-${index}`, resourceVersion: "1", ...parts.metadata },
    spec: { providerID: `test://${index}`, ...parts.spec },
    status: {
      addresses: [{ type: "InternalIP", address: `10.0.0.${index}` }],
      conditions: [{ type: "Ready", status: "True" }],
      ...parts.status,
    },
  };
}

export function rawSlice(service: string, nodes: readonly string[], addressType = "IPv4"): JsonObject {
  return {
    metadata: {
      namespace: "shop",
      name: `${service}-${addressType}`,
      resourceVersion: "1",
      labels: { "kubernetes.io/service-name": service },
    },
    addressType,
    endpoints: nodes.map((nodeName) => ({ addresses: ["10.4.0.1"], nodeName, conditions: { ready: true } })),
  };
}

export function readService(raw: JsonObject): LoadBalancerService {
  const service = reduceLoadBalancerService(raw, testClass, conditionType);
  if (service === undefined) throw new Error("this Service is not kept");
  return service;
}

export function readNode(raw: JsonObject): LoadBalancerNode {
  const node = reduceLoadBalancerNode(raw);
  if (node === undefined) throw new Error("this Node is not kept");
  return node;
}

/** A store with these objects. */
export function makeStore(services: readonly JsonObject[], nodes: readonly JsonObject[], slices: readonly JsonObject[] = []): ClusterStore {
  const store = new ClusterStore();
  store.applyServices(services.map(readService).map((value) => set(`${value.namespace}/${value.name}`, value)));
  store.applyNodes(nodes.map(readNode).map((value) => set(value.name, value)));
  for (const [index, raw] of slices.entries()) {
    const value = reduceReadyEndpoints(raw);
    if (value !== undefined) store.applySlices([set(`slice-${index}`, value)]);
  }
  return store;
}

function set<Value>(key: string, value: Value): ObjectChange<Value> {
  return { type: "set", key, value, previous: undefined };
}
