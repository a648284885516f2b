/** Deletes what its owner's deletion leaves behind, and ends namespaces once they are empty. */
import { listAt, textAt, textsAt, withValue } from "#sandbox/objects/json.ts";
import { isTerminating, keyOf } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf, resources } from "#sandbox/objects/resources.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import { foregroundFinalizer, isOwnedBy, orphanFinalizer, plainDelete, waitsFor, withoutFinalizer } from "#sandbox/registry/deletion.ts";
import type { Registry } from "#sandbox/registry/registry.ts";

/** An object with its kind. */
interface Placed {
  readonly resource: Resource;
  readonly object: KubeObject;
}

/** Deletes objects all of whose owners are gone. */
export function collectGarbage(registry: Registry): void {
  const all = everything(registry);
  const uids = new Set(all.map(({ object }) => object.metadata.uid));
  for (const { resource, object } of all) {
    const owners = listAt(object, "metadata", "ownerReferences");
    if (owners.length === 0 || isTerminating(object)) continue;
    if (owners.every((owner) => !uids.has(textAt(owner, "uid")))) registry.delete(resource, keyOf(object), plainDelete);
  }
  for (const placed of all) finishOwner(registry, placed, all);
}

/** Frees or deletes the dependents of an owner that waits for them. */
function finishOwner(registry: Registry, { resource, object }: Placed, all: readonly Placed[]): void {
  const dependents = all.filter((other) => isOwnedBy(other.object, object.metadata.uid));
  if (waitsFor(object, orphanFinalizer)) {
    for (const dependent of dependents) orphan(registry, dependent, object.metadata.uid);
    finish(registry, resource, withoutFinalizer(object, orphanFinalizer));
  } else if (waitsFor(object, foregroundFinalizer)) {
    for (const dependent of dependents) {
      if (!isTerminating(dependent.object))
        registry.delete(dependent.resource, keyOf(dependent.object), { ...plainDelete, propagation: "Foreground" });
    }
    if (dependents.length === 0) finish(registry, resource, withoutFinalizer(object, foregroundFinalizer));
  }
}

function orphan(registry: Registry, { resource, object }: Placed, uid: string): void {
  const rest = listAt(object, "metadata", "ownerReferences").filter((owner) => textAt(owner, "uid") !== uid);
  const body = withValue(object, ["metadata", "ownerReferences"], rest.length === 0 ? undefined : rest);
  registry.update(resource, keyOf(object), { body, part: "main" });
}

function finish(registry: Registry, resource: Resource, body: KubeObject): void {
  registry.update(resource, keyOf(body), { body, part: "main" });
}

/** Gives a namespace its default objects, or empties and removes one that is being deleted. */
export function reconcileNamespace(registry: Registry, caPem: string, name: string): void {
  const namespaces = resourceOf("Namespace");
  const namespace = registry.store.get(namespaces, { namespace: "", name });
  if (namespace === undefined) return;
  if (!isTerminating(namespace)) {
    createMissing(registry, { resource: resourceOf("ServiceAccount"), namespace: name, name: "default", body: {} });
    createMissing(registry, {
      resource: resourceOf("ConfigMap"),
      namespace: name,
      name: "kube-root-ca.crt",
      body: { data: { "ca.crt": caPem } },
    });
    return;
  }
  const inside = resources
    .filter((resource) => resource.namespaced)
    .flatMap((resource) => registry.store.list(resource, name).map((object) => ({ resource, object })));
  for (const { resource, object } of inside) {
    if (!isTerminating(object)) registry.delete(resource, keyOf(object), plainDelete);
  }
  const isEmpty = resources.every((resource) => !resource.namespaced || registry.store.list(resource, name).length === 0);
  if (isEmpty) registry.store.remove(namespaces, { namespace: "", name });
}

function createMissing(
  registry: Registry,
  wanted: {
    readonly resource: Resource;
    readonly namespace: string;
    readonly name: string;
    readonly body: Readonly<Record<string, ReturnType<typeof textsAt>>>;
  },
): void {
  const { resource, namespace, name, body } = wanted;
  if (registry.store.get(resource, { namespace, name }) === undefined)
    registry.create(resource, namespace, { ...body, metadata: { name } });
}

function everything(registry: Registry): readonly Placed[] {
  return resources.flatMap((resource) => registry.store.list(resource).map((object) => ({ resource, object })));
}
