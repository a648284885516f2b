/** An apiserver that keeps Services, Nodes and slices in memory, and controllers in front of it, all by a clock that stands still. */
import { ResourceCopy } from "#agent/cluster/resource-copy.ts";
import type { Reduce } from "#agent/cluster/resource-copy.ts";
import { reduceLoadBalancerNode, reduceLoadBalancerService, reduceReadyEndpoints } from "#agent/cluster/load-balancer-objects.ts";
import { patchServiceStatus } from "#agent/cluster/service-status.ts";
import { ClusterStore } from "#agent/load-balancer/cluster-store.ts";
import { LoadBalancerController } from "#agent/load-balancer/controller.ts";
import type { LoadBalancerDriver, ObservedLoadBalancer } from "#agent/load-balancer/driver.ts";
import type { LoadBalancerNode, LoadBalancerService, ReadyEndpoints } from "#agent/load-balancer/objects.ts";
import { ProviderGate } from "#agent/load-balancer/gate.ts";
import { Reconciler } from "#agent/load-balancer/reconciler.ts";
import { conditionType } from "#agent/load-balancer/status.ts";
import { TokenBucket } from "#agent/load-balancer/token-bucket.ts";
import type { ServedClasses } from "#agent/load-balancer/plan.ts";
import { isObject, listField, objectField, textField, textsField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { makeApi } from "../cluster/scripted-api.ts";
import type { ApiCall, ScriptedAnswer } from "../cluster/scripted-api.ts";
import { ManualClock } from "../manual-clock.ts";
import { classes as testClasses, testClass } from "./makers.ts";

type Collection = "services" | "nodes" | "slices";

/** A change as watches carry it: the object, or with `isGone` its last state. */
interface Change {
  readonly collection: Collection;
  readonly object: JsonObject;
  readonly isGone: boolean;
}

export interface ControllerOptions {
  /** Makes the process' driver. */
  readonly driver: (gate: ProviderGate) => LoadBalancerDriver;
  readonly classes?: ServedClasses;
  readonly readiness?: "ignore" | "require";
  readonly workers?: number;
}

/** One process. */
export interface RunningController {
  readonly controller: LoadBalancerController;
  /** Its Lease: a test may take it away. */
  lease: { isHeld: boolean };
  /** Its watches stand still while this is true; or that of Services alone. */
  isBlind: boolean | "services";
  readonly orphans: ObservedLoadBalancer[];
  readonly failures: string[];
  crash(): void;
}

export class World {
  readonly clock = new ManualClock();
  /** Events (`reason service`) and patches (`patch finalizers`, `patch status`), in their order. */
  readonly journal: string[] = [];
  readonly notes: string[] = [];
  /** Answers in place of the apiserver. */
  override: (call: ApiCall) => ScriptedAnswer = () => undefined;
  /** Told after each patch. */
  onPatched: () => void = () => undefined;
  readonly #objects: Record<Collection, Map<string, JsonObject>> = { services: new Map(), nodes: new Map(), slices: new Map() };
  readonly #listeners = new Set<(changes: readonly Change[]) => void>();
  readonly #api = makeApi((call) => this.override(call) ?? this.#answer(call));
  #version = 100;

  get patches(): number {
    return this.#api.calls.filter(({ method }) => method === "PATCH").length;
  }

  service(name: string): JsonObject | undefined {
    return this.#objects.services.get(`shop/${name}`);
  }

  addresses(name: string): readonly string[] {
    return listField(objectField(objectField(this.service(name) ?? {}, "status"), "loadBalancer"), "ingress")
      .filter(isObject)
      .map((entry) => textField(entry, "ip") || textField(entry, "hostname"));
  }

  /** `status reason message` of our condition. */
  condition(name: string): string {
    const conditions = listField(objectField(this.service(name) ?? {}, "status"), "conditions").filter(isObject);
    const found = conditions.find((condition) => textField(condition, "type") === conditionType) ?? {};
    return `${textField(found, "status")} ${textField(found, "reason")} ${textField(found, "message")}`;
  }

  finalizers(name: string): readonly string[] {
    return textsField(objectField(this.service(name) ?? {}, "metadata"), "finalizers");
  }

  /** Makes or replaces an object. */
  put(collection: Collection, object: JsonObject): void {
    const stored = withVersion(object, ++this.#version);
    this.#objects[collection].set(keyOf(object), stored);
    this.#spread([{ collection, object: stored, isGone: false }]);
  }

  /** Changes a Service's spec or metadata, as a user does. */
  edit(name: string, change: { readonly spec?: JsonObject; readonly metadata?: JsonObject }): void {
    const before = this.service(name) ?? {};
    const spec = { ...objectField(before, "spec"), ...change.spec };
    const isBalanced = spec["type"] === "LoadBalancer";
    // The apiserver wipes what only load balancers have.
    const { loadBalancerClass, ...others } = spec;
    const status = objectField(before, "status");
    this.put("services", {
      ...before,
      metadata: { ...objectField(before, "metadata"), ...change.metadata },
      spec: isBalanced ? { ...others, ...(loadBalancerClass !== undefined && { loadBalancerClass }) } : others,
      status: isBalanced ? status : { ...status, loadBalancer: {} },
    });
  }

  /** Deletes as the apiserver does: what has finalizers waits for them. */
  remove(collection: Collection, key: string): void {
    const object = this.#objects[collection].get(key);
    if (object === undefined) return;
    const metadata = objectField(object, "metadata");
    if (textsField(metadata, "finalizers").length > 0) {
      this.put(collection, { ...object, metadata: { ...metadata, deletionTimestamp: "2026-01-02T00:00:00Z" } });
      return;
    }
    this.#objects[collection].delete(key);
    this.#spread([{ collection, object: withVersion(object, ++this.#version), isGone: true }]);
  }

  /** Starts a process that leads. */
  start(options: ControllerOptions): RunningController {
    const { driver: createDriver, classes = testClasses, readiness = "ignore", workers = 2 } = options;
    const store = new ClusterStore();
    const lease = { isHeld: true };
    const failures: string[] = [];
    const orphans: ObservedLoadBalancer[] = [];
    const isLeading = () => lease.isHeld;
    const gate = new ProviderGate({ bucket: new TokenBucket({ clock: this.clock, perSecond: 1_000, burst: 1_000 }), isLeading });
    const shared = { driver: createDriver(gate), gate, classes, readiness, clusterId: "cluster-1", clock: this.clock, isLeading };
    const reconciler = new Reconciler({
      ...shared,
      view: store,
      patch: (target, patch) => patchServiceStatus(this.#api.api, target, patch),
      tell: ({ name }, { reason, note }) => {
        this.journal.push(`${reason} ${name}`);
        this.notes.push(note);
      },
      observer: { synced: () => undefined, failed: (_service, message) => failures.push(message) },
    });
    const onOrphans = (found: readonly ObservedLoadBalancer[]) => void orphans.push(...found);
    const controller = new LoadBalancerController({ ...shared, store, reconciler, workers, random: () => 0, onOrphans });
    const watches = new Watches(controller, testClass);
    const crash = () => {
      this.#listeners.delete(listen);
      lease.isHeld = false;
      void controller.stop();
    };
    const process = { controller, lease, isBlind: false as RunningController["isBlind"], orphans, failures, crash };
    const listen = (changes: readonly Change[]) => watches.take(changes, process.isBlind);
    watches.take(this.#all(), false);
    this.#listeners.add(listen);
    controller.start();
    return process;
  }

  #all(): readonly Change[] {
    const collections: readonly Collection[] = ["services", "nodes", "slices"];
    return collections.flatMap((collection) =>
      [...this.#objects[collection].values()].toSorted(byVersion).map((object) => ({ collection, object, isGone: false })),
    );
  }

  #spread(changes: readonly Change[]): void {
    for (const listener of this.#listeners) listener(changes);
  }

  #answer({ method, target, object: patch = {} }: ApiCall): ScriptedAnswer {
    const [, namespace, name] = /^\/api\/v1\/namespaces\/([^/]+)\/services\/([^/]+)\/status$/.exec(target) ?? [];
    const stored = this.#objects.services.get(`${namespace ?? ""}/${name ?? ""}`);
    if (method !== "PATCH" || stored === undefined) return { status: 404, object: { reason: "NotFound" } };
    const [asked, has] = [objectField(patch, "metadata"), objectField(stored, "metadata")];
    if (asked["uid"] !== has["uid"] || asked["resourceVersion"] !== has["resourceVersion"])
      return { status: 409, object: { reason: "Conflict" } };
    const status = objectField(patch, "status");
    this.journal.push(`patch ${Object.keys(status).length > 0 ? "status" : "finalizers"}`);
    const finalizers = mergeFinalizers(textsField(has, "finalizers"), asked);
    const changed = withVersion(
      { ...stored, metadata: { ...has, finalizers }, status: mergeStatus(objectField(stored, "status"), status) },
      ++this.#version,
    );
    const isGone = finalizers.length === 0 && has["deletionTimestamp"] !== undefined;
    if (isGone) this.#objects.services.delete(keyOf(changed));
    else this.#objects.services.set(keyOf(changed), changed);
    this.onPatched();
    this.#spread([{ collection: "services", object: changed, isGone }]);
    return { status: 200, object: changed };
  }
}

/** A process' copies of what it watches. */
class Watches {
  readonly #controller: LoadBalancerController;
  readonly #services: ResourceCopy<LoadBalancerService>;
  readonly #nodes = new ResourceCopy<LoadBalancerNode>(reduceLoadBalancerNode);
  readonly #slices = new ResourceCopy<ReadyEndpoints>(reduceReadyEndpoints);
  #unseen: Change[] = [];

  constructor(controller: LoadBalancerController, finalizer: string) {
    this.#controller = controller;
    const reduce: Reduce<LoadBalancerService> = (object) => reduceLoadBalancerService(object, finalizer, conditionType);
    this.#services = new ResourceCopy(reduce);
  }

  take(changes: readonly Change[], isBlind: RunningController["isBlind"]): void {
    this.#unseen.push(...changes);
    if (isBlind === true) return;
    const seen = this.#unseen.filter(({ collection }) => isBlind === false || collection !== "services");
    this.#unseen = this.#unseen.filter((change) => !seen.includes(change));
    for (const { collection, object, isGone } of seen) {
      const resourceVersion = textField(objectField(object, "metadata"), "resourceVersion");
      const event = { type: isGone ? "deleted" : "changed", object, resourceVersion } as const;
      switch (collection) {
        case "services":
          this.#controller.takeServices(this.#services.apply(event));
          break;
        case "nodes":
          this.#controller.takeNodes(this.#nodes.apply(event));
          break;
        case "slices":
          this.#controller.takeSlices(this.#slices.apply(event));
          break;
      }
    }
  }
}

/** A copy takes no event that is older than it. */
function byVersion(one: JsonObject, other: JsonObject): number {
  const version = (object: JsonObject) => Number(textField(objectField(object, "metadata"), "resourceVersion"));
  return version(one) - version(other);
}

function keyOf(object: JsonObject): string {
  const metadata = objectField(object, "metadata");
  const namespace = textField(metadata, "namespace");
  return namespace === "" ? textField(metadata, "name") : `${namespace}/${textField(metadata, "name")}`;
}

function withVersion(object: JsonObject, version: number): JsonObject {
  return { ...object, metadata: { ...objectField(object, "metadata"), resourceVersion: String(version) } };
}

function mergeFinalizers(before: readonly string[], patch: JsonObject): readonly string[] {
  const removed = textsField(patch, "$deleteFromPrimitiveList/finalizers");
  return [...new Set([...before, ...textsField(patch, "finalizers")])].filter((finalizer) => !removed.includes(finalizer));
}

function mergeStatus(before: JsonObject, patch: JsonObject): JsonObject {
  const balancer = objectField(patch, "loadBalancer");
  const ingress = balancer["ingress"] === null ? {} : { ingress: balancer["ingress"] };
  const conditions = listField(patch, "conditions").filter(isObject);
  const kept = listField(before, "conditions")
    .filter(isObject)
    .filter((condition) => !conditions.some((other) => other["type"] === condition["type"]));
  return {
    ...before,
    ...("loadBalancer" in patch && { loadBalancer: ingress }),
    conditions: [...kept, ...conditions.filter((condition) => condition["$patch"] === undefined)],
  };
}
