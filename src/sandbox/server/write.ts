/** create, update, patch and delete of stored kinds, and of their status and scale. */
import type { ApiRequest, Cluster } from "#sandbox/cluster.ts";
import { escalationProblem } from "#sandbox/identity/escalation.ts";
import { isObject } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import type { ObjectKey } from "#sandbox/objects/object.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import { parseDeleteOptions } from "#sandbox/registry/deletion.ts";
import type { Part, WriteOptions, Written } from "#sandbox/registry/registry.ts";
import { ignoredFields } from "#sandbox/node/ignored-fields.ts";
import { parseListOptions } from "./list-options.ts";
import { applyPatch, applyUnsupported, isApply } from "./patch.ts";
import { parsePresentation, presentObject } from "./presentation.ts";
import type { ReadTarget } from "./read.ts";
import { notAcceptable } from "./read.ts";
import { failureReply, json } from "./reply.ts";
import type { Reply } from "./reply.ts";
import type { ResourceRequest } from "./request.ts";
import { badRequest, failed, methodNotAllowed, ok } from "./status.ts";
import type { Outcome } from "./status.ts";

/** Answers a write of a stored kind (`part` main) or of its status. */
export async function writeResource(cluster: Cluster, target: ReadTarget, part: Part = "main"): Promise<Reply> {
  switch (target.info.verb) {
    case "create":
      return part === "main" ? create(cluster, target) : failureReply(methodNotAllowed());
    case "update":
      return update(cluster, target, part);
    case "patch":
      return patch(cluster, target, part);
    case "delete":
      return part === "main" ? remove(cluster, target) : failureReply(methodNotAllowed());
    case "deletecollection":
      return removeCollection(cluster, target);
    default:
      return failureReply(methodNotAllowed());
  }
}

/** The body of a request as a JSON object. */
export async function objectBody(request: ApiRequest): Promise<Outcome<JsonObject>> {
  const body = await request.body();
  if (body.type === "failure") return body;
  return isObject(body.value) ? ok(body.value) : failed(badRequest("the body of the request is no JSON object"));
}

/** Reads dryRun and fieldValidation. */
export function parseWriteOptions(query: URLSearchParams): Outcome<WriteOptions> {
  const dry = query.getAll("dryRun");
  if (dry.some((value) => value !== "All")) return failed(badRequest('dryRun: Unsupported value: supported values: "All"'));
  const validation = query.get("fieldValidation") ?? "Warn";
  if (validation !== "Ignore" && validation !== "Strict" && validation !== "Warn") {
    return failed(badRequest('fieldValidation: Unsupported value: supported values: "Ignore", "Strict", "Warn"'));
  }
  return ok({ dryRun: dry.length > 0, fieldValidation: validation });
}

/** Where the target's object is; a namespace is in no namespace although its URL names one. */
export function targetKey(resource: Resource, info: ResourceRequest): ObjectKey {
  return { namespace: resource.namespaced ? info.namespace : "", name: info.name };
}

async function create(cluster: Cluster, target: ReadTarget): Promise<Reply> {
  const { request, info, resource } = target;
  const options = parseWriteOptions(info.query);
  if (options.type === "failure") return failureReply(options.status);
  const body = await objectBody(request);
  if (body.type === "failure") return failureReply(body.status);
  if (info.name !== "" || (resource.namespaced && info.namespace === "")) return failureReply(methodNotAllowed());
  const escalation = escalationProblem(cluster.authorizer, { user: request.user, resource, namespace: info.namespace, object: body.value });
  if (escalation !== undefined) return failureReply(escalation);
  return present(cluster, target, { written: cluster.registry.create(resource, info.namespace, body.value, options.value), code: 201 });
}

async function update(cluster: Cluster, target: ReadTarget, part: Part): Promise<Reply> {
  const { request, info, resource } = target;
  const options = parseWriteOptions(info.query);
  if (options.type === "failure") return failureReply(options.status);
  const body = await objectBody(request);
  if (body.type === "failure") return failureReply(body.status);
  const escalation = escalationProblem(cluster.authorizer, { user: request.user, resource, namespace: info.namespace, object: body.value });
  if (escalation !== undefined) return failureReply(escalation);
  const key = targetKey(resource, info);
  return present(cluster, target, {
    written: cluster.registry.update(resource, key, { body: body.value, part, options: options.value }),
    code: 200,
  });
}

async function patch(cluster: Cluster, target: ReadTarget, part: Part): Promise<Reply> {
  const { request, info, resource } = target;
  const options = parseWriteOptions(info.query);
  if (options.type === "failure") return failureReply(options.status);
  if (isApply(request.header("content-type"))) return failureReply(applyUnsupported);
  const change: Outcome<Json> = await request.body();
  if (change.type === "failure") return failureReply(change.status);
  const key = targetKey(resource, info);
  const current = cluster.registry.get(resource, key);
  if (current.type === "failure") return failureReply(current.status);
  const patched = applyPatch(current.value, { contentType: request.header("content-type"), change: change.value, struct: resource.type });
  if (patched.type === "failure") return failureReply(patched.status);
  const escalation = escalationProblem(cluster.authorizer, {
    user: request.user,
    resource,
    namespace: info.namespace,
    object: patched.value,
  });
  if (escalation !== undefined) return failureReply(escalation);
  return present(cluster, target, {
    written: cluster.registry.update(resource, key, { body: patched.value, part, options: options.value }),
    code: 200,
  });
}

async function remove(cluster: Cluster, { request, info, resource }: ReadTarget): Promise<Reply> {
  const body = await objectBody(request);
  if (body.type === "failure") return failureReply(body.status);
  const deleted = cluster.registry.delete(resource, targetKey(resource, info), parseDeleteOptions(body.value, info.query));
  if (deleted.type === "failure") return failureReply(deleted.status);
  const { object, isGone } = deleted.value;
  if (!isGone || resource.kind === "Pod") return json(object);
  const details = {
    name: info.name,
    ...(resource.group === "" ? {} : { group: resource.group }),
    kind: resource.plural,
    uid: object.metadata.uid,
  };
  return json({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details });
}

async function removeCollection(cluster: Cluster, { request, info, resource }: ReadTarget): Promise<Reply> {
  const body = await objectBody(request);
  if (body.type === "failure") return failureReply(body.status);
  if (resource.namespaced && info.namespace === "") return failureReply(methodNotAllowed());
  const options = parseListOptions(resource, info.query);
  if (options.type === "failure") return failureReply(options.status);
  const namespace = resource.namespaced ? info.namespace : undefined;
  const chosen = cluster.registry.store.list(resource, namespace).filter((object) => options.value.selects(object));
  for (const object of chosen) {
    const key = { namespace: object.metadata.namespace ?? "", name: object.metadata.name };
    cluster.registry.delete(resource, key, parseDeleteOptions(body.value, info.query));
  }
  return json({ kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details: { kind: resource.plural } });
}

function present(
  cluster: Cluster,
  { request, info, resource }: ReadTarget,
  result: { readonly written: Outcome<Written>; readonly code: number },
): Reply {
  if (result.written.type === "failure") return failureReply(result.written.status);
  const presentation = parsePresentation(request.header("accept"), info.query);
  if (presentation === undefined) return failureReply(notAcceptable);
  const { object, warnings } = result.written.value;
  const body = presentObject(object, presentation, cluster.clock.now());
  const ignored = info.verb === "create" ? ignoredFields(resource.kind, object) : [];
  return { type: "json", code: result.code, body, warnings: [...warnings, ...ignored] };
}
