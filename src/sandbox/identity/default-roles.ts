/** The roles that a cluster starts with (kubernetes, rbac/bootstrappolicy), cut down to the kinds that the sandbox serves. */
import type { JsonObject } from "#sandbox/objects/json.ts";

const rbac = "rbac.authorization.k8s.io";
const read = ["get", "list", "watch"];
const write = ["create", "delete", "deletecollection", "patch", "update"];

/** ClusterRoles and ClusterRoleBindings, ready to be created. */
export function defaultRoles(): readonly JsonObject[] {
  return [
    role("cluster-admin", [rule(["*"], ["*"], ["*"]), { nonResourceURLs: ["*"], verbs: ["*"] }]),
    role("admin", [...adminRules, ...editRules, ...viewRules]),
    role("edit", [...editRules, ...viewRules]),
    role("view", viewRules),
    role("system:basic-user", [
      rule(["authorization.k8s.io"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], ["create"]),
      rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
    ]),
    role("system:discovery", [
      paths("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"),
    ]),
    role("system:public-info-viewer", [paths("/healthz", "/livez", "/readyz", "/version", "/version/")]),
    role("system:service-account-issuer-discovery", [
      paths("/.well-known/openid-configuration", "/.well-known/openid-configuration/", "/openid/v1/jwks", "/openid/v1/jwks/"),
    ]),
    role("system:auth-delegator", [
      rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
      rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
    ]),
    binding("cluster-admin", ["system:masters"]),
    binding("system:basic-user", ["system:authenticated"]),
    binding("system:discovery", ["system:authenticated"]),
    binding("system:public-info-viewer", ["system:authenticated", "system:unauthenticated"]),
    binding("system:service-account-issuer-discovery", ["system:serviceaccounts"]),
  ];
}

const viewRules: readonly JsonObject[] = [
  rule([""], ["configmaps", "endpoints", "events", "namespaces", "pods", "pods/log", "pods/status", "serviceaccounts", "services"], read),
  rule([""], ["services/status"], read),
  rule(
    ["apps"],
    ["deployments", "deployments/scale", "deployments/status", "replicasets", "replicasets/scale", "replicasets/status"],
    read,
  ),
  rule(["discovery.k8s.io"], ["endpointslices"], read),
];

const editRules: readonly JsonObject[] = [
  rule([""], ["pods/attach", "pods/exec", "pods/portforward", "secrets"], read),
  rule([""], ["serviceaccounts"], ["impersonate"]),
  rule([""], ["pods", "pods/attach", "pods/exec", "pods/portforward"], write),
  rule([""], ["configmaps", "events", "secrets", "serviceaccounts", "services"], write),
  rule([""], ["serviceaccounts/token"], ["create"]),
  rule(["apps"], ["deployments", "deployments/scale", "replicasets", "replicasets/scale"], write),
  rule(["coordination.k8s.io"], ["leases"], [...read, ...write]),
];

const adminRules: readonly JsonObject[] = [
  rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"]),
  rule([rbac], ["rolebindings", "roles"], [...read, ...write]),
];

function role(name: string, rules: readonly JsonObject[]): JsonObject {
  return { apiVersion: `${rbac}/v1`, kind: "ClusterRole", metadata: metadata(name), rules };
}

function binding(roleName: string, groups: readonly string[]): JsonObject {
  const subjects = groups.map((name) => ({ apiGroup: rbac, kind: "Group", name }));
  const roleRef = { apiGroup: rbac, kind: "ClusterRole", name: roleName };
  return { apiVersion: `${rbac}/v1`, kind: "ClusterRoleBinding", metadata: metadata(roleName), roleRef, subjects };
}

function metadata(name: string): JsonObject {
  return { name, labels: { "kubernetes.io/bootstrapping": "rbac-defaults" } };
}

function rule(apiGroups: readonly string[], names: readonly string[], verbs: readonly string[]): JsonObject {
  return { apiGroups, resources: names, verbs };
}

function paths(...nonResourceURLs: readonly string[]): JsonObject {
  return { nonResourceURLs, verbs: ["get"] };
}
