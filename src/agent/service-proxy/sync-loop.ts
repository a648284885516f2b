/**
 * The service proxy of a node: what the cluster's objects say becomes what the machine does, again and again.
 *
 * This folder has everything around that except reading the cluster and writing rules: when to plan and apply, what to tell those who ask
 * (health, metrics, node port health checks, events), the configuration file, kernel settings. What must stay true: nothing is
 * applied before the whole of the cluster is known, because a part of it would cut off the rest; one thing runs at a time; a failure is
 * tried again and never leaves what is there; and a stop, or the end of this process, leaves the rules in place.
 */
import type { Clock } from "#agent/clock.ts";
import type { ApplyOutcome, Dataplane, IpFamily, ServiceTable } from "#agent/dataplane/dataplane.ts";
import type { ChangedServices, FamilyPlan, HealthCheck, Plan } from "#agent/dataplane/node-plan.ts";
import type { ClusterObjects } from "#agent/dataplane/objects.ts";
import type { TakenChanges } from "./object-store.ts";

/** Makes tables of objects. `changed` names the Services whose objects differ from the last plan's. A table that is the same is the same object. */
export interface Planner {
  plan(objects: ClusterObjects, changed: ChangedServices): Plan;
}

/** What is planned from. */
export interface ObjectSource {
  readonly objects: ClusterObjects;
  takeChanges(): TakenChanges;
}

/** Ends flows that lead to endpoints which are gone. Called after each table that was applied; it finds out itself whether there is anything to do. */
export interface FlowReconciler {
  /** How many it ended. Rejects with what went wrong. */
  reconcile(table: ServiceTable): Promise<number>;
  stop(): Promise<void>;
}

export type FlowOutcome =
  | { readonly type: "ended"; readonly count: number; readonly durationMs: number }
  | { readonly type: "failed"; readonly message: string };

/** One family's part of a run. */
export interface FamilyRun {
  readonly family: IpFamily;
  /** `full`: what the machine has was read back. */
  readonly kind: "full" | "partial";
  readonly durationMs: number;
  readonly outcome: ApplyOutcome;
  readonly table: ServiceTable;
}

/** Told what happens; none of it may throw. */
export interface SyncObserver {
  queued(families: readonly IpFamily[]): void;
  /** A run begins with these changes. */
  began(changes: TakenChanges): void;
  applied(run: FamilyRun, changes: TakenChanges): void;
  reconciled(family: IpFamily, outcome: FlowOutcome): void;
  planFailed(message: string): void;
  /** A family's health checks, once it is as planned. */
  healthChecks(family: IpFamily, checks: readonly HealthCheck[]): void;
}

export interface SyncLoopOptions {
  readonly families: readonly IpFamily[];
  readonly source: ObjectSource;
  readonly planner: Planner;
  readonly dataplane: Dataplane;
  readonly flows: FlowReconciler;
  readonly observer: SyncObserver;
  readonly clock: Clock;
  /** Least time between the end of a run and the start of the next; undefined: as the runs' own cost asks for. */
  readonly minSyncMs: number | undefined;
  /** Time until a failed run is repeated. */
  readonly retryMs: number;
  /** Time between looks at what the machine really has. */
  readonly verifyMs: number;
}

/** Rest after a run where the configuration names none: what it took, so that rules take half of a processor at most. */
const shortestRestMs = 20;
const longestRestMs = 1_000;

/** The loop as `sallyport status` shows it. */
export interface SyncState {
  /** Whether the machine does what was planned last. */
  readonly isSynced: boolean;
  /** Runs that changed what is planned; grows for as long as the process lives. */
  readonly generation: number;
  /** When all families were last as planned; milliseconds since the epoch. */
  readonly lastSyncMs: number | undefined;
  readonly lastError: string | undefined;
}

export class SyncLoop {
  readonly #options: SyncLoopOptions;
  /** `held`: before the cluster is known. `resting`: the least time between two runs is not over. */
  #phase: "held" | "idle" | "running" | "resting" | "stopped" = "held";
  #isPending = false;
  #running: Promise<void> = Promise.resolve();
  readonly #toVerify = new Set<IpFamily>();
  readonly #hasApplied = new Set<IpFamily>();
  /** The planner lost its thread: it has to look at everything. */
  #replanAll = false;
  #cancelRest: () => void = () => undefined;
  #cancelRetry: () => void = () => undefined;
  #cancelVerify: () => void = () => undefined;
  #state: SyncState = { isSynced: false, generation: 0, lastSyncMs: undefined, lastError: undefined };

  constructor(options: SyncLoopOptions) {
    this.#options = options;
  }

  get state(): SyncState {
    return this.#state;
  }

  /** The cluster is known: the first run begins. */
  start(): void {
    if (this.#phase !== "held") return;
    this.#phase = "idle";
    this.#verifyLater();
    this.trigger();
  }

  /** Something may have changed. */
  trigger(): void {
    if (this.#phase === "stopped") return;
    this.#isPending = true;
    this.#options.observer.queued(this.#options.families);
    this.#runIfDue();
  }

  /** Lets a running run end, begins no other, and leaves the machine as it is. */
  async stop(): Promise<void> {
    this.#phase = "stopped";
    for (const cancel of [this.#cancelRest, this.#cancelRetry, this.#cancelVerify]) cancel();
    await this.#running;
    await this.#options.flows.stop();
    await this.#options.dataplane.close();
  }

  #runIfDue(): void {
    if (this.#phase !== "idle" || !this.#isPending) return;
    this.#phase = "running";
    this.#isPending = false;
    this.#cancelRetry();
    const beganMs = this.#options.clock.now();
    this.#running = this.#run().then(() => this.#rest(this.#options.clock.now() - beganMs));
  }

  #rest(lastRunMs: number): void {
    if (this.#phase === "stopped") return;
    this.#phase = "resting";
    // What came during the run waits from now on: the run's end counted as if nothing did.
    if (this.#isPending) this.#options.observer.queued(this.#options.families);
    if (!this.#state.isSynced) this.#cancelRetry = this.#options.clock.after(this.#options.retryMs, () => this.trigger());
    const { clock, minSyncMs = Math.min(longestRestMs, Math.max(shortestRestMs, lastRunMs)) } = this.#options;
    this.#cancelRest = clock.after(minSyncMs, () => {
      this.#phase = "idle";
      this.#runIfDue();
    });
  }

  #verifyLater(): void {
    const { clock, verifyMs } = this.#options;
    this.#cancelVerify = clock.after(verifyMs, () => {
      for (const family of this.#options.families) this.#toVerify.add(family);
      this.#verifyLater();
      this.trigger();
    });
  }

  async #run(): Promise<void> {
    const { source, families, observer } = this.#options;
    const changes = source.takeChanges();
    observer.began(changes);
    const plan = this.#plan(source.objects, changes.services);
    if (plan === undefined) return;
    const runs: FamilyRun[] = [];
    for (const family of families) {
      if (this.#phase === "stopped") return;
      runs.push(await this.#runFamily(plan[family], changes));
    }
    this.#note(runs);
  }

  /** undefined when planning failed, which is a fault of ours: it is told, and the next plan looks at everything. */
  #plan(objects: ClusterObjects, changed: ChangedServices): Plan | undefined {
    try {
      const plan = this.#options.planner.plan(objects, this.#replanAll ? "all" : changed);
      this.#replanAll = false;
      return plan;
    } catch (thrown) {
      this.#replanAll = true;
      const message = `planning failed: ${describe(thrown)}`;
      this.#state = { ...this.#state, isSynced: false, lastError: message };
      this.#options.observer.planFailed(message);
      return undefined;
    }
  }

  async #runFamily({ table, healthChecks }: FamilyPlan, changes: TakenChanges): Promise<FamilyRun> {
    const { dataplane, clock, observer } = this.#options;
    const { family } = table;
    const kind = this.#toVerify.has(family) || !this.#hasApplied.has(family) ? "full" : "partial";
    const beganMs = clock.now();
    const outcome = await settle(() => (this.#toVerify.has(family) ? dataplane.verify(table) : dataplane.apply(table)));
    const run: FamilyRun = { family, kind, durationMs: Math.max(0, clock.now() - beganMs), outcome, table };
    if (outcome.type === "applied") {
      this.#toVerify.delete(family);
      this.#hasApplied.add(family);
    } else {
      this.#toVerify.add(family);
    }
    observer.applied(run, changes);
    if (outcome.type === "applied") observer.healthChecks(family, healthChecks);
    // After every write: a flow that was set up just before it would otherwise stay.
    if (outcome.type === "applied") observer.reconciled(family, await this.#reconcile(table));
    return run;
  }

  async #reconcile(table: ServiceTable): Promise<FlowOutcome> {
    const { flows, clock } = this.#options;
    const beganMs = clock.now();
    try {
      const count = await flows.reconcile(table);
      return { type: "ended", count, durationMs: Math.max(0, clock.now() - beganMs) };
    } catch (thrown) {
      return { type: "failed", message: describe(thrown) };
    }
  }

  #note(runs: readonly FamilyRun[]): void {
    const failures = runs.flatMap(({ family, outcome }) => (outcome.type === "failed" ? [`${family}: ${outcome.message}`] : []));
    const isSynced = failures.length === 0;
    const hasChanged = runs.some(({ outcome }) => outcome.type === "applied" && outcome.changes > 0);
    this.#state = {
      isSynced,
      generation: this.#state.generation + (hasChanged ? 1 : 0),
      lastSyncMs: isSynced ? this.#options.clock.now() : this.#state.lastSyncMs,
      lastError: isSynced ? undefined : failures.join("; "),
    };
  }
}

/** A dataplane that throws has failed like one that says so. */
async function settle(act: () => Promise<ApplyOutcome>): Promise<ApplyOutcome> {
  try {
    return await act();
  } catch (thrown) {
    return { type: "failed", message: describe(thrown) };
  }
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : "an unknown failure";
}
