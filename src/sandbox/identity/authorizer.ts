/** RBAC (kubernetes, plugin/pkg/auth/authorizer/rbac): may this user do this? Deny unless a rule of a bound role allows it. */
import { textAt, textListAt, listAt, valueAt } from "#sandbox/objects/json.ts";
import type { Json } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import type { Store } from "#sandbox/store/store.ts";
import { mastersGroup, serviceAccountUser } from "./user.ts";
import type { User } from "./user.ts";

/** What is to be allowed. */
export type Attributes = ResourceAttributes | PathAttributes;

/** A request for a resource; absent parts are "". */
export interface ResourceAttributes {
  readonly type: "resource";
  readonly verb: string;
  readonly group: string;
  readonly plural: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

/** A request for a path that is no resource. */
export interface PathAttributes {
  readonly type: "path";
  readonly verb: string;
  readonly path: string;
}

/** The answer, and for an allowed request which binding gave the right. */
export interface Decision {
  readonly allowed: boolean;
  readonly reason: string;
}

/** A rule with where it comes from. */
export interface BoundRule {
  readonly rule: Json;
  readonly source: string;
}

const denied: Decision = { allowed: false, reason: "" };

/** Decides requests by the Roles and bindings in the store, read afresh for each decision. */
export class Authorizer {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  authorize(user: User, attributes: Attributes): Decision {
    if (user.groups.includes(mastersGroup)) return { allowed: true, reason: "" };
    const namespace = attributes.type === "resource" ? attributes.namespace : "";
    for (const { rule, source } of this.rulesFor(user, namespace)) {
      if (ruleAllows(rule, attributes)) return { allowed: true, reason: `RBAC: allowed by ${source}` };
    }
    return denied;
  }

  /** All rules that hold for a user: of the cluster, and of one namespace when it is given. */
  *rulesFor(user: User, namespace: string): Generator<BoundRule> {
    for (const binding of this.#store.list(resourceOf("ClusterRoleBinding"))) yield* this.#rulesOf(binding, user);
    if (namespace === "") return;
    for (const binding of this.#store.list(resourceOf("RoleBinding"), namespace)) yield* this.#rulesOf(binding, user);
  }

  /** The rules of a role that a binding refers to. */
  rulesOfRole(roleRef: Json | undefined, namespace: string): readonly Json[] {
    const name = textAt(roleRef, "name");
    const isNamespaced = textAt(roleRef, "kind") === "Role";
    if (isNamespaced) return listAt(this.#store.get(resourceOf("Role"), { namespace, name }), "rules");
    const role = this.#store.get(resourceOf("ClusterRole"), { namespace: "", name });
    return role === undefined ? [] : [...listAt(role, "rules"), ...this.#aggregatedRules(role)];
  }

  *#rulesOf(binding: KubeObject, user: User): Generator<BoundRule> {
    const namespace = binding.metadata.namespace ?? "";
    const subject = listAt(binding, "subjects").find((candidate) => matchesSubject(candidate, user, namespace));
    if (subject === undefined) return;
    const roleRef = valueAt(binding, "roleRef");
    const place = namespace === "" ? binding.metadata.name : `${binding.metadata.name}/${namespace}`;
    const role = `${textAt(roleRef, "kind")} "${textAt(roleRef, "name")}"`;
    const source = `${binding.kind} "${place}" of ${role} to ${textAt(subject, "kind")} "${shownSubject(subject)}"`;
    for (const rule of this.rulesOfRole(roleRef, namespace)) yield { rule, source };
  }

  /** Rules of the ClusterRoles that an aggregationRule selects by labels. */
  #aggregatedRules(role: KubeObject): readonly Json[] {
    const selectors = listAt(role, "aggregationRule", "clusterRoleSelectors");
    if (selectors.length === 0) return [];
    const others = this.#store.list(resourceOf("ClusterRole")).filter((other) => other.metadata.name !== role.metadata.name);
    const chosen = others.filter((other) => selectors.some((selector) => hasLabels(other, valueAt(selector, "matchLabels"))));
    return chosen.flatMap((other) => listAt(other, "rules"));
  }
}

/** Whether one rule allows a request. */
export function ruleAllows(rule: Json, attributes: Attributes): boolean {
  if (!includes(textListAt(rule, "verbs"), attributes.verb)) return false;
  if (attributes.type === "path") return textListAt(rule, "nonResourceURLs").some((pattern) => matchesPath(pattern, attributes.path));
  const names = textListAt(rule, "resourceNames");
  return (
    includes(textListAt(rule, "apiGroups"), attributes.group) &&
    matchesResource(textListAt(rule, "resources"), attributes) &&
    (names.length === 0 || names.includes(attributes.name))
  );
}

function includes(list: readonly string[], wanted: string): boolean {
  return list.includes("*") || list.includes(wanted);
}

function matchesResource(list: readonly string[], { plural, subresource }: ResourceAttributes): boolean {
  if (subresource === "") return includes(list, plural);
  return includes(list, `${plural}/${subresource}`) || list.includes(`*/${subresource}`);
}

function matchesPath(pattern: string, path: string): boolean {
  return pattern === path || (pattern.endsWith("*") && path.startsWith(pattern.replace(/\*+$/, "")));
}

function matchesSubject(subject: Json, user: User, bindingNamespace: string): boolean {
  const name = textAt(subject, "name");
  switch (textAt(subject, "kind")) {
    case "User":
      return name === user.name;
    case "Group":
      return user.groups.includes(name);
    case "ServiceAccount":
      return serviceAccountUser(textAt(subject, "namespace") || bindingNamespace, name) === user.name;
    default:
      return false;
  }
}

function shownSubject(subject: Json): string {
  const name = textAt(subject, "name");
  return textAt(subject, "kind") === "ServiceAccount" ? `${name}/${textAt(subject, "namespace")}` : name;
}

function hasLabels(object: KubeObject, wanted: Json | undefined): boolean {
  const labels = valueAt(object, "metadata", "labels");
  const entries = Object.entries((wanted ?? {}) as Record<string, Json>); // the field check lets only maps in
  return entries.length > 0 && entries.every(([name, value]) => valueAt(labels, name) === value);
}
