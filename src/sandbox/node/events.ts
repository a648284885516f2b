/** Events about objects, as `kubectl describe` shows them; the same event again only counts up. */
import type { Clock } from "#sandbox/clock.ts";
import { eventLifetimeMs } from "#sandbox/limits.ts";
import { isEqual, numberAt, textAt, valueAt } from "#sandbox/objects/json.ts";
import { keyOf, toTime } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import type { Registry } from "#sandbox/registry/registry.ts";

/** What happened. */
export interface Happening {
  readonly type: "Normal" | "Warning";
  /** CamelCase, such as Scheduled. */
  readonly reason: string;
  readonly message: string;
  /** Who reports it, such as kubelet. */
  readonly source: string;
  readonly fieldPath?: string;
}

/** Writes events into the namespace of the object that they are about. */
export class EventRecorder {
  readonly #registry: Registry;
  readonly #clock: Clock;

  #count = 0;

  constructor(registry: Registry, clock: Clock) {
    this.#registry = registry;
    this.#clock = clock;
  }

  record(object: KubeObject, happening: Happening): void {
    this.#removeOld();
    const events = resourceOf("Event");
    const namespace = object.metadata.namespace ?? "default";
    const { apiVersion, kind } = object;
    const { name, uid, resourceVersion } = object.metadata;
    const path = happening.fieldPath === undefined ? {} : { fieldPath: happening.fieldPath };
    const involvedObject = { kind, namespace, name, uid, apiVersion, resourceVersion, ...path };
    const now = toTime(this.#clock.now());
    const same = this.#registry.store.list(events, namespace).find((event) => isSame(event, uid, happening));
    if (same !== undefined) {
      const body = { ...same, count: (numberAt(same, "count") ?? 1) + 1, lastTimestamp: now };
      this.#registry.update(events, keyOf(same), { body, part: "main" });
      return;
    }
    const { type, reason, message, source } = happening;
    const times = { firstTimestamp: now, lastTimestamp: now, count: 1 };
    this.#count += 1;
    // Named by time, so that a list is in the order in which things happened.
    const number = BigInt(this.#clock.now()) * 1_000_000n + BigInt(this.#count % 1_000_000);
    const metadata = { name: `${name}.${number.toString(16)}` };
    // Without effect in a namespace that is being deleted: events there are refused.
    this.#registry.create(events, namespace, {
      metadata,
      involvedObject,
      type,
      reason,
      message,
      source: { component: source },
      reportingComponent: source,
      ...times,
    });
  }

  #removeOld(): void {
    const { store } = this.#registry;
    const end = this.#clock.now() - eventLifetimeMs;
    for (const event of store.list(resourceOf("Event"))) {
      if (Date.parse(textAt(event, "lastTimestamp") || event.metadata.creationTimestamp) < end)
        store.remove(resourceOf("Event"), keyOf(event));
    }
  }
}

function isSame(event: KubeObject, uid: string, happening: Happening): boolean {
  return (
    textAt(event, "involvedObject", "uid") === uid &&
    textAt(event, "reason") === happening.reason &&
    textAt(event, "message") === happening.message &&
    isEqual(valueAt(event, "involvedObject", "fieldPath"), happening.fieldPath)
  );
}
