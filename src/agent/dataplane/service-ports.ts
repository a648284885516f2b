/** One Service's ports in one IP family, planned by themselves: what they would be if no other Service wanted the same addresses. */
import { type Address, type AddressRange, isInRange, mergeRanges, parseAddress, parseRange } from "./address.ts";
import type { Endpoint, IpFamily, Outcome, ServicePort } from "./dataplane.ts";
import { chooseEndpoints, type EndpointChoice, type EndpointState, isPortNumber, mergeEndpoints } from "./endpoints.ts";
import type { EndpointSliceObject, NodeObject, ServiceObject, ServiceObjectPort, TrafficPolicy } from "./objects.ts";

export interface ServicePlanInput {
  readonly service: ServiceObject;
  readonly slices: readonly EndpointSliceObject[];
  readonly node: NodeObject;
  readonly family: IpFamily;
  readonly externalIps: "serve" | "ignore";
}

/** What all ports of one Service share in one family. */
interface ServiceAddresses {
  readonly clusterIp: string;
  readonly externalIps: readonly string[];
  readonly loadBalancerIps: readonly string[];
  readonly sourceRanges: readonly string[] | undefined;
}

export interface PlannedPorts {
  readonly ports: readonly ServicePort[];
  /** Different addresses of ready endpoints on this node, over all ports: what a health-check node port reports. */
  readonly localReadyEndpoints: number;
}

/** The API's limit for `sessionAffinityConfig.clientIP.timeoutSeconds`. */
export const maxAffinitySeconds = 86_400;
const loopback = { IPv4: "127.0.0.1", IPv6: "::1" } as const;

/** The ports of a Service in one family; none if it has no cluster IP there. */
export function planServicePorts(input: ServicePlanInput): PlannedPorts {
  const addresses = planAddresses(input);
  if (addresses === undefined) return { ports: [], localReadyEndpoints: 0 };
  const { service, slices, node, family } = input;
  const localReady = new Set<string>();
  const ports = service.ports.filter(isNumbered).map((port) => {
    const states = mergeEndpoints(slices, port, family, node);
    for (const { ready, endpoint } of states) if (ready && endpoint.isLocal) localReady.add(endpoint.address);
    return toServicePort(input, addresses, { port, states });
  });
  return { ports, localReadyEndpoints: localReady.size };
}

/** externalTrafficPolicy Local counts only for a Service that can be reached from outside (as the API's own helper says). */
export function keepsClientAddress(service: ServiceObject): boolean {
  return service.externalTrafficPolicy === "Local" && (service.type !== "ClusterIP" || service.externalIps.length > 0);
}

/** What a traffic policy makes of the endpoints on this node. */
export function decideOutcome(choice: EndpointChoice, policy: TrafficPolicy): Outcome {
  if (!choice.hasAny) return { type: "reject" };
  const endpoints = policy === "Local" ? choice.local : choice.cluster;
  return endpoints.length === 0 ? { type: "drop" } : { type: "balance", endpoints };
}

/** The node's first address of a family; its loopback address if it has none, as kube-proxy takes it. */
export function primaryAddress(node: NodeObject, family: IpFamily): Address | undefined {
  const addresses = node.internalIps.map(parseAddress).filter((address) => address?.family === family);
  return addresses[0] ?? parseAddress(loopback[family]);
}

function planAddresses({ service, node, family, externalIps }: ServicePlanInput): ServiceAddresses | undefined {
  const [clusterIp] = addressesOf(service.clusterIps, family);
  if (clusterIp === undefined) return undefined;
  const balancers = service.ingress.filter(({ mode }) => mode === "VIP").map(({ ip }) => ip);
  const loadBalancerIps = addressesOf(balancers, family);
  return {
    clusterIp,
    externalIps: externalIps === "serve" ? addressesOf(service.externalIps, family) : [],
    loadBalancerIps,
    sourceRanges: planSourceRanges(service.sourceRanges, loadBalancerIps, family, node),
  };
}

/**
 * Who may reach the load balancer's addresses; undefined: everybody. A range that has this node in it lets the addresses themselves in,
 * because the node's own packets to an address that it holds come from that address. What cannot be read admits nobody.
 */
function planSourceRanges(
  given: readonly string[],
  loadBalancerIps: readonly string[],
  family: IpFamily,
  node: NodeObject,
): readonly string[] | undefined {
  const texts = given.filter((text) => text.trim() !== "");
  const parsed = texts.map(parseRange);
  const ranges = parsed.filter((range): range is AddressRange => range?.family === family);
  if (ranges.some(({ length }) => length === 0)) return undefined;
  // The other family's ranges say nothing about this one.
  if (ranges.length === 0 && !parsed.includes(undefined)) return undefined;
  const primary = primaryAddress(node, family);
  const admitsNode = primary !== undefined && ranges.some((range) => isInRange(range, primary));
  const bits = family === "IPv4" ? 32 : 128;
  const own = admitsNode ? loadBalancerIps.map((ip) => parseRange(`${ip}/${bits}`)).filter((range) => range !== undefined) : [];
  return mergeRanges([...ranges, ...own]).map(({ text }) => text);
}

interface PortEndpoints {
  readonly port: ServiceObjectPort;
  readonly states: readonly EndpointState[];
}

function toServicePort(input: ServicePlanInput, addresses: ServiceAddresses, { port, states }: PortEndpoints): ServicePort {
  const { service, node, family } = input;
  const choice = chooseEndpoints(states, node);
  const outcomes = { Cluster: decideOutcome(choice, "Cluster"), Local: decideOutcome(choice, "Local") };
  const keeps = keepsClientAddress(service);
  return {
    namespace: service.namespace,
    name: service.name,
    portName: port.name,
    family,
    protocol: port.protocol,
    port: port.port,
    nodePort: port.nodePort === 0 ? undefined : port.nodePort,
    ...addresses,
    internal: outcomes[service.internalTrafficPolicy],
    external: outcomes[keeps ? "Local" : "Cluster"],
    externalFromInside: outcomes.Cluster,
    keepsClientAddress: keeps,
    affinitySeconds: service.affinitySeconds === undefined ? undefined : toAffinitySeconds(service.affinitySeconds),
    proxyProtocol: service.proxyProtocol,
    serving: states.filter(({ ready, serving }) => ready || serving).map(toEndpoint),
  };
}

function toEndpoint({ endpoint }: EndpointState): Endpoint {
  return endpoint;
}

/** The API server lets nothing else through; one Service that it let through must not stop all others from being served. */
function isNumbered({ port, nodePort = 0 }: ServiceObjectPort): boolean {
  return isPortNumber(port) && (nodePort === 0 || isPortNumber(nodePort));
}

function toAffinitySeconds(seconds: number): number {
  return Math.min(Math.max(Math.trunc(seconds) || 1, 1), maxAffinitySeconds);
}

/** The addresses of one family, each once, in the order given. */
function addressesOf(texts: readonly string[], family: IpFamily): readonly string[] {
  const addresses = texts.map(parseAddress).filter((address) => address?.family === family);
  return [...new Set(addresses.map((address) => address?.text ?? ""))];
}
