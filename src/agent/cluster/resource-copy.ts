/** A copy of a resource's objects, reduced to what is used, and what changes in it: no requests, no clock. */
import { isDeepStrictEqual } from "node:util";
import { objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { WatchEvent } from "./watch-events.ts";

/** One change of the copy. An object that is reduced to the same as before is no change. */
export type ResourceChange<Value> =
  | { readonly type: "set"; readonly key: string; readonly value: Value; readonly previous: Value | undefined }
  | { readonly type: "removed"; readonly key: string; readonly previous: Value };

/** Makes of an object what is kept of it; undefined when it is not kept. Never throws, whatever the object. */
export type Reduce<Value> = (object: JsonObject) => Value | undefined;

/** `namespace/name`, or the name of an object without a namespace. */
export function keyOf(object: JsonObject): string {
  const metadata = objectField(object, "metadata");
  const namespace = textField(metadata, "namespace");
  const name = textField(metadata, "name");
  return namespace === "" ? name : `${namespace}/${name}`;
}

export class ResourceCopy<Value> {
  readonly #reduce: Reduce<Value>;
  #items = new Map<string, Value>();
  #resourceVersion: string | undefined;

  constructor(reduce: Reduce<Value>) {
    this.#reduce = reduce;
  }

  get items(): ReadonlyMap<string, Value> {
    return this.#items;
  }

  /** The version up to which the copy is complete; undefined before it was complete once. */
  get resourceVersion(): string | undefined {
    return this.#resourceVersion;
  }

  /** Takes an event of a watch from the copy's version on. One that is not newer than the copy has been applied already. */
  apply(event: Extract<WatchEvent, { readonly resourceVersion: string }>): readonly ResourceChange<Value>[] {
    if (this.#resourceVersion !== undefined && !isNewer(event.resourceVersion, this.#resourceVersion)) return [];
    this.#resourceVersion = event.resourceVersion;
    switch (event.type) {
      case "bookmark":
        return [];
      case "deleted":
        return this.#remove(keyOf(event.object));
      case "changed":
        return this.#put(keyOf(event.object), this.#reduce(event.object));
    }
  }

  /** Takes the complete state as of a version, and computes what has changed since: removals too. */
  replace(found: ReadonlyMap<string, Value>, resourceVersion: string): readonly ResourceChange<Value>[] {
    const gone = [...this.#items.keys()].filter((key) => !found.has(key));
    const changes = gone.flatMap((key) => this.#remove(key));
    for (const [key, value] of found) changes.push(...this.#put(key, value));
    this.#resourceVersion = resourceVersion;
    return changes;
  }

  /** What is kept of an object. */
  reduce(object: JsonObject): Value | undefined {
    return this.#reduce(object);
  }

  #put(key: string, value: Value | undefined): ResourceChange<Value>[] {
    if (value === undefined) return this.#remove(key);
    const previous = this.#items.get(key);
    if (previous !== undefined && isDeepStrictEqual(previous, value)) return [];
    this.#items.set(key, value);
    return [{ type: "set", key, value, previous }];
  }

  #remove(key: string): ResourceChange<Value>[] {
    const previous = this.#items.get(key);
    if (previous === undefined) return [];
    this.#items.delete(key);
    return [{ type: "removed", key, previous }];
  }
}

const decimal = /^(?:0|[1-9]\d*)$/;

/** Whether one resourceVersion is later than another. They are decimal numbers (KEP-5504); of others, every one may be. */
function isNewer(version: string, than: string): boolean {
  if (!decimal.test(version) || !decimal.test(than)) return true;
  if (version.length !== than.length) return version.length > than.length;
  return version > than;
}
