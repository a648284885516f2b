/**
 * From a target's name to the pods or the node that may be dialled for it, best first. Nothing here is a decision: each candidate is
 * approved by the dialer, which asks the cluster about the user, before it is dialled.
 */
import { createHash } from "node:crypto";
import { GatewayError } from "#core/errors.ts";
import type { ForwardTarget, PortChoice, TransportProtocol } from "#core/kube/forward-target.ts";
import { maxNamedPorts } from "./limits.ts";
import type { EndpointFacts, NamedPort, PodFacts } from "./objects.ts";
import type { ObjectReader } from "./reader.ts";

/** What may be dialled, if it is approved. */
export type Candidate =
  | {
      readonly type: "pod";
      readonly namespace: string;
      readonly name: string;
      /** The address that the pod must have; undefined for the pod's own first one. */
      readonly address: string | undefined;
      /** The UID that the pod must have; empty for any. */
      readonly uid: string;
      readonly port: PortChoice;
    }
  | { readonly type: "node"; readonly name: string; readonly port: number };

type ServiceTarget = Extract<ForwardTarget, { readonly namespace: string }>;

export class TargetResolver {
  readonly #reader: ObjectReader;
  readonly #random: () => number;

  /** @param random from 0 to below 1, as Math.random */
  constructor(reader: ObjectReader, random: () => number) {
    this.#reader = reader;
    this.#random = random;
  }

  /**
   * The candidates in the order in which they are tried; at least one.
   * @param user whose connections stay together where that is asked for
   * @throws GatewayError TARGET_UNKNOWN, TARGET_REFUSED, TARGET_UNREACHABLE
   */
  async candidates(target: ForwardTarget, user: string): Promise<readonly Candidate[]> {
    switch (target.type) {
      case "pod":
        return [{ type: "pod", namespace: target.namespace, name: target.name, address: undefined, uid: "", port: target.port }];
      case "service":
        return this.#ofService(target, user);
      case "deployment":
        return this.#ofDeployment(target, user);
      case "node":
        if (target.port.type === "name") throw new GatewayError("TARGET_UNKNOWN", "a node's ports have no names: give a number");
        return [{ type: "node", name: target.name, port: target.port.port }];
    }
  }

  async #ofService(target: ServiceTarget, user: string): Promise<readonly Candidate[]> {
    const { namespace, name, protocol } = target;
    const service = await this.#reader.service(namespace, name);
    if (service === undefined) throw unknownObject(target);
    const what = `services "${name}"`;
    if (service.isExternalName)
      throw new GatewayError("TARGET_REFUSED", `${what} is of type ExternalName: it names a host outside of this cluster`);
    const port = findPort(service.ports, target);
    if (port === undefined)
      throw new GatewayError(
        "TARGET_UNKNOWN",
        `${what} has no ${protocol.toUpperCase()} port ${portText(target.port)}; ${listPorts(service.ports)}`,
      );
    const endpoints = await this.#reader.endpoints(namespace, name);
    const pods = endpoints.filter((endpoint) => endpoint.pod !== undefined && ["", namespace].includes(endpoint.pod.namespace));
    const usable = usableEndpoints(pods, port);
    if (usable.length > 0) return this.#order(usable, namespace, service.hasAffinity ? user : undefined);
    if (endpoints.length > 0 && pods.length === 0)
      throw new GatewayError("TARGET_REFUSED", `the endpoints of ${what} are no pods of its namespace, and only those are reached`);
    const reason = service.hasSelector ? "no pod of it is ready" : "it has no selector and no endpoints";
    throw new GatewayError("TARGET_UNREACHABLE", `no endpoints available for ${what}: ${reason}`);
  }

  #order(endpoints: readonly UsableEndpoint[], namespace: string, affinity: string | undefined): readonly Candidate[] {
    const ordered =
      affinity === undefined
        ? shuffled(endpoints, this.#random)
        : endpoints.toSorted((left, right) => compareFor(affinity, left.pod.name, right.pod.name));
    return ordered.map(({ address, pod, port }) => ({
      type: "pod",
      namespace,
      name: pod.name,
      address,
      uid: pod.uid,
      port: { type: "number", port },
    }));
  }

  /** All of a user's connections go to one pod while it is ready, as with kubectl. */
  async #ofDeployment(target: ServiceTarget, user: string): Promise<readonly Candidate[]> {
    const { namespace, name } = target;
    const pods = await this.#reader.deploymentPods(namespace, name);
    if (pods === undefined) throw unknownObject(target);
    const running = pods.filter((pod) => pod.phase === "Running" && !pod.isTerminating);
    const ready = running.filter((pod) => pod.isReady);
    const usable = (ready.length > 0 ? ready : running).toSorted((left, right) => compareFor(user, left.name, right.name));
    if (usable.length === 0)
      throw new GatewayError("TARGET_UNREACHABLE", `no pod of deployments "${name}" runs (${pods.length} are selected)`);
    return usable.map((pod) => ({ type: "pod", namespace, name: pod.name, address: undefined, uid: pod.uid, port: target.port }));
  }
}

/** A pod's port by number or by the name of a container's port. @throws GatewayError TARGET_UNKNOWN */
export function podPort(pod: PodFacts, choice: PortChoice, protocol: TransportProtocol): number {
  if (choice.type === "number") return choice.port;
  const found = pod.ports.find((port) => port.name === choice.name && port.protocol === protocol && port.port > 0);
  if (found !== undefined) return found.port;
  throw new GatewayError(
    "TARGET_UNKNOWN",
    `pods "${pod.name}" has no ${protocol.toUpperCase()} port "${choice.name}"; ${listPorts(pod.ports)}`,
  );
}

interface UsableEndpoint {
  readonly address: string;
  readonly pod: NonNullable<EndpointFacts["pod"]>;
  readonly port: number;
}

/** Ready ones, else those that still serve while they end, as kube-proxy does it (KEP-1669). */
function usableEndpoints(endpoints: readonly EndpointFacts[], servicePort: NamedPort): readonly UsableEndpoint[] {
  const inState = (state: EndpointFacts["state"]): readonly UsableEndpoint[] =>
    endpoints.flatMap(({ address, pod, ports, ...endpoint }) => {
      const port = ports.find((each) => each.name === servicePort.name && each.protocol === servicePort.protocol && each.port > 0);
      return endpoint.state === state && pod !== undefined && port !== undefined ? [{ address, pod, port: port.port }] : [];
    });
  const ready = inState("ready");
  return ready.length > 0 ? ready : inState("terminating");
}

function findPort(ports: readonly NamedPort[], { port, protocol }: ForwardTarget): NamedPort | undefined {
  return ports.find((each) => each.protocol === protocol && (port.type === "number" ? each.port === port.port : each.name === port.name));
}

function unknownObject(target: ServiceTarget): GatewayError {
  return new GatewayError("TARGET_UNKNOWN", `${target.type}s "${target.name}" not found in the namespace "${target.namespace}"`);
}

function portText(port: PortChoice): string {
  return port.type === "number" ? String(port.port) : `"${port.name}"`;
}

function listPorts(ports: readonly NamedPort[]): string {
  if (ports.length === 0) return "it names no ports";
  const named = ports.slice(0, maxNamedPorts).map(({ name, port, protocol }) => `${name} ${port}/${protocol.toUpperCase()}`.trim());
  return `its ports are ${named.join(", ")}${ports.length > maxNamedPorts ? ", …" : ""}`;
}

/** Rendezvous hashing: the same order for the same user on every agent, and a pod that goes moves nobody but those who were on it. */
function compareFor(user: string, left: string, right: string): number {
  const [first, second] = [rank(user, left), rank(user, right)];
  return first < second ? -1 : 1;
}

function rank(user: string, pod: string): string {
  return createHash("sha256")
    .update(JSON.stringify([user, pod]))
    .digest("hex");
}

function shuffled<Item>(items: readonly Item[], random: () => number): readonly Item[] {
  return items
    .map((item) => ({ item, order: random() }))
    .toSorted((left, right) => left.order - right.order)
    .map(({ item }) => item);
}
