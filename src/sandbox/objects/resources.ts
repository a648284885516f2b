/** The kinds that the sandbox serves: one row each, from which routes, discovery, OpenAPI and the store follow. */

/** A served kind. */
export interface Resource {
  /** API group; "" is the core group. */
  readonly group: string;
  readonly version: string;
  /** Plural name in URLs. */
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  /** Name of its type in types.json. */
  readonly type: string;
  /** Subresources with the kind that they take and give. */
  readonly subresources: readonly Subresource[];
}

/** A subresource of a served kind, such as pods/log. */
export interface Subresource {
  readonly name: string;
  /** apiVersion and kind as discovery names them. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly verbs: readonly string[];
}

/** Verbs of every stored kind. */
export const storedVerbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"] as const;

const status = (kind: string, group: string): Subresource => ({
  name: "status",
  group,
  version: "v1",
  kind,
  verbs: ["get", "patch", "update"],
});
const scale: Subresource = { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: ["get", "patch", "update"] };
const stream = (name: string, kind: string): Subresource => ({ name, group: "", version: "v1", kind, verbs: ["create", "get"] });

/** All served kinds. */
export const resources: readonly Resource[] = [
  core("Namespace", { shortNames: ["ns"], namespaced: false, subresources: [status("Namespace", "")] }),
  core("Node", { shortNames: ["no"], namespaced: false, subresources: [status("Node", "")] }),
  core("Pod", {
    shortNames: ["po"],
    categories: ["all"],
    subresources: [
      status("Pod", ""),
      { name: "log", group: "", version: "v1", kind: "Pod", verbs: ["get"] },
      stream("exec", "PodExecOptions"),
      stream("attach", "PodAttachOptions"),
      stream("portforward", "PodPortForwardOptions"),
    ],
  }),
  core("Service", { shortNames: ["svc"], categories: ["all"], subresources: [status("Service", "")] }),
  core("Endpoints", { plural: "endpoints", singular: "endpoints", shortNames: ["ep"] }),
  core("ConfigMap", { shortNames: ["cm"] }),
  core("Secret", {}),
  core("Event", { shortNames: ["ev"] }),
  core("ServiceAccount", {
    shortNames: ["sa"],
    subresources: [{ name: "token", group: "authentication.k8s.io", version: "v1", kind: "TokenRequest", verbs: ["create"] }],
  }),
  inGroup("apps", "Deployment", { shortNames: ["deploy"], categories: ["all"], subresources: [scale, status("Deployment", "apps")] }),
  inGroup("apps", "ReplicaSet", { shortNames: ["rs"], categories: ["all"], subresources: [scale, status("ReplicaSet", "apps")] }),
  inGroup("discovery.k8s.io", "EndpointSlice", {}),
  inGroup("coordination.k8s.io", "Lease", {}),
  inGroup("rbac.authorization.k8s.io", "Role", {}),
  inGroup("rbac.authorization.k8s.io", "RoleBinding", {}),
  inGroup("rbac.authorization.k8s.io", "ClusterRole", { namespaced: false }),
  inGroup("rbac.authorization.k8s.io", "ClusterRoleBinding", { namespaced: false }),
];

/** A review: a question that is answered at creation and stored nowhere. */
export interface Review {
  readonly group: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
}

/** The served reviews (authentication.k8s.io/v1 and authorization.k8s.io/v1). */
export const reviews: readonly Review[] = [
  { group: "authentication.k8s.io", plural: "selfsubjectreviews", kind: "SelfSubjectReview", namespaced: false },
  { group: "authentication.k8s.io", plural: "tokenreviews", kind: "TokenReview", namespaced: false },
  { group: "authorization.k8s.io", plural: "localsubjectaccessreviews", kind: "LocalSubjectAccessReview", namespaced: true },
  { group: "authorization.k8s.io", plural: "selfsubjectaccessreviews", kind: "SelfSubjectAccessReview", namespaced: false },
  { group: "authorization.k8s.io", plural: "selfsubjectrulesreviews", kind: "SelfSubjectRulesReview", namespaced: false },
  { group: "authorization.k8s.io", plural: "subjectaccessreviews", kind: "SubjectAccessReview", namespaced: false },
];

/** API groups in the order in which discovery names them; every one is served at v1 only. */
export const groups: readonly string[] = [...new Set([...resources, ...reviews].map((resource) => resource.group))].filter(
  (group) => group !== "",
);

/** The stored kind at a group, version and plural name. */
export function findResource(group: string, version: string, plural: string): Resource | undefined {
  return resources.find((resource) => resource.group === group && resource.version === version && resource.plural === plural);
}

/** The stored kind of that name; asking for an unknown one is a bug. */
export function resourceOf(kind: string): Resource {
  const found = resources.find((resource) => resource.kind === kind);
  if (found === undefined) throw new Error(`the sandbox serves no kind ${kind}`);
  return found;
}

/** group/version as apiVersion writes it. */
export function apiVersionOf(resource: { readonly group: string; readonly version: string }): string {
  return resource.group === "" ? resource.version : `${resource.group}/${resource.version}`;
}

/** `plural.group` as messages write it (schema.GroupResource). */
export function groupResource(resource: { readonly group: string; readonly plural: string }): string {
  return resource.group === "" ? resource.plural : `${resource.plural}.${resource.group}`;
}

type Options = Partial<Omit<Resource, "group" | "kind" | "type" | "version">>;

function core(kind: string, options: Options): Resource {
  return inGroup("", kind, options);
}

function inGroup(group: string, kind: string, options: Options): Resource {
  const singular = kind.toLowerCase();
  const type = `${group === "" ? "core" : group.split(".")[0]}.v1.${kind}`;
  const defaults = { plural: `${singular}s`, singular, shortNames: [], categories: [], namespaced: true, subresources: [] };
  return { group, version: "v1", kind, type, ...defaults, ...options };
}
