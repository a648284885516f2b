/** Random changes of a few Services with few addresses, so that they meet each other often. */
import fc from "fast-check";
import type { ClusterObjects, EndpointSliceObject, ServiceObject } from "#agent/dataplane/objects.ts";
import { elsewhere, here, makeEndpoint, makeObjects, makeService, makeSlice } from "./makers.ts";

const policy = fc.constantFrom("Cluster" as const, "Local" as const);
const externalIps = fc.uniqueArray(fc.constantFrom("203.0.113.1", "203.0.113.2", "10.96.0.1"), { maxLength: 2 });
export const service = fc
  .record({
    index: fc.nat(3),
    internal: policy,
    external: policy,
    externalIps,
    ingress: externalIps,
    affinity: fc.boolean(),
    nodePort: fc.boolean(),
  })
  .map(({ index, internal, external, externalIps: ips, ingress, affinity, nodePort }) =>
    makeService({
      name: `s${index}`,
      clusterIps: [`10.96.0.${index}`],
      type: "LoadBalancer",
      ports: [{ name: "http", protocol: "TCP", port: 80, nodePort: nodePort ? 30_000 + index : undefined }],
      internalTrafficPolicy: internal,
      externalTrafficPolicy: external,
      externalIps: ips,
      ingress: ingress.map((ip) => ({ ip, mode: "VIP" as const })),
      affinitySeconds: affinity ? 10 : undefined,
      proxyProtocol: "none",
      healthCheckNodePort: 32_000 + index,
    }),
  );
const endpoint = fc
  .record({
    last: fc.integer({ min: 1, max: 4 }),
    isHere: fc.boolean(),
    ready: fc.boolean(),
    serving: fc.boolean(),
    terminating: fc.boolean(),
  })
  .map(({ last, isHere, ...conditions }) => makeEndpoint(`10.244.0.${last}`, { nodeName: isHere ? here : elsewhere, ...conditions }));
export const slice = fc
  .record({ index: fc.nat(3), number: fc.nat(1), endpoints: fc.array(endpoint, { maxLength: 4 }) })
  .map(({ index, number, endpoints }) => makeSlice(endpoints, { service: `s${index}`, name: `slice-${index}-${number}` }));

export type Step =
  | { readonly type: "service"; readonly service: ServiceObject }
  | { readonly type: "slice"; readonly slice: EndpointSliceObject }
  | { readonly type: "removeService" | "removeSlice"; readonly index: number };
export const step: fc.Arbitrary<Step> = fc.oneof(
  service.map((value) => ({ type: "service" as const, service: value })),
  slice.map((value) => ({ type: "slice" as const, slice: value })),
  fc.record({ type: fc.constantFrom("removeService" as const, "removeSlice" as const), index: fc.nat(3) }),
);

export interface State {
  readonly services: Map<string, ServiceObject>;
  readonly slices: Map<string, EndpointSliceObject>;
}

/** Takes a step, and names the Service that it concerns. */
export function take({ services, slices }: State, one: Step): string {
  switch (one.type) {
    case "service":
      services.set(one.service.name, one.service);
      return `default/${one.service.name}`;
    case "slice":
      slices.set(one.slice.name, one.slice);
      return `default/${one.slice.service}`;
    case "removeService":
      services.delete(`s${one.index}`);
      return `default/s${one.index}`;
    case "removeSlice":
      slices.delete(`slice-${one.index}-0`);
      return `default/s${one.index}`;
  }
}

export function toObjects({ services, slices }: State): ClusterObjects {
  return makeObjects([...services.values()], [...slices.values()]);
}
