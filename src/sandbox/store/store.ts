/**
 * The sandbox's etcd: all objects in memory, one revision counter, and a log of the last changes so that watches can resume.
 * What must stay true: revisions only grow; an object's resourceVersion is the revision that wrote it; every change is told to
 * every listener exactly once and in order; objects are never changed in place.
 */
import { historyLength, maxObjects, maxStoreBytes } from "#sandbox/limits.ts";
import { withValue } from "#sandbox/objects/json.ts";
import { keyOf } from "#sandbox/objects/object.ts";
import type { KubeObject, ObjectKey } from "#sandbox/objects/object.ts";
import type { Resource } from "#sandbox/objects/resources.ts";

/** One change. `object` is the new state; for DELETED the last state, with the deletion's revision. */
export interface StoreEvent {
  readonly type: "ADDED" | "DELETED" | "MODIFIED";
  readonly resource: Resource;
  readonly object: KubeObject;
  readonly previous: KubeObject | undefined;
  readonly revision: number;
}

/** Called after each change. It must not throw and must not write to the store before it returns. */
export type StoreListener = (event: StoreEvent) => void;

/** The objects of all kinds. */
export class Store {
  readonly #byResource = new Map<Resource, Map<string, KubeObject>>();
  readonly #listeners = new Set<StoreListener>();
  #history: StoreEvent[] = [];
  #revision = 0;
  #oldest = 0;
  #count = 0;
  #bytes = 0;

  /** The revision of the newest change. */
  get revision(): number {
    return this.#revision;
  }

  /** Whether one more object of that many bytes fits. */
  hasRoom(bytes: number): boolean {
    return this.#count < maxObjects && this.#bytes + bytes <= maxStoreBytes;
  }

  get(resource: Resource, key: ObjectKey): KubeObject | undefined {
    return this.#byResource.get(resource)?.get(pathOf(key));
  }

  /** Objects of a kind in one namespace or, without one, in all; sorted by namespace and name, as etcd's keys are. */
  list(resource: Resource, namespace?: string): readonly KubeObject[] {
    const all = [...(this.#byResource.get(resource)?.values() ?? [])];
    const chosen = namespace === undefined ? all : all.filter((object) => object.metadata.namespace === namespace);
    return chosen.toSorted((a, b) => (pathOf(keyOf(a)) < pathOf(keyOf(b)) ? -1 : 1));
  }

  /** Writes an object under its key, new or not, and gives it the next resourceVersion. */
  put(resource: Resource, object: KubeObject): KubeObject {
    const path = pathOf(keyOf(object));
    const objects = this.#objectsOf(resource);
    const previous = objects.get(path);
    const revision = this.#nextRevision();
    const stored = withValue(object, ["metadata", "resourceVersion"], String(revision));
    objects.set(path, stored);
    this.#count += previous === undefined ? 1 : 0;
    this.#bytes += sizeOf(stored) - sizeOf(previous);
    this.#tell({ type: previous === undefined ? "ADDED" : "MODIFIED", resource, object: stored, previous, revision });
    return stored;
  }

  /** Removes an object; undefined when there is none. */
  remove(resource: Resource, key: ObjectKey): KubeObject | undefined {
    const previous = this.get(resource, key);
    if (previous === undefined) return undefined;
    const revision = this.#nextRevision();
    const object = withValue(previous, ["metadata", "resourceVersion"], String(revision));
    this.#objectsOf(resource).delete(pathOf(key));
    this.#count -= 1;
    this.#bytes -= sizeOf(previous);
    this.#tell({ type: "DELETED", resource, object, previous, revision });
    return object;
  }

  /** The changes of a kind after a revision; undefined when the log no longer reaches that far back. */
  eventsSince(resource: Resource, revision: number): readonly StoreEvent[] | undefined {
    if (revision < this.#oldest) return undefined;
    return this.#history.filter((event) => event.resource === resource && event.revision > revision);
  }

  /** Hears every later change; the returned function ends it. */
  subscribe(listener: StoreListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #objectsOf(resource: Resource): Map<string, KubeObject> {
    const known = this.#byResource.get(resource);
    if (known !== undefined) return known;
    const created = new Map<string, KubeObject>();
    this.#byResource.set(resource, created);
    return created;
  }

  #nextRevision(): number {
    this.#revision += 1;
    return this.#revision;
  }

  #tell(event: StoreEvent): void {
    this.#history.push(event);
    // Cut in one piece when twice as long as needed, so that the cost of a change does not grow with the log.
    if (this.#history.length >= historyLength * 2) {
      this.#history = this.#history.slice(-historyLength);
      this.#oldest = (this.#history[0]?.revision ?? 1) - 1;
    }
    for (const listener of this.#listeners) listener(event);
  }
}

function pathOf(key: ObjectKey): string {
  return `${key.namespace}/${key.name}`;
}

function sizeOf(object: KubeObject | undefined): number {
  return object === undefined ? 0 : JSON.stringify(object).length;
}
