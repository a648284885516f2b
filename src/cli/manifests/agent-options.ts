/** What the agent's manifests are made from, and the names that are the same in every cluster. */
import type { ClusterName } from "#core/brand.ts";
import type { Account } from "./parts.ts";

/** What the manifests are made from. */
export interface AgentManifestOptions {
  readonly cluster: ClusterName;
  /** The gateway's URL, `https://…` without a path. */
  readonly gateway: string;
  /** PEM certificates to trust for the gateway instead of the public authorities. */
  readonly gatewayCa?: string;
  /** The AuthenticationConfiguration's text, as the admin wrote it. */
  readonly authenticationConfiguration: string;
  /** JSON of `{issuer: JWK Set}` for issuers that the cluster cannot reach. */
  readonly issuerKeys?: string;
  /** Groups that may be impersonated: names, or `prefix*`. */
  readonly allowedGroups: readonly string[];
  /** Kubelet paths that `nodes/proxy` reaches beyond reading. */
  readonly allowedKubeletPaths: readonly string[];
  /** The extra keys that the AuthenticationConfiguration maps; those that the agent adds itself come on top. */
  readonly extraKeys: readonly string[];
  /** The agent's container image. */
  readonly image: string;
  readonly replicas: number;
  /** Audience of the ServiceAccount token that the agent joins with. */
  readonly joinAudience: string;
  /** Addresses of the apiservers, where those of the Service default/kubernetes do not do. */
  readonly apiservers?: readonly string[];
}

/** Where everything lives; the gateway is told the ServiceAccount's name as the subject that may join. */
export const agentNamespace = "sallyport-system";
export const agentServiceAccount = "sallyport-agent";
export const agentAccount: Account = { name: agentServiceAccount, namespace: agentNamespace };
/** The subject of the agent's ServiceAccount tokens (Kubernetes: system:serviceaccount:NAMESPACE:NAME). */
export const agentSubject = `system:serviceaccount:${agentNamespace}:${agentServiceAccount}`;
