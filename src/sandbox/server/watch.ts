/**
 * Watch: every change of the selected objects after a revision, once and in order (API concepts, "Efficient detection of changes").
 * A client that resumes gets exactly what it missed, or 410 so that it lists again; never a gap.
 */
import { bookmarkIntervalMs, maxUnreadWatchBytes, watchTimeoutMs } from "#sandbox/limits.ts";
import type { Clock } from "#sandbox/clock.ts";
import { isObject, textAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { apiVersionOf } from "#sandbox/objects/resources.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import type { Store, StoreEvent } from "#sandbox/store/store.ts";
import type { ListOptions } from "./list-options.ts";
import { presentObject } from "./presentation.ts";
import type { Presentation } from "./presentation.ts";
import type { Sink } from "./reply.ts";
import { expired } from "./status.ts";

/** What is watched and how it is shown. */
export interface WatchPlan {
  readonly resource: Resource;
  /** Undefined: all namespaces. */
  readonly namespace: string | undefined;
  readonly options: ListOptions;
  readonly presentation: Presentation;
}

/** A frame of a watch. */
export interface WatchFrame {
  readonly type: "ADDED" | "BOOKMARK" | "DELETED" | "ERROR" | "MODIFIED";
  readonly object: JsonObject;
}

/** Writes a watch until its time is over, the client goes or does not read. */
export async function runWatch(
  plan: WatchPlan,
  store: Store,
  { sink, clock }: { readonly sink: Sink; readonly clock: Clock },
): Promise<void> {
  const frames = new FrameWriter(plan, sink, clock);
  const tooOld = !writeStart(plan, store, frames);
  if (tooOld) return;
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const unsubscribe = store.subscribe((event) => {
    frames.change(event);
    if (sink.unreadBytes() > maxUnreadWatchBytes) end();
  });
  const cancelEnd = clock.after(plan.options.timeoutMs ?? watchTimeoutMs, end);
  let cancelBookmark = (): void => undefined;
  const scheduleBookmark = (): void => {
    cancelBookmark = clock.after(bookmarkIntervalMs, () => {
      frames.bookmark(store.revision, {});
      scheduleBookmark();
    });
  };
  if (plan.options.allowsBookmarks) scheduleBookmark();
  if (sink.signal.aborted) end();
  sink.signal.addEventListener("abort", () => end(), { once: true });
  await ended;
  unsubscribe();
  cancelEnd();
  cancelBookmark();
}

/** Writes what comes before live changes; false when the revision is too old. */
function writeStart(plan: WatchPlan, store: Store, frames: FrameWriter): boolean {
  const { revision = 0, sendsInitialEvents } = plan.options;
  if (revision === 0 || sendsInitialEvents) {
    for (const object of store.list(plan.resource, plan.namespace)) frames.initial(object);
    if (sendsInitialEvents) frames.bookmark(store.revision, { "k8s.io/initial-events-end": "true" });
    return true;
  }
  const missed = store.eventsSince(plan.resource, revision);
  if (missed === undefined) {
    frames.write({ type: "ERROR", object: expired(`too old resource version: ${revision} (${store.revision})`) });
    return false;
  }
  for (const event of missed) frames.change(event);
  return true;
}

/** Turns changes into frames; a table's columns are described in the first frame only. */
class FrameWriter {
  readonly #plan: WatchPlan;
  readonly #sink: Sink;
  readonly #clock: Clock;
  #hasColumns = false;

  constructor(plan: WatchPlan, sink: Sink, clock: Clock) {
    this.#plan = plan;
    this.#sink = sink;
    this.#clock = clock;
  }

  initial(object: KubeObject): void {
    if (this.#plan.options.selects(object)) this.#show("ADDED", object);
  }

  /** An object that starts or stops to be selected is ADDED or DELETED for this watcher. */
  change(event: StoreEvent): void {
    const { resource, namespace, options } = this.#plan;
    if (event.resource !== resource || (namespace !== undefined && event.object.metadata.namespace !== namespace)) return;
    const wasSelected = event.previous !== undefined && options.selects(event.previous);
    const isSelected = event.type !== "DELETED" && options.selects(event.object);
    if (isSelected) this.#show(wasSelected ? "MODIFIED" : "ADDED", event.object);
    else if (wasSelected) this.#show("DELETED", event.object);
  }

  bookmark(revision: number, annotations: Readonly<Record<string, string>>): void {
    const { resource, presentation } = this.#plan;
    const metadata = {
      resourceVersion: String(revision),
      creationTimestamp: null,
      ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
    };
    const bare = { kind: resource.kind, apiVersion: apiVersionOf(resource), metadata };
    const partial = { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata };
    const table = {
      kind: "Table",
      apiVersion: "meta.k8s.io/v1",
      metadata,
      columnDefinitions: null,
      rows: [{ cells: [], object: partial }],
    };
    this.write({ type: "BOOKMARK", object: { object: bare, partial, table }[presentation.type] });
  }

  write(frame: WatchFrame): void {
    if (!this.#sink.signal.aborted) this.#sink.write(`${JSON.stringify(frame)}\n`);
  }

  #show(type: "ADDED" | "DELETED" | "MODIFIED", object: KubeObject): void {
    const shown = presentObject(object, this.#plan.presentation, this.#clock.now());
    const isTable = textAt(shown, "kind") === "Table" && isObject(shown);
    this.write({ type, object: isTable && this.#hasColumns ? { ...shown, columnDefinitions: null } : shown });
    this.#hasColumns = true;
  }
}
