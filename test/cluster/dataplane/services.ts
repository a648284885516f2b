/** The Services of the differential test, as manifests for a real API server: every combination of what decides their traffic. */
import { addresses, endpointPort, type Family, nodeName, otherNodeName, servicePort } from "./world.ts";

export type EndpointsState =
  | "localOnly"
  | "bothNodes"
  | "remoteOnly"
  | "localTerminating"
  | "onlyTerminating"
  | "unready"
  | "none"
  | "onHost";
export type Policy = "Cluster" | "Local";

/** A Service, and what the test has to know of it. */
export interface ServiceCase {
  readonly name: string;
  readonly state: EndpointsState;
  readonly internal: Policy;
  readonly external: Policy;
  readonly affinitySeconds?: number;
  readonly sourceRanges?: readonly string[];
  readonly ipMode?: "VIP" | "Proxy";
  /** Hints for zones, by endpoint. */
  readonly zones?: readonly string[];
  /** Its external IPs are the node's own, so its traffic does not pass through the node but ends there. */
  readonly isAtNode?: boolean;
  /** Its number: its load balancer's and external addresses follow from it. */
  readonly number: number;
}

export type Manifest = Readonly<Record<string, unknown>>;

export const states: readonly EndpointsState[] = [
  "localOnly",
  "bothNodes",
  "remoteOnly",
  "localTerminating",
  "onlyTerminating",
  "unready",
  "none",
];
const policies: readonly Policy[] = ["Cluster", "Local"];
export const nodeZone = "zone-1";

/** All Services: states of endpoints by policies, and one for each of the rarer features. */
export const serviceCases: readonly ServiceCase[] = [
  ...states.flatMap((state) =>
    policies.flatMap((internal) => policies.map((external) => ({ name: nameOf(state, internal, external), state, internal, external }))),
  ),
  ...policies.map((external) => ({
    name: `ranges-${external.toLowerCase()}`,
    state: "bothNodes" as const,
    internal: "Cluster" as const,
    external,
    sourceRanges: [`${addresses.outside.IPv4}/32`, `${addresses.outside.IPv6}/128`, " 10.244.1.0/24 "],
  })),
  {
    name: "ranges-node",
    state: "bothNodes",
    internal: "Cluster",
    external: "Cluster",
    sourceRanges: [`${addresses.node.IPv4}/32`, "fd77::/126"],
  },
  { name: "ranges-none", state: "none", internal: "Cluster", external: "Cluster", sourceRanges: [`${addresses.outside.IPv4}/32`] },
  ...policies.map((external) => ({
    name: `sticky-${external.toLowerCase()}`,
    state: "bothNodes" as const,
    internal: "Cluster" as const,
    external,
    affinitySeconds: 600,
  })),
  { name: "sticky-local", state: "localOnly", internal: "Local", external: "Local", affinitySeconds: 30 },
  { name: "sticky-host", state: "onHost", internal: "Cluster", external: "Cluster", affinitySeconds: 40 },
  { name: "at-node", state: "remoteOnly", internal: "Cluster", external: "Local", isAtNode: true },
  { name: "proxied", state: "bothNodes", internal: "Cluster", external: "Cluster", ipMode: "Proxy" },
  { name: "zoned", state: "bothNodes", internal: "Cluster", external: "Local", zones: ["zone-2", nodeZone] },
  { name: "zoned-elsewhere", state: "bothNodes", internal: "Cluster", external: "Cluster", zones: ["zone-2", "zone-3"] },
].map((one, number) => ({ ...(one as Omit<ServiceCase, "number">), name: `${one.name}-${number}`, number }));

export function loadBalancerIp({ number }: ServiceCase, family: Family): string {
  return family === "IPv4" ? `198.51.100.${number + 1}` : `2001:db8:1::${(number + 1).toString(16)}`;
}

export function externalIp({ number, isAtNode }: ServiceCase, family: Family): string {
  if (isAtNode === true) return addresses.bridge[family];
  return family === "IPv4" ? `203.0.113.${number + 1}` : `2001:db8:2::${(number + 1).toString(16)}`;
}

export function serviceManifest(one: ServiceCase): Manifest {
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name: one.name },
    spec: {
      type: "LoadBalancer",
      ipFamilyPolicy: "RequireDualStack",
      ipFamilies: ["IPv4", "IPv6"],
      internalTrafficPolicy: one.internal,
      externalTrafficPolicy: one.external,
      externalIPs: [externalIp(one, "IPv4"), externalIp(one, "IPv6")],
      ports: [
        { name: "tcp", protocol: "TCP", port: servicePort, targetPort: endpointPort },
        { name: "udp", protocol: "UDP", port: servicePort, targetPort: endpointPort },
      ],
      ...(one.sourceRanges === undefined ? {} : { loadBalancerSourceRanges: one.sourceRanges }),
      ...(one.affinitySeconds === undefined
        ? {}
        : { sessionAffinity: "ClientIP", sessionAffinityConfig: { clientIP: { timeoutSeconds: one.affinitySeconds } } }),
    },
  };
}

/** What a load balancer's controller writes. */
export function statusManifest(one: ServiceCase): Manifest {
  const ingress = (["IPv4", "IPv6"] as const).map((family) => ({ ip: loadBalancerIp(one, family), ipMode: one.ipMode ?? "VIP" }));
  return { status: { loadBalancer: { ingress } } };
}

export function sliceManifests(one: ServiceCase): readonly Manifest[] {
  return (["IPv4", "IPv6"] as const).map((family) => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: `${one.name}-${family.toLowerCase()}`, labels: { "kubernetes.io/service-name": one.name } },
    addressType: family,
    ports: ["tcp", "udp"].map((name) => ({ name, protocol: name.toUpperCase(), port: endpointPort })),
    endpoints: endpointsOf(one, family),
  }));
}

function nameOf(state: EndpointsState, internal: Policy, external: Policy): string {
  return `${state}-${internal}-${external}`.toLowerCase();
}

const ready = { ready: true, serving: true, terminating: false };
const terminating = { ready: false, serving: true, terminating: true };
const unready = { ready: false, serving: false, terminating: false };

function endpointsOf({ state, affinitySeconds, zones }: ServiceCase, family: Family): readonly Manifest[] {
  const [local, otherLocal] = addresses.localEndpoints;
  const [remote, otherRemote] = addresses.remoteEndpoints;
  const here = (address: Readonly<Record<Family, string>>, conditions: Manifest): Manifest => ({
    addresses: [address[family]],
    conditions,
    nodeName,
  });
  const there = (address: Readonly<Record<Family, string>>, conditions: Manifest): Manifest => ({
    ...here(address, conditions),
    nodeName: otherNodeName,
  });
  const hinted = (endpoint: Manifest, zone: string | undefined): Manifest =>
    zone === undefined ? endpoint : { ...endpoint, hints: { forZones: [{ name: zone }] } };
  switch (state) {
    case "localOnly":
      return affinitySeconds === undefined ? [here(local, ready)] : [here(local, ready), here(otherLocal, ready)];
    case "bothNodes":
      return [hinted(here(local, ready), zones?.[0]), hinted(there(remote, ready), zones?.[1])];
    case "remoteOnly":
      return [there(remote, ready), there(otherRemote, ready)];
    case "localTerminating":
      return [here(local, terminating), there(remote, ready), here(otherLocal, unready)];
    case "onlyTerminating":
      return [here(local, terminating), there(remote, terminating)];
    case "unready":
      return [here(local, unready), there(remote, unready)];
    case "none":
      return [];
    case "onHost":
      return [here(addresses.node, ready), here(addresses.bridge, ready)];
  }
}
