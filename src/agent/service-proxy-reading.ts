/** What the role `service-proxy` reads of its cluster: four watches that fill one store. */
import type { ApiserverAccess } from "./cluster-access.ts";
import { watchedNode, watchedServiceCidrs, watchedServices, watchedSlices } from "./cluster/service-objects.ts";
import { ClusterStreams } from "./cluster/streams.ts";
import { ResourceWatch } from "./cluster/watch.ts";
import type { ResourceWatchOptions, ResourceWatchState, WatchedResource } from "./cluster/watch.ts";
import type { Clock } from "./clock.ts";
import { ObjectStore } from "./service-proxy/object-store.ts";

export interface ServiceProxyReadingOptions {
  readonly access: Pick<ApiserverAccess, "credentials" | "pool">;
  readonly node: string;
  readonly proxyName: string | undefined;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** Told after changes, and when a resource is known for the first time. */
  readonly onChange: () => void;
  /** Told, in a sentence, when a resource cannot be read, and undefined when it can again. */
  readonly onTrouble: (resource: string, what: string | undefined) => void;
}

/** A watch, whatever it watches. */
interface Reader {
  readonly isSynced: boolean;
  readonly state: ResourceWatchState;
  start(): void;
  stop(): Promise<void>;
}

export class ServiceProxyReading {
  readonly store: ObjectStore;
  readonly #readers: ReadonlyMap<string, Reader>;

  constructor(options: ServiceProxyReadingOptions) {
    const { access, node, proxyName, clock } = options;
    const streams = new ClusterStreams({
      requester: access.pool,
      credential: access.credentials,
      clock,
      affinity: `service-proxy ${node}`,
    });
    const store = new ObjectStore(node);
    this.store = store;
    const watch = <Value>(resource: WatchedResource<Value>, take: ResourceWatchOptions<Value>["onChange"]): Reader =>
      new ResourceWatch({
        resource,
        streams,
        clock,
        random: options.random,
        onChange: (changes) => {
          take(changes);
          options.onChange();
        },
        onTrouble: (what) => options.onTrouble(resource.path, what),
      });
    this.#readers = new Map([
      ["services", watch(watchedServices(proxyName), (changes) => store.applyServices(changes))],
      ["endpointslices", watch(watchedSlices(proxyName), (changes) => store.applySlices(changes))],
      ["nodes", watch(watchedNode(node), (changes) => store.applyNode(changes))],
      ["servicecidrs", watch(watchedServiceCidrs, (changes) => store.applyServiceCidrs(changes))],
    ]);
  }

  /** Whether the whole of the cluster is known. */
  get isSynced(): boolean {
    return [...this.#readers.values()].every(({ isSynced }) => isSynced);
  }

  get state(): Readonly<Record<string, ResourceWatchState>> {
    return Object.fromEntries([...this.#readers].map(([name, { state }]) => [name, state]));
  }

  start(): void {
    for (const reader of this.#readers.values()) reader.start();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#readers.values()].map(async (reader) => reader.stop()));
  }
}
