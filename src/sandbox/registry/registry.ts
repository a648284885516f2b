/**
 * The rules of writing: what create, update and delete do to an object's metadata, in the order in which an apiserver does it
 * (apiserver, registry/generic). What must stay true: identity (uid, creation time, name) never changes; a spec's change counts up
 * the generation; status is written only through /status; nothing is stored that its kind does not allow.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "#sandbox/clock.ts";
import { conform } from "#sandbox/objects/conform.ts";
import { isEqual, isObject, listAt, textAt, valueAt, withValue } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { isTerminating, keyOf, toTime } from "#sandbox/objects/object.ts";
import type { KubeObject, ObjectKey } from "#sandbox/objects/object.ts";
import { apiVersionOf, resourceOf } from "#sandbox/objects/resources.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import { alreadyExists, badRequest, conflict, failed, failure, forbidden, invalid, notFound, ok } from "#sandbox/server/status.ts";
import type { FailureStatus, Outcome } from "#sandbox/server/status.ts";
import type { Store } from "#sandbox/store/store.ts";
import { planDeletion } from "./deletion.ts";
import type { DeleteOptions } from "./deletion.ts";
import { withDefaults } from "./defaults.ts";
import { randomSuffix } from "./names.ts";
import type { ServiceAddresses } from "./service-addresses.ts";
import { validate } from "./validation.ts";

/** How a write is to be done. */
export interface WriteOptions {
  /** Check everything and store nothing. */
  readonly dryRun: boolean;
  /** What happens to fields that the kind does not have. */
  readonly fieldValidation: "Ignore" | "Strict" | "Warn";
}

/** Options of the sandbox's own writes. */
export const ownWrite: WriteOptions = { dryRun: false, fieldValidation: "Strict" };

/** A written object, and what the writer should know. */
export interface Written {
  readonly object: KubeObject;
  readonly warnings: readonly string[];
}

/** Which part of an object an update may change. */
export type Part = "main" | "status";

/** Everything that a registry works with. */
export interface RegistryParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly addresses: ServiceAddresses;
}

/** Reads and writes objects of all kinds by the rules of the API. */
export class Registry {
  readonly store: Store;
  readonly #clock: Clock;
  readonly #addresses: ServiceAddresses;

  constructor(parts: RegistryParts) {
    this.store = parts.store;
    this.#clock = parts.clock;
    this.#addresses = parts.addresses;
  }

  get(resource: Resource, key: ObjectKey): Outcome<KubeObject> {
    const found = this.store.get(resource, key);
    return found === undefined ? failed(notFound({ ...resource, name: key.name })) : ok(found);
  }

  create(resource: Resource, namespace: string, body: JsonObject, options: WriteOptions = ownWrite): Outcome<Written> {
    const named = this.#withName(resource, namespace, body);
    if (named.type === "failure") return named;
    const checked = this.#check(resource, named.value, { old: undefined, options });
    if (checked.type === "failure") return checked;
    const { object, warnings } = checked.value;
    const key = keyOf(object);
    const subject = { ...resource, name: key.name };
    if (this.store.get(resource, key) !== undefined) return failed(alreadyExists(subject));
    const closed = this.#namespaceProblem(resource, key);
    if (closed !== undefined) return failed(closed);
    if (!this.store.hasRoom(JSON.stringify(object).length)) {
      return failed(failure(507, "InsufficientStorage", "the sandbox keeps its objects in memory and is full"));
    }
    const addressed = resource.kind === "Service" ? this.#addresses.assign(object) : ok(object);
    if (addressed.type === "failure") return addressed;
    return ok({ object: options.dryRun ? addressed.value : this.store.put(resource, addressed.value), warnings });
  }

  /** Replaces an object's main part or its status; a resourceVersion in the body must be the stored one. */
  update(
    resource: Resource,
    key: ObjectKey,
    change: { readonly body: JsonObject; readonly part: Part; readonly options?: WriteOptions },
  ): Outcome<Written> {
    const old = this.store.get(resource, key);
    const subject = { ...resource, name: key.name };
    if (old === undefined) return failed(notFound(subject));
    const options = change.options ?? ownWrite;
    const mismatch = identityProblem(resource, old, change.body);
    if (mismatch !== undefined) return failed(mismatch);
    const merged = mergeParts(old, change.body, change.part);
    const checked = this.#check(resource, merged, { old, options });
    if (checked.type === "failure") return checked;
    const { warnings } = checked.value;
    const addressed = resource.kind === "Service" ? this.#addresses.assign(checked.value.object) : ok(checked.value.object);
    if (addressed.type === "failure") return addressed;
    const object = withGeneration(old, addressed.value);
    if (isEqual(object, old)) return ok({ object: old, warnings });
    if (options.dryRun) return ok({ object, warnings });
    return ok({ object: this.#putOrFinish(resource, object), warnings });
  }

  /** Starts or does the deletion of an object; the result is the object as it is now, or was last. */
  delete(resource: Resource, key: ObjectKey, options: DeleteOptions): Outcome<{ readonly object: KubeObject; readonly isGone: boolean }> {
    const object = this.store.get(resource, key);
    const subject = { ...resource, name: key.name };
    if (object === undefined) return failed(notFound(subject));
    const { uid, resourceVersion } = options.preconditions;
    if (uid !== "" && uid !== object.metadata.uid) {
      return failed(conflict(subject, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${object.metadata.uid}`));
    }
    if (resourceVersion !== "" && resourceVersion !== object.metadata.resourceVersion) {
      return failed(conflict(subject, "Precondition failed: the object has been modified"));
    }
    const plan = planDeletion(resource, object, { ...options, nowMs: this.#clock.now() });
    if (options.dryRun) return ok({ object, isGone: plan.type === "remove" });
    switch (plan.type) {
      case "remove":
        return ok({ object: this.store.remove(resource, key) ?? object, isGone: true });
      case "mark":
        return ok({ object: isEqual(plan.object, object) ? object : this.store.put(resource, plan.object), isGone: false });
    }
  }

  /** Writes an object; one that only waited for its last finalizer is removed. */
  #putOrFinish(resource: Resource, object: KubeObject): KubeObject {
    const isWaiting = resource.kind === "Pod" || resource.kind === "Namespace" || listAt(object, "metadata", "finalizers").length > 0;
    if (!isTerminating(object) || isWaiting) return this.store.put(resource, object);
    return this.store.remove(resource, keyOf(object)) ?? object;
  }

  /** Puts name, namespace, uid and times into a new object. */
  #withName(resource: Resource, namespace: string, body: JsonObject): Outcome<JsonObject> {
    const written = textAt(body, "metadata", "namespace");
    if (resource.namespaced && written !== "" && written !== namespace) {
      return failed(
        badRequest(`the namespace of the provided object does not match the namespace sent on the request (${written} != ${namespace})`),
      );
    }
    const name = nameOf(body);
    if (name === "") return failed(invalid(resource.kind, resource, [nameRequired]));
    const metadata = {
      ...(isObject(body["metadata"]) ? body["metadata"] : {}),
      name,
      namespace: resource.namespaced ? namespace : undefined,
      uid: randomUUID(),
      creationTimestamp: toTime(this.#clock.now()),
      resourceVersion: undefined,
      deletionTimestamp: undefined,
      deletionGracePeriodSeconds: undefined,
      selfLink: undefined,
      ...(Object.hasOwn(body, "spec") ? { generation: 1 } : {}),
    };
    return ok({ ...body, metadata: withoutUndefined(metadata), ...(keepsStatus(resource) ? {} : { status: undefined }) });
  }

  /** Conforms, defaults and validates an object. */
  #check(
    resource: Resource,
    body: JsonObject,
    { old, options }: { readonly old: KubeObject | undefined; readonly options: WriteOptions },
  ): Outcome<Written> {
    const { apiVersion = apiVersionOf(resource), kind = resource.kind } = body;
    if (apiVersion !== apiVersionOf(resource) || kind !== resource.kind) {
      return failed(badRequest(`${JSON.stringify(kind)} in version ${JSON.stringify(apiVersion)} cannot be handled as a ${resource.kind}`));
    }
    const conformed = conform(resource.type, { ...body, apiVersion, kind });
    const [mismatch] = conformed.mismatches;
    if (mismatch !== undefined) {
      return failed(badRequest(`${resource.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}: ${mismatch}`));
    }
    const unknown = conformed.unknown.map((path) => `unknown field "${path}"`);
    if (unknown.length > 0 && options.fieldValidation === "Strict") {
      return failed(
        badRequest(
          `${resource.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}: strict decoding error: ${unknown.join(", ")}`,
        ),
      );
    }
    const completed = this.#complete(resource, withDefaults(resource.kind, conformed.object));
    const missing = conformed.missing
      .filter((path) => valueAt(completed, ...path.split(".")) === undefined && !path.includes("["))
      .map((field) => ({ field, message: "Required value", reason: "FieldValueRequired" }));
    const errors = [...missing, ...validate(resource.kind, completed, old)];
    const unique = errors.filter((error, index) => errors.findIndex((other) => other.field === error.field) === index);
    if (unique.length > 0) return failed(invalid(resource.kind, { ...resource, name: textAt(completed, "metadata", "name") }, unique));
    return ok({ object: completed, warnings: options.fieldValidation === "Warn" ? unknown : [] });
  }

  /** The object with what its kind always has; `#withName` has put the metadata there. */
  #complete(resource: Resource, object: JsonObject): KubeObject {
    const complete = object as KubeObject; // conform keeps apiVersion and kind, #withName or the old object give the metadata
    if (resource.kind === "Namespace") {
      const labelled = withValue(complete, ["metadata", "labels", "kubernetes.io/metadata.name"], complete.metadata.name);
      const phased = valueAt(labelled, "status", "phase") === undefined ? withValue(labelled, ["status", "phase"], "Active") : labelled;
      return withValue(phased, ["spec", "finalizers"], ["kubernetes"]);
    }
    if (resource.kind === "Pod" && valueAt(complete, "status", "phase") === undefined) {
      const account = textAt(complete, "spec", "serviceAccountName") || textAt(complete, "spec", "serviceAccount") || "default";
      const owned = withValue(withValue(complete, ["spec", "serviceAccountName"], account), ["spec", "serviceAccount"], account);
      return withValue(withValue(owned, ["status", "phase"], "Pending"), ["status", "qosClass"], qualityClass(owned));
    }
    return complete;
  }

  #namespaceProblem(resource: Resource, key: ObjectKey): FailureStatus | undefined {
    if (!resource.namespaced) return undefined;
    const namespaces = resourceOf("Namespace");
    const namespace = this.store.get(namespaces, { namespace: "", name: key.namespace });
    if (namespace === undefined) return notFound({ ...namespaces, name: key.namespace });
    if (!isTerminating(namespace)) return undefined;
    return forbidden(
      { ...resource, name: key.name },
      `unable to create new content in namespace ${key.namespace} because it is being terminated`,
    );
  }
}

function keepsStatus(resource: Resource): boolean {
  return !resource.subresources.some((sub) => sub.name === "status");
}

const nameRequired = { field: "metadata.name", message: "Required value: name or generateName is required", reason: "FieldValueRequired" };

/** The name that the body gives, or one made from its generateName; "" when it has neither. */
function nameOf(body: JsonObject): string {
  const prefix = textAt(body, "metadata", "generateName");
  return textAt(body, "metadata", "name") || (prefix === "" ? "" : `${prefix}${randomSuffix()}`);
}

function withoutUndefined(object: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

/** Checks that the body is about the same object and not about an older version of it. */
function identityProblem(resource: Resource, old: KubeObject, body: JsonObject): FailureStatus | undefined {
  const subject = { ...resource, name: old.metadata.name };
  const name = textAt(body, "metadata", "name");
  if (name !== old.metadata.name) {
    return badRequest(`the name of the object (${name}) does not match the name on the URL (${old.metadata.name})`);
  }
  const namespace = textAt(body, "metadata", "namespace");
  if (namespace !== "" && namespace !== (old.metadata.namespace ?? "")) {
    return badRequest("the namespace of the provided object does not match the namespace sent on the request");
  }
  const uid = textAt(body, "metadata", "uid");
  if (uid !== "" && uid !== old.metadata.uid) {
    return conflict(subject, `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`);
  }
  const revision = textAt(body, "metadata", "resourceVersion");
  const isStale = revision !== "" && revision !== old.metadata.resourceVersion;
  return isStale
    ? conflict(subject, "the object has been modified; please apply your changes to the latest version and try again")
    : undefined;
}

/** The stored object with the part that the writer may change taken from the body. */
function mergeParts(old: KubeObject, body: JsonObject, part: Part): JsonObject {
  if (part === "status") return withoutUndefined({ ...old, status: body["status"] });
  const { uid, creationTimestamp, resourceVersion, generation, deletionTimestamp, deletionGracePeriodSeconds, namespace } = old.metadata;
  const kept = { uid, creationTimestamp, resourceVersion, generation, deletionTimestamp, deletionGracePeriodSeconds, namespace };
  const metadata = withoutUndefined({ ...(isObject(body["metadata"]) ? body["metadata"] : {}), ...kept });
  const hasStatus = Object.hasOwn(old, "status");
  return withoutUndefined({ ...body, metadata, ...(hasStatus ? { status: old["status"] } : {}) });
}

function withGeneration(old: KubeObject, object: KubeObject): KubeObject {
  const generation = valueAt(old, "metadata", "generation");
  if (typeof generation !== "number" || isEqual(old["spec"], object["spec"])) return object;
  return withValue(object, ["metadata", "generation"], generation + 1);
}

/** The quality of service class (kubernetes, pkg/apis/core/v1/helper/qos). */
function qualityClass(pod: JsonObject): string {
  const all = listAt(pod, "spec", "containers").map((container) => ({
    requests: valueAt(container, "resources", "requests"),
    limits: valueAt(container, "resources", "limits"),
  }));
  if (all.every(({ requests, limits }) => requests === undefined && limits === undefined)) return "BestEffort";
  const isFull = all.every(
    ({ requests, limits }) =>
      isObject(limits) && "cpu" in limits && "memory" in limits && (requests === undefined || isEqual(requests, limits)),
  );
  return isFull ? "Guaranteed" : "Burstable";
}
