/** An apiserver's lists and watches, opened, fed and ended by a test. */
import { Readable } from "node:stream";
import { ClusterStreams } from "#agent/cluster/streams.ts";
import type { StreamRequester } from "#agent/cluster/streams.ts";
import { ResourceWatch } from "#agent/cluster/watch.ts";
import type { WatchedResource } from "#agent/cluster/watch.ts";
import type { ResourceChange } from "#agent/cluster/resource-copy.ts";
import { textField } from "#core/json-fields.ts";
import { ObservedClock } from "../observed-clock.ts";

/** One request, waiting for what the test answers. */
export interface OpenRequest {
  readonly path: string;
  readonly query: URLSearchParams;
  readonly longRunning: boolean;
  readonly signal: AbortSignal;
  /** Answers 200 and keeps the body open. */
  open(): OpenBody;
  /** Answers with a complete body. */
  answer(status: number, object: unknown, headers?: readonly (readonly [string, string])[]): void;
  fail(error: Error): void;
}

export interface OpenBody {
  send(...events: readonly unknown[]): void;
  sendText(text: string): void;
  end(): void;
  breakOff(): void;
}

export class ScriptedStreams {
  readonly clock = new ObservedClock();
  readonly requests: OpenRequest[] = [];
  invalidated = 0;
  readonly #waiting: ((request: OpenRequest) => void)[] = [];
  readonly #unseen: OpenRequest[] = [];
  readonly streams: ClusterStreams;

  constructor() {
    const requester: StreamRequester = {
      request: ({ target, longRunning, signal }) =>
        new Promise((resolve, reject) => {
          const url = new URL(target, "http://apiserver");
          signal.addEventListener("abort", () => reject(signal.reason as Error)); // the code under test aborts with errors
          const respond = (status: number, headers: readonly (readonly [string, string])[], body: Readable) => {
            signal.addEventListener("abort", () => body.destroy(signal.reason as Error)); // as the pool does
            resolve({ status, headers, body });
          };
          this.#arrive({
            path: url.pathname,
            query: url.searchParams,
            longRunning,
            signal,
            open: () => openBody((body) => respond(200, [], body)),
            answer: (status, object, headers = []) => respond(status, headers, Readable.from([Buffer.from(JSON.stringify(object))])),
            fail: reject,
          });
        }),
    };
    const credential = {
      authorization: async () => "Bearer own",
      invalidate: () => {
        this.invalidated += 1;
      },
    };
    this.streams = new ClusterStreams({ requester, credential, clock: this.clock, affinity: "node-1" });
  }

  /** The next request, in the order in which they come. */
  next(): Promise<OpenRequest> {
    const request = this.#unseen.shift();
    if (request !== undefined) return Promise.resolve(request);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #arrive(request: OpenRequest): void {
    this.requests.push(request);
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#unseen.push(request);
    else waiting(request);
  }
}

function openBody(respond: (body: Readable) => void): OpenBody {
  const body = new Readable({ read: () => undefined });
  respond(body);
  return {
    send: (...events) => void body.push(Buffer.from(events.map((event) => `${JSON.stringify(event)}\n`).join(""))),
    sendText: (text) => void body.push(Buffer.from(text)),
    end: () => void body.push(null),
    breakOff: () => void body.destroy(new Error("reset")),
  };
}

/** An object with a value to keep; one without is not kept. */
export function makeObject(name: string, resourceVersion: string | number, value?: string): object {
  return { metadata: { namespace: "default", name, resourceVersion: String(resourceVersion) }, ...(value !== undefined && { value }) };
}

export function added(name: string, resourceVersion: number, value?: string): object {
  return { type: "ADDED", object: makeObject(name, resourceVersion, value) };
}

export function deleted(name: string, resourceVersion: number): object {
  return { type: "DELETED", object: makeObject(name, resourceVersion) };
}

export function bookmark(resourceVersion: number, endsInitial = false): object {
  const annotations = endsInitial ? { "k8s.io/initial-events-end": "true" } : {};
  return { type: "BOOKMARK", object: { metadata: { resourceVersion: String(resourceVersion), annotations } } };
}

export function statusEvent(code: number, reason: string): object {
  return { type: "ERROR", object: { kind: "Status", code, reason } };
}

export const values: WatchedResource<string> = {
  path: "/apis/example.com/v1/things",
  selectors: { labelSelector: "!hidden" },
  isOptional: false,
  reduce: (object) => textField(object, "value") || undefined,
};

/** A watch of values, and what it has told. */
export interface WatchUnderTest {
  readonly api: ScriptedStreams;
  readonly watch: ResourceWatch<string>;
  readonly told: (readonly ResourceChange<string>[])[];
  readonly troubles: (string | undefined)[];
  /** Resolves when it next tells of changes. */
  readonly nextChange: () => Promise<readonly ResourceChange<string>[]>;
  /** Resolves when it next tells of trouble, or of its end. */
  readonly nextTrouble: () => Promise<string | undefined>;
  readonly copy: () => Record<string, string>;
}

export function makeWatch(resource: WatchedResource<string> = values): WatchUnderTest {
  const api = new ScriptedStreams();
  const told: (readonly ResourceChange<string>[])[] = [];
  const troubles: (string | undefined)[] = [];
  let seen = { changes: 0, troubles: 0 };
  const wakes = new Set<() => void>();
  const wake = () => {
    for (const run of wakes) run();
  };
  const watch = new ResourceWatch<string>({
    resource,
    streams: api.streams,
    clock: api.clock,
    random: () => 0.5,
    onChange: (changes) => {
      told.push(changes);
      wake();
    },
    onTrouble: (what) => {
      troubles.push(what);
      wake();
    },
  });
  const until = async (isThere: () => boolean) => {
    while (!isThere()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      wakes.add(resolve);
      await promise;
      wakes.delete(resolve);
    }
  };
  return {
    api,
    watch,
    told,
    troubles,
    nextChange: async () => {
      await until(() => told.length > seen.changes);
      const changes = told[seen.changes];
      seen = { ...seen, changes: seen.changes + 1 };
      return changes ?? [];
    },
    nextTrouble: async () => {
      await until(() => troubles.length > seen.troubles);
      const trouble = troubles[seen.troubles];
      seen = { ...seen, troubles: seen.troubles + 1 };
      return trouble;
    },
    copy: () => Object.fromEntries(watch.items),
  };
}
