/** The flags that `cluster add` and `cluster manifests` share, and the manifests made from them. */
import type { ClusterName } from "#core/brand.ts";
import { parseClusterName } from "#core/brand.ts";
import { isKubeletPathPattern } from "#core/access/kubelet-paths.ts";
import { renderAgentManifests } from "#cli/manifests/agent-manifests.ts";
import { usageError } from "#cli/output/failure.ts";
import type { ChosenGateway, GatewayFlags } from "#cli/gateway/connection.ts";
import type { Plan, PlanFlags } from "#cli/registration/plan.ts";
import { version } from "#cli/version.ts";
import { gatewayFlagParameters, toText } from "./flags.ts";

export interface ManifestFlags extends GatewayFlags, PlanFlags {
  readonly allowGroup?: readonly string[];
  readonly allowKubeletPath?: readonly string[];
  readonly image: string;
  readonly replicas: number;
  readonly apiserver?: readonly string[];
}

const list = { kind: "parsed", parse: toText, variadic: true, optional: true } as const;

/** Replicas of the agent; a Deployment of more gains nothing, since each replica carries the whole cluster's traffic. */
const maxReplicas = 10;

export const manifestFlagParameters = {
  ...gatewayFlagParameters,
  authenticationConfig: {
    kind: "parsed",
    parse: toText,
    brief: "The cluster's AuthenticationConfiguration: who may come in",
    placeholder: "FILE",
  },
  issuerKeys: { ...list, brief: "Keys of an issuer that the gateway cannot reach; may be repeated", placeholder: "ISSUER=FILE" },
  agentIssuerKeys: { ...list, brief: "Keys of an issuer that the cluster cannot reach; may be repeated", placeholder: "ISSUER=FILE" },
  loginClientId: {
    kind: "parsed",
    parse: toText,
    brief: "Public client that `sallyport login` uses; an audience of the configuration",
    placeholder: "ID",
    optional: true,
  },
  loginIssuer: {
    kind: "parsed",
    parse: toText,
    brief: "Issuer of the login, when several accept the client id",
    placeholder: "URL",
    optional: true,
  },
  loginScope: {
    ...list,
    brief: "Scope that the login asks for (openid, profile, email, offline_access); may be repeated",
    placeholder: "SCOPE",
  },
  allowKubeletPath: {
    ...list,
    parse: parseKubeletPath,
    brief: "Kubelet path that nodes/proxy reaches beyond reading, such as `/run/*`; may be repeated",
    placeholder: "PATH",
  },
  allowGroup: { ...list, brief: "Group that may come in, or `prefix*`; may be repeated. Other groups are dropped", placeholder: "GROUP" },
  image: {
    kind: "parsed",
    parse: toText,
    brief: "Container image of the agent",
    placeholder: "IMAGE",
    default: `sallyport/agent:${version}`,
  },
  replicas: { kind: "parsed", parse: parseReplicas, brief: "Replicas of the agent", placeholder: "N", default: "2" },
  apiserver: { ...list, brief: "Address of an apiserver, when the agent shall not find them itself; may be repeated", placeholder: "URL" },
} as const;

/** The positional NAME. */
export const clusterNameParameter = {
  brief: "Name of the cluster: at most 63 of a-z, 0-9 and -",
  placeholder: "name",
  parse: toText,
} as const;

export function parseName(text: string): ClusterName {
  const name = parseClusterName(text);
  if (name === undefined)
    throw usageError(`"${text}" is no cluster's name`, "At most 63 of a-z, 0-9 and -, since it can become a host name.");
  return name;
}

/** The audience of the tokens that the agent joins with: this gateway and this cluster, and nothing else. */
export function joinAudience(gateway: ChosenGateway, name: ClusterName): string {
  return `${gateway.url}/clusters/${name}`;
}

export interface ManifestRequest {
  readonly name: ClusterName;
  readonly gateway: ChosenGateway;
  readonly flags: ManifestFlags;
  readonly plan: Plan;
}

export function renderManifests({ name, gateway, flags, plan }: ManifestRequest): string {
  return renderAgentManifests({
    cluster: name,
    gateway: gateway.url,
    ...(gateway.authorities === undefined ? {} : { gatewayCa: gateway.authorities }),
    authenticationConfiguration: plan.authenticationConfiguration,
    ...(Object.keys(plan.agentIssuerKeys).length === 0 ? {} : { issuerKeys: JSON.stringify(plan.agentIssuerKeys) }),
    allowedGroups: flags.allowGroup ?? [],
    allowedKubeletPaths: flags.allowKubeletPath ?? [],
    extraKeys: plan.extraKeys,
    image: flags.image,
    replicas: flags.replicas,
    joinAudience: joinAudience(gateway, name),
    ...(flags.apiserver === undefined ? {} : { apiservers: flags.apiserver }),
  });
}

function parseKubeletPath(input: string): string {
  if (isKubeletPathPattern(input)) return input;
  throw new SyntaxError("give a plain path such as /debug/pprof/heap, one that ends with /*, or *");
}

function parseReplicas(input: string): number {
  const replicas = Number(input);
  if (Number.isInteger(replicas) && replicas >= 1 && replicas <= maxReplicas) return replicas;
  throw new SyntaxError(`replicas must be a whole number from 1 to ${maxReplicas}`);
}
