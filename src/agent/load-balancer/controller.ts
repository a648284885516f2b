/** The controller: what changes in the cluster becomes work on single Services, by several workers. */
import { isDeepStrictEqual } from "node:util";
import type { Clock } from "#agent/clock.ts";
import type { ClusterStore, ObjectChange } from "./cluster-store.ts";
import type { LoadBalancerDriver, ObservedLoadBalancer } from "./driver.ts";
import { orphanIntervalMs } from "./limits.ts";
import { isNodeChange } from "./nodes.ts";
import type { NodeReadiness } from "./nodes.ts";
import type { LoadBalancerNode, LoadBalancerService, ReadyEndpoints } from "./objects.ts";
import { findOrphans } from "./orphans.ts";
import { decideService, needsEnsure } from "./plan.ts";
import type { ServedClasses } from "./plan.ts";
import type { Reconciler, SyncKind } from "./reconciler.ts";
import { WorkQueue } from "./work-queue.ts";

export interface ControllerOptions {
  readonly store: ClusterStore;
  readonly driver: LoadBalancerDriver;
  readonly reconciler: Pick<Reconciler, "sync" | "behind" | "isAsLeft">;
  readonly classes: ServedClasses;
  readonly readiness: NodeReadiness;
  readonly clusterId: string;
  readonly workers: number;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** Whether this process may still write. */
  readonly isLeading: () => boolean;
  /** Told, now and then, what belongs to no Service. */
  readonly onOrphans: (orphans: readonly ObservedLoadBalancer[]) => void;
}

export class LoadBalancerController {
  readonly #options: ControllerOptions;
  readonly #queue: WorkQueue;
  readonly #kinds = new Map<string, SyncKind>();
  #isStarted = false;
  #cancelOrphans: () => void = () => undefined;

  constructor(options: ControllerOptions) {
    this.#options = options;
    const { clock, random, workers } = options;
    this.#queue = new WorkQueue({ clock, random, workers, work: (key) => this.#work(key) });
  }

  /** Services that wait or are worked on. */
  get depth(): number {
    return this.#queue.depth;
  }

  /** The cluster is known, and this process leads: all Services are looked at. */
  start(): void {
    if (this.#isStarted) return;
    this.#isStarted = true;
    const { store, driver, classes } = this.#options;
    driver.follow(store);
    for (const [key, service] of store.services) if (decideService(service, classes) !== "foreign") this.#add(key, "ensure");
    this.#lookForOrphans();
  }

  /** Lets what runs end, and begins nothing more. */
  async stop(): Promise<void> {
    this.#isStarted = false;
    this.#cancelOrphans();
    await this.#queue.stop();
  }

  /** Resolves when nothing is to be done now. */
  whenIdle(): Promise<void> {
    return this.#queue.whenIdle();
  }

  takeServices(changes: readonly ObjectChange<LoadBalancerService>[]): void {
    this.#options.store.applyServices(changes);
    if (!this.#isStarted) return;
    for (const change of changes) {
      const kind = this.#kindOf(change);
      if (kind !== undefined) this.#add(change.key, kind);
    }
    if (changes.some((change) => this.#mattersToOthers(change))) this.#follow();
  }

  takeNodes(changes: readonly ObjectChange<LoadBalancerNode>[]): void {
    const { store, reconciler, readiness } = this.#options;
    store.applyNodes(changes);
    if (!this.#isStarted) return;
    const matters = changes.some(
      (change) => change.type === "removed" || change.previous === undefined || isNodeChange(change.previous, change.value, readiness),
    );
    if (!matters) return;
    for (const key of reconciler.behind()) this.#add(key, "look");
    this.#follow();
  }

  takeSlices(changes: readonly ObjectChange<ReadyEndpoints>[]): void {
    this.#options.store.applySlices(changes);
    if (this.#isStarted) this.#follow();
  }

  #kindOf(change: ObjectChange<LoadBalancerService>): SyncKind | undefined {
    const { classes } = this.#options;
    if (change.type === "removed") return "ensure";
    const { value, previous } = change;
    const decision = decideService(value, classes);
    if (decision !== (previous === undefined ? "foreign" : decideService(previous, classes))) return "ensure";
    if (previous === undefined || decision === "foreign") return undefined;
    if (needsEnsure(previous, value, classes)) return "ensure";
    const hasLost = previous.finalizers.some((finalizer) => !value.finalizers.includes(finalizer));
    if (!hasLost && isDeepStrictEqual(previous.status, value.status)) return undefined;
    // Somebody else wrote the status, or took a finalizer away.
    if (this.#options.reconciler.isAsLeft(change.key, value)) return undefined;
    return decision === "wanted" ? "look" : "ensure";
  }

  /** An address that is only written into a status was given before; one that goes from it may be another's. */
  #mattersToOthers(change: ObjectChange<LoadBalancerService>): boolean {
    if (change.type === "removed" || change.previous === undefined) return true;
    const { previous, value } = change;
    if (previous.isDeleting !== value.isDeleting || needsEnsure(previous, value, this.#options.classes)) return true;
    const kept = new Set(value.status.ingress.map((entry) => JSON.stringify(entry)));
    return !previous.status.ingress.every((entry) => kept.has(JSON.stringify(entry)));
  }

  #follow(): void {
    const { driver, store } = this.#options;
    for (const key of driver.follow(store)) this.#add(key, "look");
  }

  #add(key: string, kind: SyncKind): void {
    if (kind === "ensure" || !this.#kinds.has(key)) this.#kinds.set(key, kind);
    this.#queue.add(key);
  }

  async #work(key: string) {
    const kind = this.#kinds.get(key) ?? "look";
    this.#kinds.delete(key);
    const outcome = await this.#options.reconciler.sync(key, kind);
    // What failed is done as a whole, and said: a look that failed at once, the whole after some time.
    if (outcome.type === "failed" && kind === "look") {
      this.#add(key, "ensure");
      return { type: "done" } as const;
    }
    if (outcome.type === "failed" || (outcome.type === "later" && kind === "ensure")) this.#kinds.set(key, "ensure");
    return outcome;
  }

  #lookForOrphans(): void {
    const { clock, driver, store, classes, clusterId, isLeading, onOrphans } = this.#options;
    const look = async () => {
      if (!isLeading()) return;
      const found = await driver.list(clusterId).catch(() => undefined); // the next look may succeed
      if (found !== undefined && this.#isStarted) onOrphans(findOrphans(found, store, { clusterId, classes }));
    };
    void look();
    this.#cancelOrphans = clock.after(orphanIntervalMs, () => this.#lookForOrphans());
  }
}
