/** Says which fields of a pod the sandbox stores but does not act on, so that nobody takes a stored probe for one that runs. */
import { isObject, listAt, valueAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";

const containerFields = ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "volumeMounts", "envFrom"];
const podFields = ["initContainers", "volumes", "affinity", "tolerations", "nodeSelector", "topologySpreadConstraints"];

/** One warning for each field that has no effect here. */
export function ignoredFields(kind: string, object: JsonObject): readonly string[] {
  const path = kind === "Pod" ? ["spec"] : kind === "Deployment" || kind === "ReplicaSet" ? ["spec", "template", "spec"] : undefined;
  if (path === undefined) return [];
  const prefix = path.join(".");
  const ofPod = podFields.filter((field) => valueAt(object, ...path, field) !== undefined).map((field) => `${prefix}.${field}`);
  const ofContainers = listAt(object, ...path, "containers").flatMap((container, index) =>
    isObject(container)
      ? containerFields.filter((field) => container[field] !== undefined).map((field) => `${prefix}.containers[${index}].${field}`)
      : [],
  );
  return [...ofPod, ...ofContainers].map((field) => `sandbox: ${field} is stored but has no effect`);
}
