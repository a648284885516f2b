/** PATCH: the patch types by their content type. */
import { isObject } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { applyJsonPatch, applyMergePatch } from "#sandbox/registry/json-patch.ts";
import { applyStrategicMerge } from "#sandbox/registry/strategic-merge.ts";
import { badRequest, failed, failure, ok } from "./status.ts";
import type { Outcome } from "./status.ts";

/** A patch as it came in. */
export interface PatchOrder {
  readonly contentType: string;
  readonly change: Json;
  /** Struct type of the patched object in types.json; "" has no strategic merge. */
  readonly struct: string;
}

/** The patched object, or why it could not be patched. */
export function applyPatch(target: JsonObject, order: PatchOrder): Outcome<JsonObject> {
  const mediaType = (order.contentType.split(";")[0] ?? "").trim().toLowerCase();
  switch (mediaType) {
    case "application/json-patch+json": {
      const result = applyJsonPatch(target, order.change);
      if (result.type === "refused")
        return failed(failure(422, "Invalid", `the server rejected our request due to an error in our request: ${result.why}`));
      return toObject(result.value);
    }
    case "application/merge-patch+json":
      return toObject(applyMergePatch(target, order.change));
    case "application/strategic-merge-patch+json":
      if (!isObject(order.change) || order.struct === "")
        return failed(badRequest("a strategic merge patch is a JSON object, and the kind must have one"));
      return ok(applyStrategicMerge(target, order.change, order.struct));
    default:
      return failed(
        unsupported(
          "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
        ),
      );
  }
}

/** Whether a PATCH is a server-side apply. */
export function isApply(contentType: string): boolean {
  return contentType.toLowerCase().startsWith("application/apply-patch+");
}

/** 415 for server-side apply. */
export const applyUnsupported = unsupported(
  "server-side apply is not part of the sandbox; use client-side apply (kubectl apply without --server-side, helm with --server-side=false)",
);

function toObject(value: Json): Outcome<JsonObject> {
  return isObject(value) ? ok(value) : failed(badRequest("the patch would make the object something else than a JSON object"));
}

function unsupported(message: string): ReturnType<typeof failure> {
  return failure(415, "UnsupportedMediaType", message);
}
