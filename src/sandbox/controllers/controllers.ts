/** Starts all controllers: which change asks which of them for work. */
import type { Clock } from "#sandbox/clock.ts";
import type { EventRecorder } from "#sandbox/node/events.ts";
import { listAt, textAt } from "#sandbox/objects/json.ts";
import { controllerOf } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import type { Registry } from "#sandbox/registry/registry.ts";
import type { StoreEvent } from "#sandbox/store/store.ts";
import { reconcileDeployment } from "./deployment.ts";
import { reconcileEndpoints } from "./endpoints.ts";
import { collectGarbage, reconcileNamespace } from "./garbage.ts";
import { reconcileReplicaSet } from "./replica-set.ts";
import { schedule } from "./scheduler.ts";
import { toKey, WorkQueue } from "./work-queue.ts";

/** What the controllers work with. */
export interface ControllerParts {
  readonly registry: Registry;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly caPem: string;
}

/** Runs the controllers; the returned function stops them. */
export function startControllers(parts: ControllerParts): () => void {
  const { registry, events, clock, caPem } = parts;
  const queues = {
    pods: new WorkQueue((key) => schedule(registry, events, key)),
    replicaSets: new WorkQueue((key) => reconcileReplicaSet(registry, events, key)),
    deployments: new WorkQueue((key) => reconcileDeployment({ registry, events, clock }, key)),
    services: new WorkQueue((key) => reconcileEndpoints(registry, key)),
    namespaces: new WorkQueue((name) => reconcileNamespace(registry, caPem, name)),
    garbage: new WorkQueue(() => collectGarbage(registry)),
  };
  const unsubscribe = registry.store.subscribe((event) => dispatch(registry, queues, event));
  return () => {
    unsubscribe();
    for (const queue of Object.values(queues)) queue.close();
  };
}

type Queues = Readonly<Record<"deployments" | "garbage" | "namespaces" | "pods" | "replicaSets" | "services", WorkQueue>>;

function dispatch(registry: Registry, queues: Queues, { type, resource, object }: StoreEvent): void {
  const { name, namespace = "" } = object.metadata;
  const key = toKey(namespace, name);
  const owner = controllerOf(object);
  switch (resource.kind) {
    case "Pod":
      queues.pods.add(key);
      if (owner !== undefined) queues.replicaSets.add(toKey(namespace, textAt(owner, "name")));
      for (const service of registry.store.list(resourceOf("Service"), namespace))
        queues.services.add(toKey(namespace, service.metadata.name));
      break;
    case "ReplicaSet":
      queues.replicaSets.add(key);
      if (owner !== undefined) queues.deployments.add(toKey(namespace, textAt(owner, "name")));
      break;
    case "Deployment":
      queues.deployments.add(key);
      break;
    case "Service":
      queues.services.add(key);
      break;
    case "Namespace":
      queues.namespaces.add(name);
      break;
    default:
  }
  if (isGarbageMatter(type, object)) queues.garbage.add("all");
  if (type === "DELETED" && namespace !== "") queues.namespaces.add(namespace);
}

/** A deletion may leave dependents behind; a finalizer or an owner may ask for work at once. */
function isGarbageMatter(type: StoreEvent["type"], object: KubeObject): boolean {
  if (type === "DELETED") return true;
  return textAt(object, "metadata", "deletionTimestamp") !== "" && listAt(object, "metadata", "finalizers").length > 0;
}
