/** Rolls Deployments out: one ReplicaSet for each pod template, the new one up and the old ones down as the strategy allows. */
import { createHash } from "node:crypto";
import type { Clock } from "#sandbox/clock.ts";
import type { EventRecorder } from "#sandbox/node/events.ts";
import { isEqual, listAt, numberAt, objectAt, textAt, valueAt, withValue } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { controllerOf, controllerReference, isTerminating, keyOf, toTime } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import { plainDelete } from "#sandbox/registry/deletion.ts";
import type { Registry } from "#sandbox/registry/registry.ts";
import { fromKey } from "./work-queue.ts";

/** What the controller works with. */
export interface DeploymentParts {
  readonly registry: Registry;
  readonly events: EventRecorder;
  readonly clock: Clock;
}

const hashLabel = "pod-template-hash";
const revisionAnnotation = "deployment.kubernetes.io/revision";

/** Brings the ReplicaSets of the Deployment of a key nearer to its spec and writes its status. */
export function reconcileDeployment(parts: DeploymentParts, key: string): void {
  const { registry } = parts;
  const deployment = registry.store.get(resourceOf("Deployment"), fromKey(key));
  if (deployment === undefined || isTerminating(deployment)) return;
  if (valueAt(deployment, "spec", "paused") !== true) rollOut(parts, deployment);
  writeStatus(parts, key);
}

function rollOut(parts: DeploymentParts, deployment: KubeObject): void {
  const owned = ownedReplicaSets(parts.registry, deployment);
  const current = findCurrent(deployment, owned) ?? createReplicaSet(parts, deployment, owned);
  if (current === undefined) return;
  const revised = withNewestRevision(parts, current, owned);
  writeRevision(parts.registry, deployment, textAt(revised, "metadata", "annotations", revisionAnnotation));
  const old = owned.filter((replicaSet) => replicaSet.metadata.uid !== revised.metadata.uid);
  scaleAll(parts, deployment, { current: revised, old });
  removeHistory(parts.registry, deployment, old);
}

function ownedReplicaSets(registry: Registry, deployment: KubeObject): readonly KubeObject[] {
  const all = registry.store.list(resourceOf("ReplicaSet"), deployment.metadata.namespace);
  return all.filter((replicaSet) => textAt(controllerOf(replicaSet), "uid") === deployment.metadata.uid);
}

/** The ReplicaSet whose template is the Deployment's, but for the hash label. */
function findCurrent(deployment: KubeObject, owned: readonly KubeObject[]): KubeObject | undefined {
  const wanted = valueAt(deployment, "spec", "template");
  return owned.find((replicaSet) =>
    isEqual(withValue(objectAt(replicaSet, "spec", "template"), ["metadata", "labels", hashLabel], undefined), wanted),
  );
}

function createReplicaSet(
  { registry, events }: DeploymentParts,
  deployment: KubeObject,
  owned: readonly KubeObject[],
): KubeObject | undefined {
  const template = objectAt(deployment, "spec", "template");
  const hash = createHash("sha256").update(JSON.stringify(template)).digest("hex").slice(0, 10);
  const { name, namespace = "" } = deployment.metadata;
  const withHash = (value: JsonObject, ...path: readonly string[]): JsonObject => withValue(value, [...path, hashLabel], hash);
  const body: JsonObject = {
    metadata: {
      name: `${name}-${hash}`,
      labels: withHash(objectAt(template, "metadata", "labels")),
      annotations: { [revisionAnnotation]: String(newestRevision(owned) + 1) },
      ownerReferences: [controllerReference(deployment)],
    },
    spec: {
      replicas: 0,
      selector: withHash(objectAt(deployment, "spec", "selector"), "matchLabels"),
      template: withHash(template, "metadata", "labels"),
    },
  };
  const created = registry.create(resourceOf("ReplicaSet"), namespace, body);
  if (created.type === "ok") return created.value.object;
  events.record(deployment, {
    type: "Warning",
    reason: "ReplicaSetCreateError",
    message: created.status.message,
    source: "deployment-controller",
  });
  return undefined;
}

/** A template that is used again becomes the newest revision. */
function withNewestRevision({ registry }: DeploymentParts, current: KubeObject, owned: readonly KubeObject[]): KubeObject {
  const others = owned.filter((replicaSet) => replicaSet.metadata.uid !== current.metadata.uid);
  const newest = newestRevision(others);
  if (revisionOf(current) > newest) return current;
  const body = withValue(current, ["metadata", "annotations", revisionAnnotation], String(newest + 1));
  const written = registry.update(resourceOf("ReplicaSet"), keyOf(current), { body, part: "main" });
  return written.type === "ok" ? written.value.object : current;
}

function writeRevision(registry: Registry, deployment: KubeObject, revision: string): void {
  if (textAt(deployment, "metadata", "annotations", revisionAnnotation) === revision) return;
  registry.update(resourceOf("Deployment"), keyOf(deployment), {
    body: withValue(deployment, ["metadata", "annotations", revisionAnnotation], revision),
    part: "main",
  });
}

/** One step of the rolling update: never more pods than surge allows, never fewer ready ones than unavailable allows. */
function scaleAll(
  parts: DeploymentParts,
  deployment: KubeObject,
  sets: { readonly current: KubeObject; readonly old: readonly KubeObject[] },
): void {
  const wanted = numberAt(deployment, "spec", "replicas") ?? 1;
  const { surge, unavailable } = bounds(deployment, wanted);
  const total = [sets.current, ...sets.old].reduce((sum, replicaSet) => sum + replicasOf(replicaSet), 0);
  const has = replicasOf(sets.current);
  const room = Math.max(0, wanted + surge - total);
  scale(parts, deployment, { replicaSet: sets.current, replicas: has >= wanted ? wanted : Math.min(wanted, has + room) });
  const ready = [sets.current, ...sets.old].reduce((sum, replicaSet) => sum + (numberAt(replicaSet, "status", "readyReplicas") ?? 0), 0);
  let spare = Math.max(0, ready - (wanted - unavailable));
  for (const replicaSet of sets.old) {
    const replicas = replicasOf(replicaSet);
    const unready = replicas - Math.min(replicas, numberAt(replicaSet, "status", "readyReplicas") ?? 0);
    const removed = Math.min(replicas, unready + spare);
    spare -= Math.max(0, removed - unready);
    scale(parts, deployment, { replicaSet, replicas: replicas - removed });
  }
}

function scale(
  { registry, events }: DeploymentParts,
  deployment: KubeObject,
  { replicaSet, replicas }: { readonly replicaSet: KubeObject; readonly replicas: number },
): void {
  const before = replicasOf(replicaSet);
  if (before === replicas) return;
  registry.update(resourceOf("ReplicaSet"), keyOf(replicaSet), {
    body: withValue(replicaSet, ["spec", "replicas"], replicas),
    part: "main",
  });
  const direction = replicas > before ? "up" : "down";
  const message = `Scaled ${direction} replica set ${replicaSet.metadata.name} from ${before} to ${replicas}`;
  events.record(deployment, { type: "Normal", reason: "ScalingReplicaSet", message, source: "deployment-controller" });
}

/** maxSurge and maxUnavailable as numbers of pods; Recreate first removes all old ones. */
function bounds(deployment: KubeObject, wanted: number): { readonly surge: number; readonly unavailable: number } {
  if (textAt(deployment, "spec", "strategy", "type") === "Recreate") return { surge: 0, unavailable: wanted };
  const rolling = objectAt(deployment, "spec", "strategy", "rollingUpdate");
  const surge = podCount(rolling["maxSurge"], wanted, Math.ceil);
  const unavailable = podCount(rolling["maxUnavailable"], wanted, Math.floor);
  return surge === 0 && unavailable === 0 ? { surge, unavailable: 1 } : { surge, unavailable };
}

function podCount(value: Json | undefined, wanted: number, round: (value: number) => number): number {
  if (typeof value === "number") return value;
  const [, percent] = /^([0-9]+)%$/.exec(typeof value === "string" ? value : "25%") ?? [];
  return round((Number(percent ?? 25) / 100) * wanted);
}

function removeHistory(registry: Registry, deployment: KubeObject, old: readonly KubeObject[]): void {
  const kept = numberAt(deployment, "spec", "revisionHistoryLimit") ?? 10;
  const unused = old.filter((replicaSet) => replicasOf(replicaSet) === 0 && (numberAt(replicaSet, "status", "replicas") ?? 0) === 0);
  const sorted = unused.toSorted((a, b) => revisionOf(b) - revisionOf(a));
  for (const replicaSet of sorted.slice(kept)) registry.delete(resourceOf("ReplicaSet"), keyOf(replicaSet), plainDelete);
}

function writeStatus({ registry, clock }: DeploymentParts, key: string): void {
  const deployment = registry.store.get(resourceOf("Deployment"), fromKey(key));
  if (deployment === undefined) return;
  const owned = ownedReplicaSets(registry, deployment);
  const current = findCurrent(deployment, owned);
  const wanted = numberAt(deployment, "spec", "replicas") ?? 1;
  const counts = countPods(owned, current, wanted);
  const shown = Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
  const isAvailable = counts.availableReplicas >= wanted - bounds(deployment, wanted).unavailable;
  const isComplete = [counts.updatedReplicas, counts.replicas, counts.availableReplicas].every((count) => count === wanted);
  const now = toTime(clock.now());
  const conditions = [
    condition(deployment, now, isAvailable ? available : notAvailable),
    condition(deployment, now, progress(current?.metadata.name ?? "", isComplete)),
  ];
  const observedGeneration = numberAt(deployment, "metadata", "generation") ?? 1;
  const status = { observedGeneration, ...shown, conditions };
  registry.update(resourceOf("Deployment"), keyOf(deployment), { body: { ...deployment, status }, part: "status" });
}

type Counts = Readonly<Record<"availableReplicas" | "readyReplicas" | "replicas" | "unavailableReplicas" | "updatedReplicas", number>>;

function countPods(owned: readonly KubeObject[], current: KubeObject | undefined, wanted: number): Counts {
  const sum = (field: string, sets: readonly KubeObject[]): number =>
    sets.reduce((total, replicaSet) => total + (numberAt(replicaSet, "status", field) ?? 0), 0);
  const availableReplicas = sum("availableReplicas", owned);
  return {
    replicas: sum("replicas", owned),
    updatedReplicas: current === undefined ? 0 : sum("replicas", [current]),
    readyReplicas: sum("readyReplicas", owned),
    availableReplicas,
    unavailableReplicas: Math.max(0, wanted - availableReplicas),
  };
}

type Condition = Readonly<Record<"message" | "reason" | "status" | "type", string>>;

const available: Condition = {
  type: "Available",
  status: "True",
  reason: "MinimumReplicasAvailable",
  message: "Deployment has minimum availability.",
};
const notAvailable: Condition = {
  type: "Available",
  status: "False",
  reason: "MinimumReplicasUnavailable",
  message: "Deployment does not have minimum availability.",
};

function progress(name: string, isComplete: boolean): Condition {
  const reason = isComplete ? "NewReplicaSetAvailable" : "ReplicaSetUpdated";
  const message = `ReplicaSet "${name}" ${isComplete ? "has successfully progressed" : "is progressing"}.`;
  return { type: "Progressing", status: "True", reason, message };
}

/** A condition whose times change only when it does. */
function condition(deployment: KubeObject, now: string, wanted: Condition): JsonObject {
  const known = listAt(deployment, "status", "conditions").find((candidate) => textAt(candidate, "type") === wanted.type);
  const isSame =
    textAt(known, "reason") === wanted.reason && textAt(known, "status") === wanted.status && textAt(known, "message") === wanted.message;
  const changed = textAt(known, "status") === wanted.status ? textAt(known, "lastTransitionTime") : now;
  return { ...wanted, lastUpdateTime: isSame ? textAt(known, "lastUpdateTime") : now, lastTransitionTime: changed };
}

function replicasOf(replicaSet: KubeObject): number {
  return numberAt(replicaSet, "spec", "replicas") ?? 0;
}

function revisionOf(replicaSet: KubeObject): number {
  return Number(textAt(replicaSet, "metadata", "annotations", revisionAnnotation) || 0);
}

function newestRevision(sets: readonly KubeObject[]): number {
  return sets.reduce((newest, replicaSet) => Math.max(newest, revisionOf(replicaSet)), 0);
}
