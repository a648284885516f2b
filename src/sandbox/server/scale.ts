/** The scale subresource of Deployments and ReplicaSets (autoscaling/v1 Scale). */
import type { Cluster } from "#sandbox/cluster.ts";
import { numberAt, textAt, textsAt, withValue } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { applyPatch } from "./patch.ts";
import type { ReadTarget } from "./read.ts";
import { failureReply, json } from "./reply.ts";
import type { Reply } from "./reply.ts";
import { badRequest, methodNotAllowed } from "./status.ts";
import type { Outcome } from "./status.ts";
import { objectBody, parseWriteOptions, targetKey } from "./write.ts";

/** Answers get, update and patch of a scale. */
export async function scale(cluster: Cluster, target: ReadTarget): Promise<Reply> {
  const { info, resource } = target;
  const found = cluster.registry.get(resource, targetKey(resource, info));
  if (found.type === "failure") return failureReply(found.status);
  if (info.verb === "get") return json(toScale(found.value));
  if (info.verb !== "update" && info.verb !== "patch") return failureReply(methodNotAllowed());
  const wanted = await wantedScale(target, found.value);
  if (wanted.type === "failure") return failureReply(wanted.status);
  const replicas = numberAt(wanted.value, "spec", "replicas") ?? 0;
  if (!Number.isInteger(replicas)) return failureReply(badRequest("spec.replicas is no whole number"));
  const options = parseWriteOptions(info.query);
  if (options.type === "failure") return failureReply(options.status);
  const revision = textAt(wanted.value, "metadata", "resourceVersion") || found.value.metadata.resourceVersion;
  const body = withValue(withValue(found.value, ["spec", "replicas"], replicas), ["metadata", "resourceVersion"], revision);
  const written = cluster.registry.update(resource, targetKey(resource, info), { body, part: "main", options: options.value });
  return written.type === "failure" ? failureReply(written.status) : json(toScale(written.value.object));
}

async function wantedScale({ request, info }: ReadTarget, object: KubeObject): Promise<Outcome<JsonObject>> {
  if (info.verb === "update") return objectBody(request);
  const change = await request.body();
  if (change.type === "failure") return change;
  const patched = applyPatch(toScale(object), {
    contentType: request.header("content-type"),
    change: change.value,
    struct: "autoscaling.v1.Scale",
  });
  return patched;
}

function toScale(object: KubeObject): JsonObject {
  const { name, namespace = "", uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = Object.entries(textsAt(object, "spec", "selector", "matchLabels"))
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: numberAt(object, "spec", "replicas") ?? 0 },
    status: { replicas: numberAt(object, "status", "replicas") ?? 0, selector },
  };
}
