/** Which endpoints a Service port has, from its EndpointSlices, and what each traffic policy makes of them on this node. */
import { parseAddress } from "./address.ts";
import type { Endpoint, IpFamily, ServiceProtocol } from "./dataplane.ts";
import type { EndpointSliceObject, NodeObject, SliceEndpoint } from "./objects.ts";
import { decideTopology, type HintedEndpoint, isNear, type TopologyDecision } from "./topology.ts";

/** An endpoint of one Service port with what decides whether it is used. */
export interface EndpointState extends HintedEndpoint {
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly zone: string | undefined;
}

/** What a Service port can use on this node. */
export interface EndpointChoice {
  /** For traffic policy Cluster. */
  readonly cluster: readonly Endpoint[];
  /** For traffic policy Local. */
  readonly local: readonly Endpoint[];
  /** Whether any endpoint of the cluster could take traffic, wherever it is. */
  readonly hasAny: boolean;
  readonly topology: TopologyDecision;
}

/** The name and protocol by which slices and Services name a port. */
export interface PortName {
  readonly name: string;
  readonly protocol: ServiceProtocol;
}

/**
 * The endpoints of one port over all slices of a Service, each address and port once, in the order of their text. Of copies in several
 * slices the readier one counts: an endpoint that moves between slices is in both for a moment (KEP-752).
 */
export function mergeEndpoints(
  slices: Iterable<EndpointSliceObject>,
  port: PortName,
  family: IpFamily,
  node: NodeObject,
): readonly EndpointState[] {
  const states = new Map<string, EndpointState>();
  for (const slice of slices) {
    if (slice.family !== family) continue;
    for (const slicePort of slice.ports) {
      if (slicePort.name !== port.name || slicePort.protocol !== port.protocol || !isPortNumber(slicePort.port)) continue;
      for (const endpoint of slice.endpoints) addEndpoint(states, endpoint, { port: slicePort.port, family, node });
    }
  }
  return [...states.entries()].toSorted(([one], [other]) => (one < other ? -1 : 1)).map(([, state]) => state);
}

/**
 * The endpoints for each traffic policy: ready ones, or else those that still serve while they terminate (KEP-1669). The node's zone and
 * name narrow the Cluster list only.
 */
export function chooseEndpoints(states: readonly EndpointState[], node: NodeObject): EndpointChoice {
  const topology = decideTopology(states, node);
  const near = states.filter((state) => state.ready && isNear(state, topology, node));
  const draining = states.filter(isDraining);
  const local = states.filter((state) => state.endpoint.isLocal && state.ready);
  const localDraining = draining.filter((state) => state.endpoint.isLocal);
  return {
    cluster: toEndpoints(near.length > 0 ? near : draining),
    local: toEndpoints(local.length > 0 ? local : localDraining),
    hasAny: near.length > 0 || draining.length > 0,
    topology,
  };
}

/** Whether an endpoint that is not ready may still take traffic when there is nothing better. */
export function isDraining(state: EndpointState): boolean {
  return !state.ready && state.serving && state.terminating;
}

/** Whether a number can be a port of TCP, UDP or SCTP. */
export function isPortNumber(number: number): boolean {
  return Number.isInteger(number) && number > 0 && number <= maxPort;
}

const maxPort = 65_535;

interface Place {
  readonly port: number;
  readonly family: IpFamily;
  readonly node: NodeObject;
}

function addEndpoint(states: Map<string, EndpointState>, found: SliceEndpoint, { port, family, node }: Place): void {
  const address = parseAddress(found.address);
  if (address === undefined || address.family !== family) return;
  const isLocal = node.name !== "" && found.nodeName === node.name;
  const { ready, serving, terminating, zone, forZones, forNodes } = found;
  const state = { endpoint: { address: address.text, port, isLocal }, ready, serving, terminating, zone, forZones, forNodes };
  const key = `${address.text} ${port}`;
  const present = states.get(key);
  if (present === undefined || rankOf(state) > rankOf(present)) states.set(key, state);
}

/** Readiness first; of equals, the copy that says it runs here. */
function rankOf(state: EndpointState): number {
  return (state.ready ? 4 : 0) + (state.serving ? 2 : 0) + (state.endpoint.isLocal ? 1 : 0);
}

function toEndpoints(states: readonly EndpointState[]): readonly Endpoint[] {
  return states.map(({ endpoint }) => endpoint);
}
