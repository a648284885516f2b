/** What a DELETE does: remove at once, or mark and wait for finalizers, a grace period or dependents. */
import { listAt, numberAt, objectAt, textAt, valueAt, withValue } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { isTerminating, toTime } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import type { Resource } from "#sandbox/objects/resources.ts";

/** meta/v1 DeleteOptions, resolved. */
export interface DeleteOptions {
  readonly dryRun: boolean;
  /** Seconds that a pod has to end; undefined is the pod's own. */
  readonly graceSeconds: number | undefined;
  readonly propagation: "Background" | "Foreground" | "Orphan";
  /** What must be true of the object; "" is anything. */
  readonly preconditions: { readonly uid: string; readonly resourceVersion: string };
}

/** Options of a plain delete. */
export const plainDelete: DeleteOptions = {
  dryRun: false,
  graceSeconds: undefined,
  propagation: "Background",
  preconditions: { uid: "", resourceVersion: "" },
};

/** Finalizer that makes an owner wait for its dependents. */
export const foregroundFinalizer = "foregroundDeletion";

/** Finalizer that makes an owner wait until its dependents are set free. */
export const orphanFinalizer = "orphan";

/** Reads DeleteOptions from a request's body and query. */
export function parseDeleteOptions(body: JsonObject, query: URLSearchParams): DeleteOptions {
  const propagation = textAt(body, "propagationPolicy") || query.get("propagationPolicy");
  const queried = query.get("gracePeriodSeconds");
  const isDry = listAt(body, "dryRun").length > 0 || query.has("dryRun");
  return {
    dryRun: isDry,
    graceSeconds: numberAt(body, "gracePeriodSeconds") ?? (queried === null ? undefined : Number(queried)),
    propagation: propagation === "Foreground" || propagation === "Orphan" ? propagation : "Background",
    preconditions: { uid: textAt(body, "preconditions", "uid"), resourceVersion: textAt(body, "preconditions", "resourceVersion") },
  };
}

/** The next step of a deletion. */
export type DeletionPlan = { readonly type: "remove" } | { readonly type: "mark"; readonly object: KubeObject };

/** Plans a deletion; asking again for an object that is already being deleted can only shorten its grace. */
export function planDeletion(resource: Resource, object: KubeObject, options: DeleteOptions & { readonly nowMs: number }): DeletionPlan {
  const grace = graceOf(resource, object, options);
  const finalizers = finalizersOf(object, options);
  const isNamespace = resource.kind === "Namespace";
  if (grace === 0 && finalizers.length === 0 && !isNamespace) return { type: "remove" };
  const withFinalizers = finalizers.length === 0 ? object : withValue(object, ["metadata", "finalizers"], finalizers);
  const before = numberAt(object, "metadata", "deletionGracePeriodSeconds");
  if (isTerminating(object) && before !== undefined && grace >= before) return { type: "mark", object: withFinalizers };
  const end = toTime(options.nowMs + grace * 1000);
  const timed = withValue(withFinalizers, ["metadata", "deletionTimestamp"], end);
  const marked = withValue(timed, ["metadata", "deletionGracePeriodSeconds"], grace);
  return { type: "mark", object: isNamespace ? withValue(marked, ["status", "phase"], "Terminating") : marked };
}

/** Only a pod that may run somewhere gets time to end. */
function graceOf(resource: Resource, object: KubeObject, options: DeleteOptions): number {
  const isPlaced = resource.kind === "Pod" && textAt(object, "spec", "nodeName") !== "";
  const hasEnded = ["Succeeded", "Failed"].includes(textAt(object, "status", "phase"));
  if (!isPlaced || hasEnded) return 0;
  const wanted = options.graceSeconds ?? numberAt(object, "spec", "terminationGracePeriodSeconds") ?? 30;
  return Math.max(0, Number.isFinite(wanted) ? wanted : 0);
}

function finalizersOf(object: KubeObject, options: DeleteOptions): readonly string[] {
  const present = listAt(object, "metadata", "finalizers").filter((item): item is string => typeof item === "string");
  const wanted = { Background: [], Foreground: [foregroundFinalizer], Orphan: [orphanFinalizer] }[options.propagation];
  return [...new Set([...present, ...wanted])];
}

/** Whether an object carries a finalizer and is being deleted. */
export function waitsFor(object: KubeObject, finalizer: string): boolean {
  return isTerminating(object) && listAt(object, "metadata", "finalizers").includes(finalizer);
}

/** The object without one finalizer. */
export function withoutFinalizer(object: KubeObject, finalizer: string): KubeObject {
  const rest = listAt(object, "metadata", "finalizers").filter((item) => item !== finalizer);
  return withValue(object, ["metadata", "finalizers"], rest.length === 0 ? undefined : rest);
}

/** Whether an object names the owner by uid among its owners. */
export function isOwnedBy(object: KubeObject, uid: string): boolean {
  return listAt(objectAt(object, "metadata"), "ownerReferences").some((owner) => valueAt(owner, "uid") === uid);
}
