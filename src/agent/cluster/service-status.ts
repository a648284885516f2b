/** Writes to a Service's status and finalizers, for one version of one object and no other. */
import type { JsonObject } from "#core/json-fields.ts";
import { objectField, textField } from "#core/json-fields.ts";
import type { ClusterApi } from "./api.ts";

/** The Service that is meant. */
export interface ServiceVersion {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
}

export type ServiceWriteOutcome =
  | { readonly type: "written"; readonly resourceVersion: string }
  /** There is no such Service. */
  | { readonly type: "gone" }
  /** Another version of it, or another Service of the same name, is there now. */
  | { readonly type: "outdated" }
  | { readonly type: "failed"; readonly message: string; readonly retryAfterMs: number | undefined };

/**
 * Patches by strategic merge, through the subresource `status`, which takes finalizers too: so the right to change Services themselves is not
 * needed. Name, UID and version are in the patch; the apiserver answers 409 where they are not the object's. Never rejects.
 */
export async function patchServiceStatus(api: ClusterApi, service: ServiceVersion, patch: JsonObject): Promise<ServiceWriteOutcome> {
  const { namespace, name, uid, resourceVersion } = service;
  const target = `/api/v1/namespaces/${namespace}/services/${name}/status`;
  const metadata = { ...objectField(patch, "metadata"), uid, resourceVersion };
  try {
    const answer = await api.mergePatch(target, { ...patch, metadata });
    if (answer.type === "object") {
      return { type: "written", resourceVersion: textField(objectField(answer.object, "metadata"), "resourceVersion") };
    }
    const { status, reason, retryAfterMs } = answer;
    if (status === 404) return { type: "gone" };
    if (status === 409) return { type: "outdated" };
    return { type: "failed", message: `the apiserver refuses to change the Service with ${status} ${reason}`.trim(), retryAfterMs };
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : "an unknown failure";
    return { type: "failed", message: `the Service could not be changed: ${why}`, retryAfterMs: undefined };
  }
}

/** What tells this cluster from every other: the UID of the namespace kube-system. undefined with the reason when it cannot be read. */
export async function readClusterId(
  api: ClusterApi,
): Promise<{ readonly id: string } | { readonly id: undefined; readonly reason: string }> {
  const answer = await api.get("/api/v1/namespaces/kube-system");
  if (answer.type === "refused") return { id: undefined, reason: `${answer.status} ${answer.reason}`.trim() };
  const id = textField(objectField(answer.object, "metadata"), "uid");
  return id === "" ? { id: undefined, reason: "it has no UID" } : { id };
}
