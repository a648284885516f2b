/** Discovery: which groups, versions and kinds there are, in the old and in the aggregated form (apidiscovery.k8s.io/v2). */
import { createHash } from "node:crypto";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { apiVersionOf, groups, resources, reviews, storedVerbs } from "#sandbox/objects/resources.ts";
import type { Resource, Review, Subresource } from "#sandbox/objects/resources.ts";

/** What kubectl shows as the server's version: the minor whose API the sandbox follows, marked as a sandbox. */
export const version = {
  major: "1",
  minor: "34",
  gitVersion: "v1.34.0+sandbox",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "2025-08-27T00:00:00Z",
  goVersion: "none: this is Sallyport's sandbox, not a kube-apiserver",
  compiler: "none",
  platform: "sandbox/node",
} as const;

const aggregatedTypes = ["v2", "v2beta1"] as const;

/** The aggregated form's version that an Accept header asks for; undefined for the old form. */
export function aggregatedVersion(accept: string): "v2" | "v2beta1" | undefined {
  const wants = (wanted: string): boolean =>
    accept.split(",").some((type) => {
      const parts = type.split(";").map((part) => part.trim());
      return (
        parts[0] === "application/json" &&
        ["g=apidiscovery.k8s.io", `v=${wanted}`, "as=APIGroupDiscoveryList"].every((part) => parts.includes(part))
      );
    });
  return aggregatedTypes.find(wants);
}

/** The aggregated form's media type. */
export function aggregatedMediaType(wanted: "v2" | "v2beta1"): string {
  return `application/json;g=apidiscovery.k8s.io;v=${wanted};as=APIGroupDiscoveryList`;
}

/** APIGroupDiscoveryList of /api (the core group) or /apis (all others). */
export function aggregatedDiscovery(root: "api" | "apis", wanted: "v2" | "v2beta1"): JsonObject {
  const names = root === "api" ? [""] : groups;
  const items = names.map((group) => ({
    metadata: { name: group, creationTimestamp: null },
    versions: [{ version: "v1", resources: aggregatedResources(group), freshness: "Current" }],
  }));
  return { kind: "APIGroupDiscoveryList", apiVersion: `apidiscovery.k8s.io/${wanted}`, metadata: {}, items };
}

/** A strong entity tag of a document, as kube-apiserver makes it. */
export function entityTag(text: string): string {
  return `"${createHash("sha512").update(text).digest("hex").toUpperCase()}"`;
}

/** APIVersions of /api. */
export function legacyVersions(address: string): JsonObject {
  return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: address }] };
}

/** APIGroupList of /apis. */
export function legacyGroups(): JsonObject {
  return { kind: "APIGroupList", apiVersion: "v1", groups: groups.map(groupEntry) };
}

/** APIGroup of /apis/group; undefined for an unknown group. */
export function legacyGroup(group: string): JsonObject | undefined {
  return groups.includes(group) ? { kind: "APIGroup", apiVersion: "v1", ...groupEntry(group) } : undefined;
}

/** APIResourceList of a group's v1; undefined for an unknown group. */
export function legacyResources(group: string): JsonObject | undefined {
  if (group !== "" && !groups.includes(group)) return undefined;
  const stored = inGroup(resources, group).flatMap((resource) => [
    storedEntry(resource),
    ...resource.subresources.map((sub) => subEntry(resource, sub)),
  ]);
  const asked = inGroup(reviews, group).map((review) => ({
    name: review.plural,
    singularName: review.kind.toLowerCase(),
    namespaced: review.namespaced,
    kind: review.kind,
    verbs: ["create"],
  }));
  const groupVersion = apiVersionOf({ group, version: "v1" });
  return { kind: "APIResourceList", apiVersion: "v1", groupVersion, resources: [...stored, ...asked] };
}

function groupEntry(group: string): JsonObject {
  const entry = { groupVersion: `${group}/v1`, version: "v1" };
  return { name: group, versions: [entry], preferredVersion: entry };
}

function storedEntry(resource: Resource): JsonObject {
  const { plural, singular, namespaced, kind, shortNames, categories } = resource;
  return {
    name: plural,
    singularName: singular,
    namespaced,
    kind,
    verbs: storedVerbs,
    ...(shortNames.length > 0 ? { shortNames } : {}),
    ...(categories.length > 0 ? { categories } : {}),
    storageVersionHash: createHash("sha256").update(`${resource.group}/${kind}`).digest("base64").slice(0, 12),
  };
}

function subEntry(resource: Resource, sub: Subresource): JsonObject {
  const isOwnGroup = sub.group === resource.group;
  const foreign = isOwnGroup ? {} : { group: sub.group, version: sub.version };
  return {
    name: `${resource.plural}/${sub.name}`,
    singularName: "",
    namespaced: resource.namespaced,
    ...foreign,
    kind: sub.kind,
    verbs: sub.verbs,
  };
}

function aggregatedResources(group: string): readonly JsonObject[] {
  const stored = inGroup(resources, group).map((resource) => ({
    resource: resource.plural,
    responseKind: { group, version: "v1", kind: resource.kind },
    scope: resource.namespaced ? "Namespaced" : "Cluster",
    singularResource: resource.singular,
    verbs: storedVerbs,
    ...(resource.shortNames.length > 0 ? { shortNames: resource.shortNames } : {}),
    ...(resource.categories.length > 0 ? { categories: resource.categories } : {}),
    ...(resource.subresources.length > 0 ? { subresources: resource.subresources.map(aggregatedSubresource) } : {}),
  }));
  const asked = inGroup(reviews, group).map((review) => ({
    resource: review.plural,
    responseKind: { group, version: "v1", kind: review.kind },
    scope: review.namespaced ? "Namespaced" : "Cluster",
    singularResource: review.kind.toLowerCase(),
    verbs: ["create"],
  }));
  return [...stored, ...asked];
}

function aggregatedSubresource(sub: Subresource): JsonObject {
  return { subresource: sub.name, responseKind: { group: sub.group, version: sub.version, kind: sub.kind }, verbs: sub.verbs };
}

function inGroup<T extends Resource | Review>(all: readonly T[], group: string): readonly T[] {
  return all.filter((entry) => entry.group === group);
}
