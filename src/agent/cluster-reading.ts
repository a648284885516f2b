/** What a role reads of its cluster: a watch for each resource, started and stopped together. */
import type { ApiserverAccess } from "./cluster-access.ts";
import { ClusterStreams } from "./cluster/streams.ts";
import { ResourceWatch } from "./cluster/watch.ts";
import type { ResourceWatchOptions, ResourceWatchState, WatchedResource } from "./cluster/watch.ts";
import type { Clock } from "./clock.ts";

export interface ClusterReadingOptions {
  readonly access: Pick<ApiserverAccess, "credentials" | "pool">;
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

export class ClusterReading {
  readonly #options: ClusterReadingOptions;
  readonly #streams: ClusterStreams;
  readonly #readers = new Map<string, Reader>();

  /** @param affinity differs from node to node, so that all of them do not choose the same apiserver */
  constructor(options: ClusterReadingOptions, affinity: string) {
    const { access, clock } = options;
    this.#options = options;
    this.#streams = new ClusterStreams({ requester: access.pool, credential: access.credentials, clock, affinity });
  }

  /** Whether the whole of it is known. */
  get isSynced(): boolean {
    return [...this.#readers.values()].every(({ isSynced }) => isSynced);
  }

  /** By the resource's name, such as `endpointslices`. */
  get state(): Readonly<Record<string, ResourceWatchState>> {
    return Object.fromEntries([...this.#readers].map(([name, { state }]) => [name, state]));
  }

  start(): void {
    for (const reader of this.#readers.values()) reader.start();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#readers.values()].map(async (reader) => reader.stop()));
  }

  /** Adds a resource; its changes are given to `take` before `onChange` is told. */
  protected watch<Value>(resource: WatchedResource<Value>, take: ResourceWatchOptions<Value>["onChange"]): void {
    const { clock, random, onChange, onTrouble } = this.#options;
    const reader = new ResourceWatch({
      resource,
      streams: this.#streams,
      clock,
      random,
      onChange: (changes) => {
        take(changes);
        onChange();
      },
      onTrouble: (what) => onTrouble(resource.path, what),
    });
    this.#readers.set(resource.path.slice(resource.path.lastIndexOf("/") + 1), reader);
  }
}
