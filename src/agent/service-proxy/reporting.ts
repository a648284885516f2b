/** Who is told of the sync loop's runs: health, metrics, health check node ports, and the log. */
import type { Clock } from "#agent/clock.ts";
import type { IpFamily } from "#agent/dataplane/dataplane.ts";
import type { HealthCheck } from "#agent/dataplane/node-plan.ts";
import type { FamilyHealthCheck, HealthCheckPorts } from "./health-check-ports.ts";
import type { ProxyHealth } from "./health.ts";
import type { TakenChanges } from "./object-store.ts";
import type { ProxyMetrics } from "./proxy-metrics.ts";
import type { FamilyRun, FlowOutcome, SyncObserver } from "./sync-loop.ts";

/** A line of the log: what happened, and what to know of it. */
export type LogEvent = Readonly<Record<string, unknown>> & { readonly event: string };

export interface SyncReporterOptions {
  readonly health: ProxyHealth;
  readonly metrics: ProxyMetrics;
  readonly healthCheckPorts: HealthCheckPorts;
  readonly clock: Clock;
  readonly log: (event: LogEvent) => void;
  /** Told when all that was planned is applied, each time. */
  readonly onApplied: (family: IpFamily) => void;
}

export class SyncReporter implements SyncObserver {
  readonly #options: SyncReporterOptions;
  /** What was logged last for each family and subject: a failure that stays the same is told once. */
  readonly #told = new Map<string, string>();
  readonly #checks = new Map<IpFamily, readonly FamilyHealthCheck[]>();

  constructor(options: SyncReporterOptions) {
    this.#options = options;
  }

  queued(families: readonly IpFamily[]): void {
    const { health, metrics, clock } = this.#options;
    for (const family of families) {
      health.queued(family);
      metrics.queued(family, clock.now());
    }
  }

  began(changes: TakenChanges): void {
    this.#options.metrics.took(changes);
  }

  applied(run: FamilyRun, changes: TakenChanges): void {
    const { health, metrics, clock, onApplied } = this.#options;
    const { family, outcome } = run;
    metrics.applied(run, changes, clock.now());
    this.#tell("sync", family, outcome.type === "failed" ? outcome.message : undefined);
    if (outcome.type === "failed") return;
    health.updated(family);
    onApplied(family);
  }

  reconciled(family: IpFamily, outcome: FlowOutcome): void {
    this.#tell("flows", family, outcome.type === "failed" ? outcome.message : undefined);
    if (outcome.type === "ended") this.#options.metrics.reconciled(family, outcome.durationMs, outcome.count);
  }

  planFailed(message: string): void {
    this.#options.log({ event: "plan-failed", message });
  }

  /** A family that cannot be applied keeps the checks that it had. */
  healthChecks(family: IpFamily, checks: readonly HealthCheck[]): void {
    this.#checks.set(
      family,
      checks.map((check) => ({ ...check, family })),
    );
    void this.#options.healthCheckPorts.sync([...this.#checks.values()].flat());
  }

  #tell(what: "sync" | "flows", family: IpFamily, failure: string | undefined): void {
    const key = `${what} ${family}`;
    const before = this.#told.get(key);
    if (failure === before) return;
    if (failure === undefined) this.#told.delete(key);
    else this.#told.set(key, failure);
    this.#options.log(
      failure === undefined ? { event: `${what}-recovered`, family } : { event: `${what}-failed`, family, message: failure },
    );
  }
}
