/** Keeps as many pods as a ReplicaSet asks for. */
import type { EventRecorder } from "#sandbox/node/events.ts";
import { listAt, numberAt, objectAt, textAt, textsAt, valueAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { controllerOf, controllerReference, isTerminating, keyOf } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import { plainDelete } from "#sandbox/registry/deletion.ts";
import type { Registry } from "#sandbox/registry/registry.ts";
import { labelTestOf } from "#sandbox/store/selector.ts";
import { fromKey } from "./work-queue.ts";

/** Makes or deletes pods of the ReplicaSet of a key and writes its status. */
export function reconcileReplicaSet(registry: Registry, events: EventRecorder, key: string): void {
  const replicaSet = registry.store.get(resourceOf("ReplicaSet"), fromKey(key));
  if (replicaSet === undefined || isTerminating(replicaSet)) return;
  const pods = activePods(registry, replicaSet);
  const wanted = numberAt(replicaSet, "spec", "replicas") ?? 1;
  for (let count = pods.length; count < wanted; count += 1) createPod(registry, events, replicaSet);
  for (const pod of surplus(pods, pods.length - wanted)) deletePod(registry, events, { replicaSet, pod });
  writeStatus(registry, replicaSet);
}

/** Whether a pod counts as available: it is ready. */
export function isReady(pod: KubeObject): boolean {
  return listAt(pod, "status", "conditions").some(
    (condition) => textAt(condition, "type") === "Ready" && textAt(condition, "status") === "True",
  );
}

function activePods(registry: Registry, replicaSet: KubeObject): readonly KubeObject[] {
  const selects = labelTestOf(valueAt(replicaSet, "spec", "selector"));
  const hasEnded = (pod: KubeObject): boolean => ["Failed", "Succeeded"].includes(textAt(pod, "status", "phase"));
  const all = registry.store.list(resourceOf("Pod"), replicaSet.metadata.namespace);
  const own = all.filter(
    (pod) => textAt(controllerOf(pod), "uid") === replicaSet.metadata.uid && selects(textsAt(pod, "metadata", "labels")),
  );
  return own.filter((pod) => !isTerminating(pod) && !hasEnded(pod));
}

function createPod(registry: Registry, events: EventRecorder, replicaSet: KubeObject): void {
  const template = objectAt(replicaSet, "spec", "template");
  const { name, namespace = "" } = replicaSet.metadata;
  const metadata: JsonObject = {
    ...objectAt(template, "metadata"),
    generateName: `${name}-`,
    ownerReferences: [controllerReference(replicaSet)],
  };
  const created = registry.create(resourceOf("Pod"), namespace, { metadata, spec: objectAt(template, "spec") });
  const happening =
    created.type === "ok"
      ? ({ type: "Normal", reason: "SuccessfulCreate", message: `Created pod: ${created.value.object.metadata.name}` } as const)
      : ({ type: "Warning", reason: "FailedCreate", message: `Error creating: ${created.status.message}` } as const);
  events.record(replicaSet, { ...happening, source: "replicaset-controller" });
}

function deletePod(
  registry: Registry,
  events: EventRecorder,
  { replicaSet, pod }: { readonly replicaSet: KubeObject; readonly pod: KubeObject },
): void {
  registry.delete(resourceOf("Pod"), keyOf(pod), plainDelete);
  events.record(replicaSet, {
    type: "Normal",
    reason: "SuccessfulDelete",
    message: `Deleted pod: ${pod.metadata.name}`,
    source: "replicaset-controller",
  });
}

/** The pods to delete first: those that are not ready, then the youngest. */
function surplus(pods: readonly KubeObject[], count: number): readonly KubeObject[] {
  const rank = (pod: KubeObject): string => `${isReady(pod) ? 1 : 0}`;
  const sorted = pods.toSorted(
    (a, b) => rank(a).localeCompare(rank(b)) || Number(b.metadata.resourceVersion) - Number(a.metadata.resourceVersion),
  );
  return sorted.slice(0, Math.max(0, count));
}

function writeStatus(registry: Registry, before: KubeObject): void {
  const replicaSet = registry.store.get(resourceOf("ReplicaSet"), keyOf(before)) ?? before;
  const pods = activePods(registry, replicaSet);
  const ready = pods.filter(isReady).length;
  const counts = ready === 0 ? {} : { readyReplicas: ready, availableReplicas: ready };
  const labelled = pods.length === 0 ? {} : { fullyLabeledReplicas: pods.length };
  const observedGeneration = numberAt(replicaSet, "metadata", "generation") ?? 1;
  const status = { replicas: pods.length, ...labelled, ...counts, observedGeneration };
  registry.update(resourceOf("ReplicaSet"), keyOf(replicaSet), { body: { ...replicaSet, status }, part: "status" });
}
