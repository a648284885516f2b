/** The ServiceAccount under which an agent of the gateway works in the sandbox, and a pod that stands for that agent. */
import type { ServiceAccountIssuer } from "./identity/service-account-issuer.ts";
import { tokenSeconds } from "./limits.ts";
import type { JsonObject } from "./objects/json.ts";
import { resourceOf } from "./objects/resources.ts";
import type { KubeObject } from "./objects/object.ts";
import type { Registry } from "./registry/registry.ts";

/** Names of the agent's objects. */
export interface AgentAccount {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** Keys of user extras that the agent may impersonate: RBAC knows no wildcard for them, so each is named. */
  readonly extraKeys: readonly string[];
}

/** The names that the shipped manifests use. */
export const defaultAgent: AgentAccount = {
  namespace: "sallyport-system",
  serviceAccount: "sallyport-agent",
  extraKeys: ["authentication.kubernetes.io/credential-id", "sallyport.dev/original-user"],
};

const rbac = "rbac.authorization.k8s.io";

/**
 * Creates namespace, ServiceAccount, rights and the pod. The rights are what an agent needs to act for its users, and no more: to
 * impersonate users, groups, uids and the named extras, and to ask what a user may do. The pod stands for a process outside of the sandbox, so that the agent's token can be bound to it.
 */
export function createAgent(registry: Registry, { namespace, serviceAccount, extraKeys }: AgentAccount): void {
  const subjects = [{ kind: "ServiceAccount", name: serviceAccount, namespace }];
  const rules: readonly JsonObject[] = [
    { apiGroups: [""], resources: ["users", "groups"], verbs: ["impersonate"] },
    { apiGroups: ["authentication.k8s.io"], resources: ["uids", ...extraKeys.map((key) => `userextras/${key}`)], verbs: ["impersonate"] },
    { apiGroups: ["authorization.k8s.io"], resources: ["subjectaccessreviews"], verbs: ["create"] },
  ];
  const name = serviceAccount;
  const objects: readonly (readonly [string, string, JsonObject])[] = [
    ["Namespace", "", { metadata: { name: namespace } }],
    ["ServiceAccount", namespace, { metadata: { name } }],
    ["ClusterRole", "", { metadata: { name }, rules }],
    ["ClusterRoleBinding", "", { metadata: { name }, subjects, roleRef: { apiGroup: rbac, kind: "ClusterRole", name } }],
    ["Pod", namespace, agentPod(serviceAccount)],
  ];
  for (const [kind, where, body] of objects) {
    const written = registry.create(resourceOf(kind), where, body);
    if (written.type === "failure") throw new Error(`the agent's ${kind} was refused: ${written.status.message}`);
  }
}

/** A token of the agent's ServiceAccount for an audience, bound to its pod as a projected token is; undefined when an object is gone. */
export function issueAgentToken(
  registry: Registry,
  issuer: ServiceAccountIssuer,
  { account, audience }: { readonly account: AgentAccount; readonly audience: string },
): { readonly token: string; readonly expiresAtMs: number } | undefined {
  const { namespace } = account;
  const serviceAccount = registry.store.get(resourceOf("ServiceAccount"), { namespace, name: account.serviceAccount });
  const pod: KubeObject | undefined = registry.store.get(resourceOf("Pod"), { namespace, name: agentPodName });
  if (serviceAccount === undefined || pod === undefined) return undefined;
  return issuer.issue({ serviceAccount, audiences: [audience], lifetimeSeconds: tokenSeconds.default, pod });
}

const agentPodName = "sallyport-agent-0";

function agentPod(serviceAccountName: string): JsonObject {
  const annotations = { "sallyport.dev/sandbox": "This agent runs outside of the sandbox; the pod stands for it." };
  return {
    metadata: { name: agentPodName, labels: { app: "sallyport-agent" }, annotations },
    spec: { serviceAccountName, containers: [{ name: "agent", image: "sallyport.dev/sandbox/outside:1" }] },
  };
}
