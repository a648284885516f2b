/** The objects that are planned from, gathered from their watches, and what has changed in them since the last plan. */
import type { IpFamily } from "#agent/dataplane/dataplane.ts";
import type { ChangedServices } from "#agent/dataplane/node-plan.ts";
import type { ClusterObjects, EndpointSliceObject, NodeObject, ServiceObject } from "#agent/dataplane/objects.ts";

/** A change as a watch tells of it. */
export type ObjectChange<Value> =
  | { readonly type: "set"; readonly key: string; readonly value: Value; readonly previous: Value | undefined }
  | { readonly type: "removed"; readonly key: string; readonly previous: Value };

/** What changed between two plans. */
export interface TakenChanges {
  readonly services: ChangedServices;
  /** Changes of Services and of EndpointSlices. */
  readonly serviceChanges: number;
  readonly endpointChanges: number;
  /** When the changes of endpoints were made that these are about; milliseconds since the epoch. */
  readonly triggers: readonly { readonly family: IpFamily; readonly atMs: number }[];
}

/** A node that is not known yet: load balancers should not send here. */
export function unknownNode(name: string): NodeObject {
  return { name, uid: "", internalIps: [], zone: undefined, podCidrs: [], isEligible: false };
}

export class ObjectStore {
  readonly #nodeName: string;
  readonly #services = new Map<string, ServiceObject>();
  readonly #slices = new Map<string, Map<string, EndpointSliceObject>>();
  readonly #cidrs = new Map<string, readonly string[]>();
  readonly #changed = new Set<string>();
  #node: NodeObject | undefined;
  #serviceCidrs: readonly string[] = [];
  #serviceChanges = 0;
  #endpointChanges = 0;
  #triggers: { readonly family: IpFamily; readonly atMs: number }[] = [];

  constructor(nodeName: string) {
    this.#nodeName = nodeName;
  }

  get objects(): ClusterObjects {
    const node = this.#node ?? unknownNode(this.#nodeName);
    return { services: this.#services, slices: this.#slices, node, serviceCidrs: this.#serviceCidrs };
  }

  /** undefined until the cluster has it. */
  get node(): NodeObject | undefined {
    return this.#node;
  }

  get sliceCount(): number {
    let count = 0;
    for (const slices of this.#slices.values()) count += slices.size;
    return count;
  }

  /** Changes that no plan has taken yet. */
  get pending(): { readonly services: number; readonly endpoints: number } {
    return { services: this.#serviceChanges, endpoints: this.#endpointChanges };
  }

  applyServices(changes: readonly ObjectChange<ServiceObject>[]): void {
    for (const change of changes) {
      if (change.type === "set") this.#services.set(change.key, change.value);
      else this.#services.delete(change.key);
      this.#changed.add(change.key);
    }
    this.#serviceChanges += changes.length;
  }

  applySlices(changes: readonly ObjectChange<EndpointSliceObject>[]): void {
    for (const change of changes) {
      const { key, previous } = change;
      const now = change.type === "set" ? change.value : undefined;
      // One that stays keeps its place among its Service's slices.
      if (previous !== undefined && now?.service !== previous.service) this.#removeSlice(key, previous);
      if (now !== undefined) this.#putSlice(key, now);
    }
    this.#endpointChanges += changes.length;
  }

  /**
   * A Node that is gone, or that loses its addresses for a while, keeps what it had: without an address its node ports would be served at
   * all of the machine's. Load balancers should not send to one that is gone.
   */
  applyNode(changes: readonly ObjectChange<NodeObject>[]): void {
    for (const change of changes) {
      const before = this.#node;
      if (change.type === "removed") this.#node = before && { ...before, isEligible: false };
      else this.#node = keepAddresses(change.value, before);
    }
  }

  applyServiceCidrs(changes: readonly ObjectChange<readonly string[]>[]): void {
    for (const change of changes) {
      if (change.type === "set") this.#cidrs.set(change.key, change.value);
      else this.#cidrs.delete(change.key);
    }
    this.#serviceCidrs = [...new Set([...this.#cidrs.values()].flat())].toSorted();
  }

  /** What changed since this was last asked. */
  takeChanges(): TakenChanges {
    const taken = {
      services: new Set(this.#changed),
      serviceChanges: this.#serviceChanges,
      endpointChanges: this.#endpointChanges,
      triggers: this.#triggers,
    };
    this.#changed.clear();
    this.#serviceChanges = 0;
    this.#endpointChanges = 0;
    this.#triggers = [];
    return taken;
  }

  #putSlice(key: string, slice: EndpointSliceObject): void {
    const service = `${slice.namespace}/${slice.service}`;
    const slices = this.#slices.get(service) ?? new Map<string, EndpointSliceObject>();
    slices.set(key, slice);
    this.#slices.set(service, slices);
    this.#changed.add(service);
    if (slice.triggeredAtMs !== undefined) this.#triggers.push({ family: slice.family, atMs: slice.triggeredAtMs });
  }

  /** Also from the Service that it was of before its label changed. */
  #removeSlice(key: string, slice: EndpointSliceObject): void {
    const service = `${slice.namespace}/${slice.service}`;
    const slices = this.#slices.get(service);
    slices?.delete(key);
    if (slices?.size === 0) this.#slices.delete(service);
    this.#changed.add(service);
  }
}

function keepAddresses(node: NodeObject, before: NodeObject | undefined): NodeObject {
  return node.internalIps.length === 0 && before !== undefined ? { ...node, internalIps: before.internalIps } : node;
}
