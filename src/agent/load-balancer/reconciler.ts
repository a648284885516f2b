/** One Service: what the cluster has of it becomes what its load balancer is, step by step in the service controller's order. */
import type { Clock } from "#agent/clock.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { ProviderError } from "./driver.ts";
import type { EnsureOutcome, LoadBalancerDriver } from "./driver.ts";
import { LeaseLost } from "./gate.ts";
import type { ProviderGate } from "./gate.ts";
import { outdatedRetryMs } from "./limits.ts";
import { selectNodes, toNodeSignature } from "./nodes.ts";
import type { NodeReadiness } from "./nodes.ts";
import { toKey } from "./objects.ts";
import type { ClusterView, LoadBalancerService } from "./objects.ts";
import { decideService, planLoadBalancer, toOwner } from "./plan.ts";
import type { ServedClasses } from "./plan.ts";
import { goesWithFinalizers, hasStatus, planFinalizerRemoval, planFinalizers, planStatus } from "./status.ts";
import type { WantedStatus } from "./status.ts";
import type { WorkOutcome } from "./work-queue.ts";

/** `gone`: there is no such Service. `outdated`: it is not the one that was read any more. */
export type WriteOutcome =
  | { readonly type: "written"; readonly resourceVersion: string }
  | { readonly type: "gone" }
  | { readonly type: "outdated" }
  | { readonly type: "failed"; readonly message: string; readonly retryAfterMs: number | undefined };

/** Which object a write is meant for, and no other: the apiserver refuses it for a later version. */
export interface WriteTarget {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
}

/** Writes a Service's finalizers and status, by a strategic merge patch. */
export type PatchService = (target: WriteTarget, patch: JsonObject) => Promise<WriteOutcome>;

export interface ServiceEvent {
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly note: string;
}

/** `ensure`: all of it, with its events. `look`: nothing is said unless something is different. */
export type SyncKind = "ensure" | "look";

/** Told what happens, for metrics and the log. */
export interface ReconcilerObserver {
  synced(service: string, kind: SyncKind, durationMs: number, outcome: WorkOutcome["type"]): void;
  failed(service: string, message: string): void;
}

export interface ReconcilerOptions {
  readonly view: ClusterView;
  readonly driver: LoadBalancerDriver;
  readonly gate: ProviderGate;
  readonly patch: PatchService;
  readonly tell: (service: LoadBalancerService, event: ServiceEvent) => void;
  /** Whether this process may still write: its Lease cannot be another's yet. */
  readonly isLeading: () => boolean;
  readonly clusterId: string;
  readonly classes: ServedClasses;
  readonly readiness: NodeReadiness;
  readonly clock: Clock;
  readonly observer: ReconcilerObserver;
}

/** What was ensured last of a Service. */
interface Known {
  readonly service: LoadBalancerService;
  readonly nodes: string;
}

/** A later version of the Service is on its way here. */
class Outdated extends Error {}

const done: WorkOutcome = { type: "done" };

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #known = new Map<string, Known>();
  /** What was written last of a Service, as a target for the next write: the copy may not have it yet. */
  readonly #targets = new Map<string, WriteTarget>();
  readonly #statuses = new Map<string, WantedStatus>();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** Services whose load balancer is not with the nodes of now. */
  behind(): readonly string[] {
    const signature = toNodeSignature(this.#nodes());
    return [...this.#known].filter(([, { nodes }]) => nodes !== signature).map(([key]) => key);
  }

  /** Whether a Service is as it was left: a change of it was our own, or is none to load balancers. */
  isAsLeft(key: string, service: LoadBalancerService): boolean {
    const status = this.#statuses.get(key);
    const own = this.#options.classes.loadBalancerClass;
    return status !== undefined && hasStatus(service, status) && planFinalizers(service, own) === undefined;
  }

  /** Works on a Service. Never rejects. */
  async sync(key: string, kind: SyncKind): Promise<WorkOutcome> {
    const { clock, observer } = this.#options;
    const beganMs = clock.now();
    const outcome = await this.#sync(key, kind).catch((thrown: unknown) => this.#judge(key, kind, thrown));
    observer.synced(key, kind, clock.now() - beganMs, outcome.type);
    return outcome;
  }

  async #sync(key: string, kind: SyncKind): Promise<WorkOutcome> {
    const service = this.#options.view.services.get(key);
    const known = this.#known.get(key)?.service;
    this.#targets.delete(key);
    // One of the same name is another's: what the last one had goes first.
    if (known !== undefined && known.uid !== service?.uid) await this.#deleteGone(key, known);
    if (service === undefined) {
      this.#statuses.delete(key);
      return done;
    }
    switch (decideService(service, this.#options.classes)) {
      case "foreign":
        if (known !== undefined && this.#known.has(key)) await this.#deleteGone(key, known);
        return done;
      case "cleanup":
        return this.#cleanUp(key, service);
      case "wanted":
        return this.#ensure(key, service, kind);
    }
  }

  async #ensure(key: string, service: LoadBalancerService, kind: SyncKind): Promise<WorkOutcome> {
    const { driver, gate, clusterId } = this.#options;
    const nodes = this.#nodes();
    const known = this.#known.get(key);
    if (kind === "ensure") this.#tell(service, { type: "Normal", reason: "EnsuringLoadBalancer", note: "Ensuring load balancer" });
    const target = await this.#write(service, planFinalizers(service, this.#options.classes.loadBalancerClass));
    if (target === undefined) return done;
    if (kind === "ensure" && nodes.length === 0) this.#tell(service, noNodes);
    const signature = toNodeSignature(nodes);
    this.#known.set(key, { service, nodes: signature });
    const outcome = await gate.pass(() => driver.ensure(planLoadBalancer(service, { clusterId, nodes })));
    const event = chooseEvent(outcome, service, { kind, nodeCount: nodes.length, hasOtherNodes: known?.nodes !== signature });
    if (event !== undefined) this.#tell(service, event);
    await this.#writeStatus(target, service, toStatus(outcome, nodes.length));
    return outcome.type === "waiting" ? { type: "later", afterMs: outcome.retryMs } : done;
  }

  async #cleanUp(key: string, service: LoadBalancerService): Promise<WorkOutcome> {
    const { driver, gate, clusterId, classes } = this.#options;
    const owner = toOwner(service, clusterId);
    if ((await gate.pass(() => driver.observe(owner))) !== undefined) {
      this.#tell(service, { type: "Normal", reason: "DeletingLoadBalancer", note: "Deleting load balancer" });
      await gate.pass(() => driver.delete(owner));
    }
    const target = await this.#write(service, planFinalizerRemoval(service, classes.loadBalancerClass));
    this.#known.delete(key);
    this.#tell(service, { type: "Normal", reason: "DeletedLoadBalancer", note: "Deleted load balancer" });
    if (target === undefined || goesWithFinalizers(service, classes.loadBalancerClass)) return done;
    await this.#writeStatus(target, service, { ingress: [], condition: undefined });
    return done;
  }

  /** The Service went without us, or is another's now: somebody took our finalizer away. */
  async #deleteGone(key: string, service: LoadBalancerService): Promise<void> {
    const { driver, gate, clusterId } = this.#options;
    this.#tell(service, { type: "Normal", reason: "DeletingLoadBalancer", note: "Deleting load balancer" });
    try {
      await gate.pass(() => driver.delete(toOwner(service, clusterId)));
    } catch (thrown) {
      if (!(thrown instanceof LeaseLost))
        this.#tell(service, {
          type: "Warning",
          reason: "DeleteLoadBalancerFailed",
          note: `Error deleting load balancer: ${describe(thrown)}`,
        });
      throw thrown;
    }
    this.#tell(service, { type: "Normal", reason: "DeletedLoadBalancer", note: "Deleted load balancer" });
    this.#known.delete(key);
  }

  #judge(key: string, kind: SyncKind, thrown: unknown): WorkOutcome | Promise<WorkOutcome> {
    if (thrown instanceof LeaseLost) return done;
    if (thrown instanceof Outdated) return { type: "later", afterMs: outdatedRetryMs };
    const message = describe(thrown);
    this.#options.observer.failed(key, message);
    const retryAfterMs = thrown instanceof ProviderError ? (thrown.retryAfterMs ?? 0) : 0;
    return this.#tellFailure(key, kind, message).then(() => ({ type: "failed", atLeastMs: retryAfterMs }));
  }

  /** As well as it can: what the apiserver does not take now is told with the next attempt. */
  async #tellFailure(key: string, kind: SyncKind, message: string): Promise<void> {
    const service = this.#options.view.services.get(key);
    if (service === undefined || !this.#options.isLeading()) return;
    const decision = decideService(service, this.#options.classes);
    if (decision === "foreign") return;
    const isUpdate = decision === "wanted" && kind === "look";
    this.#tell(service, {
      type: "Warning",
      reason: isUpdate ? "UpdateLoadBalancerFailed" : "SyncLoadBalancerFailed",
      note: isUpdate ? `Error updating load balancer with new hosts: ${message}` : `Error syncing load balancer: ${message}`,
    });
    const condition = { status: "False", reason: "SyncLoadBalancerFailed", message } as const;
    const target = this.#targets.get(key) ?? service;
    // The apiserver is what fails, or the Service has changed: the next attempt tells.
    await this.#writeStatus(target, service, { ingress: undefined, condition }).catch(() => undefined);
  }

  async #writeStatus(target: WriteTarget, service: LoadBalancerService, wanted: WantedStatus): Promise<void> {
    this.#statuses.set(toKey(service), { ...wanted, ingress: wanted.ingress ?? service.status.ingress });
    await this.#write(target, planStatus(service, wanted, this.#now()));
  }

  /** Writes a patch, if there is one; the target for the next one, or undefined when the Service is gone. */
  async #write(target: WriteTarget, patch: JsonObject | undefined): Promise<WriteTarget | undefined> {
    if (patch === undefined) return target;
    if (!this.#options.isLeading()) throw new LeaseLost();
    const { namespace, name, uid, resourceVersion } = target;
    const outcome = await this.#options.patch({ namespace, name, uid, resourceVersion }, patch);
    switch (outcome.type) {
      case "written":
        return this.#remember({ namespace, name, uid, resourceVersion: outcome.resourceVersion });
      case "gone":
        return undefined;
      case "outdated":
        throw new Outdated();
      case "failed":
        throw new ProviderError(outcome.message, { ...(outcome.retryAfterMs !== undefined && { retryAfterMs: outcome.retryAfterMs }) });
    }
  }

  #remember(target: WriteTarget): WriteTarget {
    this.#targets.set(toKey(target), target);
    return target;
  }

  #tell(service: LoadBalancerService, event: ServiceEvent): void {
    if (this.#options.isLeading()) this.#options.tell(service, event);
  }

  #nodes() {
    return selectNodes(this.#options.view.nodes.values(), this.#options.readiness);
  }

  #now(): string {
    return `${new Date(this.#options.clock.now()).toISOString().slice(0, 19)}Z`;
  }
}

const noNodes: ServiceEvent = {
  type: "Warning",
  reason: "UnAvailableLoadBalancer",
  note: "There are no available nodes for LoadBalancer",
};

interface EnsureCircumstances {
  readonly kind: SyncKind;
  readonly nodeCount: number;
  readonly hasOtherNodes: boolean;
}

function chooseEvent(
  outcome: EnsureOutcome,
  { status }: LoadBalancerService,
  { kind, nodeCount, hasOtherNodes }: EnsureCircumstances,
): ServiceEvent | undefined {
  if (outcome.type === "waiting") return undefined;
  if (outcome.type === "refused") {
    const isNews = kind === "ensure" || status.condition?.message !== outcome.message;
    return isNews
      ? { type: "Warning", reason: "SyncLoadBalancerFailed", note: `Error syncing load balancer: ${outcome.message}` }
      : undefined;
  }
  if (kind === "ensure") return { type: "Normal", reason: "EnsuredLoadBalancer", note: "Ensured load balancer" };
  const isOther = hasOtherNodes || JSON.stringify(status.ingress) !== JSON.stringify(outcome.ingress);
  if (!isOther) return undefined;
  if (nodeCount === 0) return noNodes;
  return { type: "Normal", reason: "UpdatedLoadBalancer", note: "Updated load balancer with new hosts" };
}

function toStatus(outcome: EnsureOutcome, nodeCount: number): WantedStatus {
  switch (outcome.type) {
    case "ensured":
      return {
        ingress: outcome.ingress,
        condition:
          nodeCount === 0
            ? { status: "False", reason: noNodes.reason, message: noNodes.note }
            : { status: "True", reason: "EnsuredLoadBalancer", message: outcome.note ?? "" },
      };
    case "waiting":
      return { ingress: undefined, condition: { status: "False", reason: outcome.reason, message: outcome.message } };
    case "refused":
      return { ingress: outcome.ingress, condition: { status: "False", reason: outcome.reason, message: outcome.message } };
  }
}

function describe(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : "an unknown failure";
}
