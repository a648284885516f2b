/** Tells of endpoints that strict mode leaves out, at their Service and in the log, so often that nobody can make it a flood. */
import type { Clock } from "#agent/clock.ts";
import type { LogEvent } from "./reporting.ts";

/** Least time between two events about one Service: its endpoints are whoever's may write them. */
const eventIntervalMs = 600_000;

/** Services of which is remembered when they were told; the oldest is forgotten first. */
const maxRemembered = 4_096;

/** Endpoints that are named; the others are counted. */
const maxNamed = 3;

export interface IgnoredEndpoint {
  readonly address: string;
  readonly reason: string;
}

export interface IgnoredEndpointsOptions {
  readonly node: string;
  readonly clock: Clock;
  readonly log: (event: LogEvent) => void;
  /** Writes a Warning at a Service (`namespace/name`). */
  readonly warn: (service: string, note: string) => void;
}

export class IgnoredEndpoints {
  readonly #options: IgnoredEndpointsOptions;
  readonly #toldMs = new Map<string, number>();

  constructor(options: IgnoredEndpointsOptions) {
    this.#options = options;
  }

  /** The endpoints of a Service that are left out now. */
  tell(service: string, endpoints: readonly IgnoredEndpoint[]): void {
    const { node, clock, log, warn } = this.#options;
    const nowMs = clock.now();
    if (endpoints.length === 0 || nowMs - (this.#toldMs.get(service) ?? Number.NEGATIVE_INFINITY) < eventIntervalMs) return;
    this.#toldMs.delete(service);
    this.#toldMs.set(service, nowMs);
    const [oldest] = this.#toldMs.keys();
    if (this.#toldMs.size > maxRemembered && oldest !== undefined) this.#toldMs.delete(oldest);
    const named = endpoints.slice(0, maxNamed).map(({ address, reason }) => `${address}, because ${reason}`);
    const more = endpoints.length > maxNamed ? `; and ${endpoints.length - maxNamed} more` : "";
    const note = `node ${node} ignores endpoints (strict mode): ${named.join("; ")}${more}`;
    log({ event: "endpoints-ignored", service, message: note });
    warn(service, note);
  }
}
