/**
 * A copy of a resource of the cluster, kept up to date: list, then watch, as client-go's reflectors do.
 *
 * What must stay true: the copy is never a part of what the cluster has (it is complete when `isSynced` is true, and a new list is taken
 * over at once, with what is gone computed); no event is missed, because a watch goes on from the version that the copy has, and none is
 * applied twice; and while no apiserver answers, the copy stays as it was. Objects are reduced as their bytes come, so that neither
 * a list nor an object is kept.
 */
import type { Readable } from "node:stream";
import { GatewayError } from "#core/errors.ts";
import type { Clock } from "#agent/clock.ts";
import { objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { initialSilenceMs, listPageSize, maxWatchSeconds, minWatchSeconds, shortWatchMs, watchSilenceMs } from "./limits.ts";
import { ListReader } from "./list-reader.ts";
import { keyOf, ResourceCopy } from "./resource-copy.ts";
import type { Reduce, ResourceChange } from "./resource-copy.ts";
import type { ClusterStreams, StreamAnswer } from "./streams.ts";
import { firstCourse, nextCourse } from "./watch-course.ts";
import type { Course, Ending, Way } from "./watch-course.ts";
import { WatchEventReader } from "./watch-events.ts";
import type { WatchEvent } from "./watch-events.ts";

/** What to watch. */
export interface WatchedResource<Value> {
  /** The collection, such as `/api/v1/services`. */
  readonly path: string;
  /** Selectors, as query parameters. */
  readonly selectors: Readonly<Record<string, string>>;
  /** Whether an apiserver may lack the resource (404): then the copy is empty. */
  readonly isOptional: boolean;
  readonly reduce: Reduce<Value>;
}

export interface ResourceWatchOptions<Value> {
  readonly resource: WatchedResource<Value>;
  readonly streams: ClusterStreams;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** Told of changes, several at once; with none of them too when the copy becomes complete for the first time. Must not throw. */
  readonly onChange: (changes: readonly ResourceChange<Value>[]) => void;
  /** Told, in a sentence, when reading begins to fail, and undefined when it goes on. */
  readonly onTrouble: (what: string | undefined) => void;
}

/** How a reader of a resource is, for people. */
export interface ResourceWatchState {
  readonly isSynced: boolean;
  readonly count: number;
  /** When the apiserver last sent anything; milliseconds since the epoch. */
  readonly lastHeardMs: number | undefined;
  readonly trouble: string | undefined;
}

export class ResourceWatch<Value> {
  readonly #options: ResourceWatchOptions<Value>;
  readonly #copy: ResourceCopy<Value>;
  readonly #stopping = new AbortController();
  #course: Course = firstCourse;
  #isAbsent = false;
  #lastHeardMs: number | undefined;
  #trouble: string | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ResourceWatchOptions<Value>) {
    this.#options = options;
    this.#copy = new ResourceCopy(options.resource.reduce);
  }

  /** The copy by `namespace/name`, or by name. It changes in place. */
  get items(): ReadonlyMap<string, Value> {
    return this.#copy.items;
  }

  /** Whether the copy was complete once: what changed since then is on its way at most. */
  get isSynced(): boolean {
    return this.#copy.resourceVersion !== undefined || this.#isAbsent;
  }

  get state(): ResourceWatchState {
    return { isSynced: this.isSynced, count: this.items.size, lastHeardMs: this.#lastHeardMs, trouble: this.#trouble };
  }

  start(): void {
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the agent is stopping"));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const ending = await this.#readSafely(this.#course.way);
      if (signal.aborted) return;
      const { course, waitMs } = nextCourse(this.#course, ending, this.#options.random());
      this.#course = course;
      if (waitMs > 0) await this.#wait(waitMs);
    }
  }

  async #readSafely(way: Way): Promise<Ending> {
    try {
      const ending =
        way === "pages" || way === "whole" ? await this.#list(way === "pages" ? listPageSize : undefined) : await this.#watch(way);
      if (ending.type === "refused") this.#noteRefusal(ending);
      return ending;
    } catch (thrown) {
      if (!this.#stopping.signal.aborted) this.#noteTrouble(describe(thrown));
      return { type: "failed" };
    }
  }

  /** The apiserver's list, in pages or at once. */
  async #list(limit: number | undefined): Promise<Ending> {
    const found = new Map<string, Value>();
    const { reduce } = this.#options.resource;
    let resourceVersion = "";
    for (let token = ""; ;) {
      const target = this.#target({ ...(limit !== undefined && { limit: String(limit) }), ...(token !== "" && { continue: token }) });
      const answer = await this.#options.streams.open({ target, isWatch: false, signal: this.#stopping.signal });
      if (answer.type === "refused") return toEnding(answer);
      const list = await this.#readList(answer.body, (item) => {
        const value = reduce(item);
        if (value !== undefined) found.set(keyOf(item), value);
      });
      const metadata = objectField(list, "metadata");
      // All pages are of the first one's version.
      if (resourceVersion === "") resourceVersion = textField(metadata, "resourceVersion");
      token = textField(metadata, "continue");
      if (token === "") break;
    }
    if (resourceVersion === "") throw new GatewayError("UPSTREAM_INVALID", "the list has no resourceVersion");
    this.#takeOver(found, resourceVersion);
    return { type: "complete" };
  }

  async #readList(body: Readable, onItem: (item: JsonObject) => void): Promise<JsonObject> {
    const reader = new ListReader(onItem);
    for await (const chunk of body) {
      if (!(chunk instanceof Uint8Array)) continue;
      this.#lastHeardMs = this.#options.clock.now();
      reader.read(chunk);
    }
    return reader.end();
  }

  /** A watch from the copy's version on, or one that begins with everything. */
  async #watch(way: "watchList" | "follow"): Promise<Ending> {
    const { clock, streams } = this.#options;
    const giveUp = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, giveUp.signal]);
    const silence = new Silence(clock, giveUp);
    const stream = new WatchStream(this.#copy, way === "watchList");
    try {
      const answer = await streams.open({ target: this.#watchTarget(way), isWatch: true, signal });
      if (answer.type === "refused") return toEnding(answer);
      const beganMs = clock.now();
      if (stream.isComplete) this.#noteTrouble(undefined);
      silence.limit(stream.isComplete ? watchSilenceMs : initialSilenceMs);
      for await (const chunk of answer.body) {
        if (!(chunk instanceof Uint8Array)) continue;
        this.#lastHeardMs = clock.now();
        const ending = this.#takeEvents(stream, chunk);
        if (ending !== undefined) return ending;
        silence.limit(stream.isComplete ? watchSilenceMs : initialSilenceMs);
      }
      return this.#endOf(stream, clock.now() - beganMs);
    } catch (thrown) {
      if (giveUp.signal.aborted && !stream.isComplete) return { type: "neverComplete" };
      throw thrown;
    } finally {
      silence.end();
      giveUp.abort(new Error("the watch is over"));
    }
  }

  /** Applies the events of some bytes, and tells of all their changes at once: also of those before an event that is none. */
  #takeEvents(stream: WatchStream<Value>, chunk: Uint8Array): Ending | undefined {
    const changes: ResourceChange<Value>[] = [];
    try {
      for (const event of stream.read(chunk)) {
        if (event.type === "error") return toEnding({ type: "refused", status: event.code, reason: event.reason, retryAfterMs: undefined });
        const wasSynced = this.isSynced;
        if (stream.isComplete) this.#course = { ...this.#course, failures: 0, refusals: 0 };
        changes.push(...stream.take(event));
        if (stream.isComplete) {
          // However the rest of a watch-list ends: what comes next goes on from here.
          this.#course = { ...this.#course, way: "follow" };
          this.#noteTrouble(undefined);
        }
        if (!wasSynced && this.isSynced && changes.length === 0) this.#options.onChange([]);
      }
    } finally {
      if (changes.length > 0) this.#options.onChange(changes);
    }
    return undefined;
  }

  #endOf(stream: WatchStream<Value>, lastedMs: number): Ending {
    if (!stream.isComplete) throw new GatewayError("UPSTREAM_LOST", "the watch ended before its first objects were complete");
    if (stream.eventCount === 0 && lastedMs < shortWatchMs) throw new GatewayError("UPSTREAM_LOST", "the watch ended at once");
    return { type: "ended" };
  }

  #takeOver(found: ReadonlyMap<string, Value>, resourceVersion: string): void {
    const wasSynced = this.isSynced;
    const changes = this.#copy.replace(found, resourceVersion);
    this.#noteTrouble(undefined);
    if (changes.length > 0 || !wasSynced) this.#options.onChange(changes);
  }

  #watchTarget(way: "watchList" | "follow"): string {
    const seconds = Math.round(minWatchSeconds + (maxWatchSeconds - minWatchSeconds) * this.#options.random());
    return this.#target({
      watch: "true",
      allowWatchBookmarks: "true",
      timeoutSeconds: String(seconds),
      ...(way === "watchList"
        ? { sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan" }
        : { resourceVersion: this.#copy.resourceVersion ?? "" }),
    });
  }

  #target(parameters: Readonly<Record<string, string>>): string {
    const { path, selectors } = this.#options.resource;
    const query = new URLSearchParams({ ...selectors, ...parameters }).toString();
    return query === "" ? path : `${path}?${query}`;
  }

  #noteRefusal({ status }: Extract<Ending, { type: "refused" }>): void {
    const { resource, onChange } = this.#options;
    if (status === 404 && resource.isOptional) {
      const wasSynced = this.isSynced;
      this.#isAbsent = true;
      if (!wasSynced) onChange([]);
      return;
    }
    const isProbe = this.#course.way === "watchList" && (status === 400 || status === 422);
    if (!isProbe) this.#noteTrouble(`the apiserver refuses ${resource.path} with ${status}`);
  }

  #noteTrouble(what: string | undefined): void {
    const before = this.#trouble;
    this.#trouble = what;
    if (before !== what) this.#options.onTrouble(what);
  }

  #wait(ms: number): Promise<void> {
    const { signal } = this.#stopping;
    return new Promise((resolve) => {
      const stop = () => {
        cancel();
        resolve();
      };
      const cancel = this.#options.clock.after(ms, () => {
        signal.removeEventListener("abort", stop);
        resolve();
      });
      signal.addEventListener("abort", stop, { once: true });
    });
  }
}

/** The events of one watch on their way into the copy: those of a watch-list are gathered until they are complete. */
class WatchStream<Value> {
  readonly #copy: ResourceCopy<Value>;
  readonly #events = new WatchEventReader();
  #initial: Map<string, Value> | undefined;
  #eventCount = 0;

  constructor(copy: ResourceCopy<Value>, beginsWithAll: boolean) {
    this.#copy = copy;
    this.#initial = beginsWithAll ? new Map() : undefined;
  }

  get isComplete(): boolean {
    return this.#initial === undefined;
  }

  get eventCount(): number {
    return this.#eventCount;
  }

  read(chunk: Uint8Array): Iterable<WatchEvent> {
    return this.#events.read(chunk);
  }

  take(event: Exclude<WatchEvent, { readonly type: "error" }>): readonly ResourceChange<Value>[] {
    this.#eventCount += 1;
    const initial = this.#initial;
    if (initial === undefined) return this.#copy.apply(event);
    if (event.type === "bookmark") {
      if (!event.endsInitial) return [];
      this.#initial = undefined;
      return this.#copy.replace(initial, event.resourceVersion);
    }
    const value = event.type === "changed" ? this.#copy.reduce(event.object) : undefined;
    if (value === undefined) initial.delete(keyOf(event.object));
    else initial.set(keyOf(event.object), value);
    return [];
  }
}

/** Aborts when nothing is heard for some time. */
class Silence {
  readonly #clock: Clock;
  readonly #giveUp: AbortController;
  #cancel: () => void = () => undefined;

  constructor(clock: Clock, giveUp: AbortController) {
    this.#clock = clock;
    this.#giveUp = giveUp;
  }

  /** From now on. */
  limit(ms: number): void {
    this.#cancel();
    this.#cancel = this.#clock.after(ms, () => this.#giveUp.abort(new GatewayError("UPSTREAM_TIMEOUT", "the watch has gone silent")));
  }

  end(): void {
    this.#cancel();
  }
}

function toEnding({ status, reason, retryAfterMs }: Extract<StreamAnswer, { readonly type: "refused" }>): Ending {
  if (status === 410 || reason === "Expired" || reason === "Gone") return { type: "expired" };
  return { type: "refused", status, retryAfterMs };
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : "an unknown failure";
}
