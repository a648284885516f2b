/** Kubernetes objects: the fields that every stored object has, and references between objects (API reference, meta/v1 ObjectMeta). */
import { listAt, textAt } from "./json.ts";
import type { JsonObject } from "./json.ts";

/** metadata of a stored object; further fields as the client sent them. */
export interface ObjectMeta extends JsonObject {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  readonly resourceVersion: string;
  readonly creationTimestamp: string;
}

/** A stored object. */
export interface KubeObject extends JsonObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
}

/** Where an object lives: "" is the namespace of cluster-scoped objects. */
export interface ObjectKey {
  readonly namespace: string;
  readonly name: string;
}

/** The key of a stored object. */
export function keyOf(object: KubeObject): ObjectKey {
  return { namespace: object.metadata.namespace ?? "", name: object.metadata.name };
}

/** The owner that controls the object (ownerReferences with controller: true), if any. */
export function controllerOf(object: KubeObject): JsonObject | undefined {
  const owners = listAt(object, "metadata", "ownerReferences") as readonly JsonObject[]; // the field check lets only objects in
  return owners.find((owner) => owner["controller"] === true);
}

/** An owner reference that makes `owner` the controller of what carries it. */
export function controllerReference(owner: KubeObject): JsonObject {
  const { apiVersion, kind } = owner;
  const { name, uid } = owner.metadata;
  return { apiVersion, kind, name, uid, controller: true, blockOwnerDeletion: true };
}

/** Whether the object is being deleted and waits for its finalizers or grace period. */
export function isTerminating(object: KubeObject): boolean {
  return textAt(object, "metadata", "deletionTimestamp") !== "";
}

/** RFC 3339 in whole seconds, as metav1.Time is written. */
export function toTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
