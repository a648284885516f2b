/**
 * Load balancers that are the nodes themselves: a Service gets the addresses of nodes, and the service proxy on each of them takes what
 * comes there. There is no provider: what is made is the Service's status alone, so observing and deleting cost no call.
 */
import type { EnsureOutcome, LoadBalancerDriver, ObservedLoadBalancer, Owner, WantedLoadBalancer } from "#agent/load-balancer/driver.ts";
import { selectNodes } from "#agent/load-balancer/nodes.ts";
import type { NodeReadiness } from "#agent/load-balancer/nodes.ts";
import type { ClusterView, Ingress } from "#agent/load-balancer/objects.ts";
import type { ServedClasses } from "#agent/load-balancer/plan.ts";
import { allocate } from "./node-ip-allocation.ts";
import type { Allocation } from "./node-ip-allocation.ts";
import type { NodeIpOptions } from "./node-ip-options.ts";

export interface NodeIpDriverOptions {
  readonly options: NodeIpOptions;
  readonly classes: ServedClasses;
  readonly readiness: NodeReadiness;
}

export class NodeIpDriver implements LoadBalancerDriver {
  readonly name = "node-ip";
  readonly #options: NodeIpDriverOptions;
  /** By UID: what was given and may be in a status that has not been seen yet. */
  readonly #granted = new Map<string, readonly Ingress[]>();
  #allocations: ReadonlyMap<string, Allocation> = new Map();
  #view: ClusterView | undefined;

  constructor(options: NodeIpDriverOptions) {
    this.#options = options;
  }

  follow(view: ClusterView): readonly string[] {
    this.#view = view;
    this.#forget(view);
    const before = this.#allocations;
    const nodes = selectNodes(view.nodes.values(), this.#options.readiness);
    this.#allocations = allocate({ ...this.#options, view, nodes, granted: this.#granted });
    return [...this.#allocations].filter(([key, allocation]) => !isSame(before.get(key), allocation)).map(([key]) => key);
  }

  async ensure({ owner, service }: WantedLoadBalancer): Promise<EnsureOutcome> {
    const allocation = this.#allocations.get(service);
    if (allocation?.uid !== owner.serviceUid)
      return { type: "waiting", reason: "Pending", message: "the Service is not known yet", retryMs: 1_000 };
    const { ingress, shortage } = allocation;
    this.#granted.set(owner.serviceUid, ingress);
    if (ingress.length > 0 || shortage === undefined) return { type: "ensured", ingress, note: shortage?.message };
    return { type: "refused", ...shortage, ingress };
  }

  async observe(owner: Owner): Promise<ObservedLoadBalancer | undefined> {
    const { serviceUid } = owner;
    const given = this.#granted.get(serviceUid) ?? this.#statusOf(serviceUid);
    return given.length === 0 ? undefined : { owner, id: given.map(({ ip }) => ip).join() };
  }

  /** The ports stay the Service's until it is seen to be gone, or without them in its status. */
  async delete({ serviceUid }: Owner): Promise<void> {
    this.#granted.delete(serviceUid);
  }

  /** Nothing is anywhere but at the Services. */
  async list(): Promise<readonly ObservedLoadBalancer[]> {
    return [];
  }

  #statusOf(uid: string): readonly Ingress[] {
    return [...(this.#view?.services.values() ?? [])].find((service) => service.uid === uid)?.status.ingress ?? [];
  }

  #forget(view: ClusterView): void {
    const present = new Set([...view.services.values()].filter(({ isLoadBalancer }) => isLoadBalancer).map(({ uid }) => uid));
    for (const uid of this.#granted.keys()) if (!present.has(uid)) this.#granted.delete(uid);
  }
}

function isSame(one: Allocation | undefined, other: Allocation): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
