/** The agent's rights in the cluster, each with its reason. */
import { originalUserExtra } from "#core/kube/impersonation.ts";
import { credentialIdKey } from "#identity/mapping.ts";
import { agentAccount, type AgentManifestOptions, agentNamespace } from "./agent-options.ts";
import { renderBinding, renderServiceAccount } from "./parts.ts";
import { items, literal } from "./yaml-text.ts";

/** The Secret with the cluster's key pair. */
export const keySecret = "sallyport-agent-key";

const impersonator = "sallyport-agent-impersonator";
const apiserverReader = "sallyport-agent-apiservers";
const forwarder = "sallyport-agent-forwards";
const keyKeeper = "sallyport-agent-key";

/** ServiceAccount, ClusterRole, Roles and their bindings. */
export function renderRbac(options: AgentManifestOptions): string {
  const forwards = [forwardRole, forwardBinding];
  return [serviceAccount, clusterRole(options), clusterRoleBinding, ...forwards, apiserverRole, apiserverBinding, keyRole, keyBinding].join(
    "---\n",
  );
}

const serviceAccount = renderServiceAccount(
  agentAccount,
  "The Deployment mounts the two tokens that the agent uses, with their own audiences and lifetimes.",
);

function clusterRole({ allowedGroups, extraKeys }: AgentManifestOptions): string {
  const extras = [...new Set([...extraKeys, credentialIdKey, originalUserExtra])].toSorted();
  return `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: ${literal(impersonator)}
rules:
  # Requests run as the user whose token the agent has verified, so that RBAC and the audit log see the person. Which users those
  # are, the AuthenticationConfiguration decides: their names are not known beforehand. Names that start with "system:" are refused by
  # the agent, and ServiceAccounts and nodes are other resources, which are not granted.
  - apiGroups: [""]
    resources: [users]
    verbs: [impersonate]
${groupRule(allowedGroups)}  # The uid that the AuthenticationConfiguration maps, which audit logs and owner checks use.
  - apiGroups: [authentication.k8s.io]
    resources: [uids]
    verbs: [impersonate]
  # Extra attributes: the ones that the AuthenticationConfiguration maps, the token's number, and who asked for "kubectl --as". RBAC
  # knows no wildcard for keys, so each is named.
  - apiGroups: [authentication.k8s.io]
    resources:
${items(
  extras.map((key) => `userextras/${key}`),
  6,
)}    verbs: [impersonate]
  # Asks what a user may do, where the request alone does not say it: "kubectl --as", and streams opened with GET before Kubernetes 1.35.
  - apiGroups: [authorization.k8s.io]
    resources: [subjectaccessreviews]
    verbs: [create]
`;
}

function groupRule(allowedGroups: readonly string[]): string {
  const head = `  - apiGroups: [""]
    resources: [groups]
`;
  if (allowedGroups.length === 0) return "  # No group may be impersonated: the agent's allow-list of groups is empty.\n";
  if (allowedGroups.some((group) => group.endsWith("*"))) {
    return `  # Groups of the user. The allow-list has prefixes, which RBAC cannot express, so only the agent enforces it: with exact names alone,
  # RBAC would enforce it too.
${head}    verbs: [impersonate]
`;
  }
  return `  # Groups of the user: only these, whatever a token says. The agent drops the others before, and RBAC would refuse them.
${head}    resourceNames:
${items(allowedGroups, 6)}    verbs: [impersonate]
`;
}

const clusterRoleBinding = renderBinding("ClusterRole", impersonator, agentAccount);

const forwardRole = `# What "sallyport forward" rests on: the agent finds the addresses of targets itself, and reaches none that these objects do not have.
# Without this role and its binding forwards are refused, and all else works.
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: ${literal(forwarder)}
rules:
  # Whether a pod runs, its addresses, its named ports and its node: read for each connection, so that no address that has moved on is
  # dialled. Listed for a Deployment, whose pods are found by labels. RBAC cannot leave out the rest of a pod.
  - apiGroups: [""]
    resources: [pods]
    verbs: [get, list]
  # A Service's ports, type and session affinity.
  - apiGroups: [""]
    resources: [services]
    verbs: [get]
  # A node's address, for forwards to a node and to pods in its network.
  - apiGroups: [""]
    resources: [nodes]
    verbs: [get]
  # A Deployment's selector.
  - apiGroups: [apps]
    resources: [deployments]
    verbs: [get]
  # A Service's endpoints, found by label, with whether they are ready.
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list]
`;

const forwardBinding = renderBinding("ClusterRole", forwarder, agentAccount);

const apiserverRole = `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: ${literal(apiserverReader)}
  namespace: default
rules:
  # The addresses of all apiservers, so that the agent goes on when one of them fails. RBAC cannot name an object in a list.
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list]
`;

const apiserverBinding = renderBinding("Role", apiserverReader, agentAccount, "default");

const keyRole = `apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: ${literal(keyKeeper)}
  namespace: ${literal(agentNamespace)}
rules:
  # The cluster's key pair: the first replica writes it, all read it. This Secret and no other.
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: [${literal(keySecret)}]
    verbs: [get, update]
`;

const keyBinding = renderBinding("Role", keyKeeper, agentAccount, agentNamespace);
