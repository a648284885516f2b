/** Why a Service port's traffic goes where it goes on this node, as data: for `sallyport trace service`. */
import type { Endpoint, IpFamily, Outcome } from "./dataplane.ts";
import { chooseEndpoints, type EndpointChoice, type EndpointState, isDraining, mergeEndpoints } from "./endpoints.ts";
import type { EndpointSliceObject, NodeObject, ServiceObject } from "./objects.ts";
import { decideOutcome, keepsClientAddress } from "./service-ports.ts";
import { isNear, type TopologyDecision } from "./topology.ts";

/** What becomes of an endpoint under a traffic policy. */
export type EndpointUse =
  | "used"
  /** It serves, and no ready endpoint is left, so it is used while it terminates. */
  | "used while it terminates"
  | "not ready"
  /** It terminates, and others are ready. */
  | "terminates while others are ready"
  | "on another node"
  /** Topology hints name another node or zone. */
  | "hinted for elsewhere";

export interface EndpointExplanation {
  readonly endpoint: Endpoint;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly zone: string | undefined;
  /** Under traffic policy Cluster, and under Local. */
  readonly cluster: EndpointUse;
  readonly local: EndpointUse;
}

export interface PortExplanation {
  readonly portName: string;
  readonly internal: Outcome;
  readonly external: Outcome;
  /** Whether externalTrafficPolicy Local is in force. */
  readonly keepsClientAddress: boolean;
  readonly topology: TopologyDecision;
  /** What the Service asks for; its hints are the EndpointSlice controller's answer. */
  readonly trafficDistribution: string | undefined;
  readonly endpoints: readonly EndpointExplanation[];
  /** Names of ports that the slices have and the Service has not: a renamed or mistyped port. */
  readonly strangePorts: readonly string[];
}

/** Explains every port of a Service in one family. */
export function explainService(
  service: ServiceObject,
  slices: readonly EndpointSliceObject[],
  node: NodeObject,
  family: IpFamily,
): readonly PortExplanation[] {
  const known = new Set(service.ports.map(({ name, protocol }) => `${name} ${protocol}`));
  const offered = slices.filter((slice) => slice.family === family).flatMap(({ ports }) => ports);
  const strangePorts = [...new Set(offered.filter(({ name, protocol }) => !known.has(`${name} ${protocol}`)).map(({ name }) => name))];
  const keeps = keepsClientAddress(service);
  return service.ports.map((port) => {
    const states = mergeEndpoints(slices, port, family, node);
    const choice = chooseEndpoints(states, node);
    return {
      portName: port.name,
      internal: decideOutcome(choice, service.internalTrafficPolicy),
      external: decideOutcome(choice, keeps ? "Local" : "Cluster"),
      keepsClientAddress: keeps,
      topology: choice.topology,
      trafficDistribution: service.trafficDistribution,
      endpoints: states.map((state) => explainEndpoint(state, choice, node)),
      strangePorts,
    };
  });
}

function explainEndpoint(state: EndpointState, choice: EndpointChoice, node: NodeObject): EndpointExplanation {
  const { endpoint, ready, serving, terminating, zone } = state;
  const isUsed = (list: readonly Endpoint[]): boolean => list.includes(endpoint);
  return {
    endpoint,
    ready,
    serving,
    terminating,
    zone,
    cluster: useOf(state, isUsed(choice.cluster), !ready || isNear(state, choice.topology, node) ? undefined : "hinted for elsewhere"),
    local: useOf(state, isUsed(choice.local), endpoint.isLocal ? undefined : "on another node"),
  };
}

function useOf(state: EndpointState, isUsed: boolean, elsewhere: EndpointUse | undefined): EndpointUse {
  if (isUsed) return state.ready ? "used" : "used while it terminates";
  if (elsewhere !== undefined) return elsewhere;
  return isDraining(state) ? "terminates while others are ready" : "not ready";
}
