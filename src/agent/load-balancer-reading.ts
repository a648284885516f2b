/** What the role `load-balancer` reads of its cluster: three watches. */
import type { ApiserverAccess } from "./cluster-access.ts";
import { watchedLoadBalancerServices, watchedNodes, watchedReadyEndpoints } from "./cluster/load-balancer-objects.ts";
import { ClusterStreams } from "./cluster/streams.ts";
import { ResourceWatch } from "./cluster/watch.ts";
import type { ResourceWatchOptions, ResourceWatchState, WatchedResource } from "./cluster/watch.ts";
import type { Clock } from "./clock.ts";
import type { LoadBalancerController } from "./load-balancer/controller.ts";
import { conditionType } from "./load-balancer/status.ts";

export interface LoadBalancerReadingOptions {
  readonly access: Pick<ApiserverAccess, "credentials" | "pool">;
  /** The finalizer that makes a Service ours. */
  readonly finalizer: string;
  readonly identity: string;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  readonly takers: Pick<LoadBalancerController, "takeServices" | "takeNodes" | "takeSlices">;
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

export class LoadBalancerReading {
  readonly #readers: readonly Reader[];

  constructor(options: LoadBalancerReadingOptions) {
    const { access, clock, takers, identity, finalizer } = options;
    const affinity = `load-balancer ${identity}`;
    const streams = new ClusterStreams({ requester: access.pool, credential: access.credentials, clock, affinity });
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
    this.#readers = [
      watch(watchedLoadBalancerServices(finalizer, conditionType), (changes) => takers.takeServices(changes)),
      watch(watchedNodes, (changes) => takers.takeNodes(changes)),
      watch(watchedReadyEndpoints, (changes) => takers.takeSlices(changes)),
    ];
  }

  /** Whether the whole of the cluster is known. */
  get isSynced(): boolean {
    return this.#readers.every(({ isSynced }) => isSynced);
  }

  start(): void {
    for (const reader of this.#readers) reader.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#readers.map(async (reader) => reader.stop()));
  }
}
