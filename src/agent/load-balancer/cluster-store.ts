/** What is known of the cluster, filled by whoever watches it. */
import type { ClusterView, IpFamily, LoadBalancerNode, LoadBalancerService, ReadyEndpoints } from "./objects.ts";

/** A change of a watched resource. */
export type ObjectChange<Value> =
  | { readonly type: "set"; readonly key: string; readonly value: Value; readonly previous: Value | undefined }
  | { readonly type: "removed"; readonly key: string; readonly previous: Value };

const nobody: ReadonlySet<string> = new Set();

export class ClusterStore implements ClusterView {
  readonly #services = new Map<string, LoadBalancerService>();
  readonly #nodes = new Map<string, LoadBalancerNode>();
  /** By Service, then by slice. */
  readonly #slices = new Map<string, Map<string, ReadyEndpoints>>();

  get services(): ReadonlyMap<string, LoadBalancerService> {
    return this.#services;
  }

  get nodes(): ReadonlyMap<string, LoadBalancerNode> {
    return this.#nodes;
  }

  readyNodes(service: string, family: IpFamily): ReadonlySet<string> {
    const slices = this.#slices.get(service);
    if (slices === undefined) return nobody;
    return new Set([...slices.values()].filter((slice) => slice.family === family).flatMap(({ nodes }) => nodes));
  }

  applyServices(changes: readonly ObjectChange<LoadBalancerService>[]): void {
    for (const change of changes) apply(this.#services, change);
  }

  applyNodes(changes: readonly ObjectChange<LoadBalancerNode>[]): void {
    for (const change of changes) apply(this.#nodes, change);
  }

  applySlices(changes: readonly ObjectChange<ReadyEndpoints>[]): void {
    for (const change of changes) {
      if (change.previous !== undefined) this.#removeSlice(change.previous.service, change.key);
      if (change.type === "removed") continue;
      const slices = this.#slices.get(change.value.service) ?? new Map<string, ReadyEndpoints>();
      this.#slices.set(change.value.service, slices.set(change.key, change.value));
    }
  }

  #removeSlice(service: string, key: string): void {
    const slices = this.#slices.get(service);
    slices?.delete(key);
    if (slices?.size === 0) this.#slices.delete(service);
  }
}

function apply<Value>(items: Map<string, Value>, change: ObjectChange<Value>): void {
  if (change.type === "set") items.set(change.key, change.value);
  else items.delete(change.key);
}
