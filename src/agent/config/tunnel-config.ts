/** The configuration of the role `tunnel`: flags, some also environment variables. */
import { parseClusterName } from "#core/brand.ts";
import type { ClusterName } from "#core/brand.ts";
import { parseAuthenticationConfiguration } from "#identity/configuration.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { isKubeletPathPattern } from "#core/access/kubelet-paths.ts";
import { defaultStreamsPerUser } from "#core/access/user-limits.ts";
import { clusterConnectionFlags, readClusterConnection } from "./cluster-connection.ts";
import type { ClusterConnection } from "./cluster-connection.ts";
import { parseFlags, readText } from "./flags.ts";

/** Where the cluster's key pair is: the Secret `namespace/name`, or a file for an agent outside a cluster. */
export type KeyLocation =
  | { readonly type: "secret"; readonly namespace: string; readonly name: string }
  | { readonly type: "file"; readonly path: string };

export interface TunnelConfig {
  readonly role: "tunnel";
  /** `https://…`, without a path. */
  readonly gateway: URL;
  readonly cluster: ClusterName;
  readonly authentication: AuthenticationConfiguration;
  /** Names, or `prefix*`. */
  readonly allowedGroups: readonly string[];
  /** Kubelet paths that `nodes/proxy` reaches beyond reading: plain paths, `…/*`, or `*`. */
  readonly allowedKubeletPaths: readonly string[];
  /** JWK Sets by issuer URL, for issuers that the agent cannot reach. */
  readonly issuerKeys: Readonly<Record<string, unknown>>;
  readonly joinTokenFile: string;
  readonly key: KeyLocation;
  readonly connection: ClusterConnection;
  /** PEM. */
  readonly gatewayCa: string | undefined;
  /** Watches and streams that one user may have open at once. */
  readonly streamsPerUser: number;
  readonly replica: string;
  readonly node: string;
}

export type TunnelConfigResult =
  | { readonly type: "config"; readonly config: TunnelConfig }
  | { readonly type: "invalid"; readonly problems: readonly string[] };

export const tunnelUsage = `--roles tunnel: joins this cluster to a gateway; outbound connections only

  --gateway URL                 the gateway, https://…                          (SALLYPORT_GATEWAY)
  --cluster NAME                this cluster's name at the gateway              (SALLYPORT_CLUSTER)
  --authentication-config FILE  AuthenticationConfiguration: who may come in
  --allow-group GROUP           a group that may be impersonated, or prefix*; repeatable
  --allow-kubelet-path PATH     what nodes/proxy reaches beyond reading: a path, PATH/*, or * for all; repeatable
  --issuer-keys FILE            JSON of {issuer: JWK Set}, for issuers that this cluster cannot reach
  --join-token-file FILE        projected ServiceAccount token                  [/var/run/secrets/sallyport/join/token]
  --key-secret NAMESPACE/NAME   the Secret with the cluster's key pair          [sallyport-system/sallyport-agent-key]
  --key-file FILE               the key pair in a file, for an agent outside the cluster
  --kubeconfig FILE             credentials for an agent outside the cluster
  --context NAME                the kubeconfig's context
  --apiserver URL               an apiserver's address; repeatable              [found in the cluster]
  --gateway-ca FILE             PEM to trust for the gateway instead of the system's
  --max-streams-per-user N      watches and streams of one user at once         [2000]
`;

const flags = {
  gateway: { type: "string" },
  cluster: { type: "string" },
  "authentication-config": { type: "string" },
  "allow-group": { type: "string", multiple: true },
  "allow-kubelet-path": { type: "string", multiple: true },
  "issuer-keys": { type: "string" },
  "join-token-file": { type: "string" },
  "key-secret": { type: "string" },
  "key-file": { type: "string" },
  ...clusterConnectionFlags,
  "gateway-ca": { type: "string" },
  roles: { type: "string" },
  "max-streams-per-user": { type: "string" },
  replica: { type: "string" },
} as const;

/** Reads flags and environment. `random` names the replica where no pod UID does. */
export function readTunnelConfig(args: readonly string[], environment: NodeJS.ProcessEnv, random: () => string): TunnelConfigResult {
  const problems: string[] = [];
  const values = parseFlags(args, flags, problems);
  if (values === undefined) return { type: "invalid", problems };
  const required = readRequired(values, environment, problems);
  const optional = readOptional(values, problems);
  if (required === undefined || problems.length > 0) return { type: "invalid", problems };
  const replica = values.replica ?? environment["POD_UID"] ?? random();
  return { type: "config", config: { role: "tunnel", ...required, ...optional, replica, node: environment["NODE_NAME"] ?? "" } };
}

type Flags = NonNullable<ReturnType<typeof parseFlags<typeof flags>>>;
type Required = Pick<TunnelConfig, "gateway" | "cluster" | "authentication" | "key">;

function readRequired(values: Flags, environment: NodeJS.ProcessEnv, problems: string[]): Required | undefined {
  const gateway = readGateway(values.gateway ?? environment["SALLYPORT_GATEWAY"], problems);
  const cluster = readCluster(values.cluster ?? environment["SALLYPORT_CLUSTER"], problems);
  const authentication = readAuthentication(values["authentication-config"], problems);
  const key = readKey(values["key-secret"], values["key-file"], problems);
  if (gateway === undefined || cluster === undefined || authentication === undefined || key === undefined) return undefined;
  return { gateway, cluster, authentication, key };
}

function readOptional(values: Flags, problems: string[]): Omit<TunnelConfig, keyof Required | "role" | "replica" | "node"> {
  return {
    issuerKeys: readIssuerKeys(values["issuer-keys"], problems),
    gatewayCa: values["gateway-ca"] === undefined ? undefined : readText(values["gateway-ca"], "--gateway-ca", problems),
    allowedGroups: values["allow-group"] ?? [],
    allowedKubeletPaths: readKubeletPaths(values["allow-kubelet-path"] ?? [], problems),
    joinTokenFile: values["join-token-file"] ?? "/var/run/secrets/sallyport/join/token",
    connection: readClusterConnection(values, problems),
    streamsPerUser: readCount(values["max-streams-per-user"], defaultStreamsPerUser, problems),
  };
}

function readKubeletPaths(paths: readonly string[], problems: string[]): readonly string[] {
  for (const path of paths) {
    if (!isKubeletPathPattern(path))
      problems.push(`--allow-kubelet-path ${path}: give a plain path such as /debug/pprof/heap, one that ends with /*, or *`);
  }
  return paths;
}

function readCount(text: string | undefined, fallback: number, problems: string[]): number {
  if (text === undefined) return fallback;
  if (!/^[1-9]\d{0,5}$/.test(text)) problems.push(`--max-streams-per-user ${text}: give a number from 1 to 999999`);
  return Number(text);
}

function readGateway(text: string | undefined, problems: string[]): URL | undefined {
  const url = text === undefined ? null : URL.parse(text);
  if (url !== null && url.protocol === "https:" && url.href === `${url.origin}/`) return url;
  problems.push(`--gateway ${text ?? "is missing"}: give the gateway's https:// URL without a path; agents never use plain http`);
  return undefined;
}

function readCluster(text: string | undefined, problems: string[]): ClusterName | undefined {
  const name = parseClusterName(text ?? "");
  if (name === undefined)
    problems.push(`--cluster ${text ?? "is missing"}: give the name that \`sallyport cluster add\` registered, a DNS label`);
  return name;
}

function readAuthentication(path: string | undefined, problems: string[]): AuthenticationConfiguration | undefined {
  if (path === undefined) {
    problems.push("--authentication-config is missing: without it nobody may come in");
    return undefined;
  }
  const text = readText(path, "--authentication-config", problems);
  if (text === undefined) return undefined;
  const parsed = parseAuthenticationConfiguration(text, path);
  if (parsed.type === "parsed") return parsed.configuration;
  problems.push(...parsed.problems.map((problem) => `${problem.file}:${problem.line}: ${problem.message}`));
  return undefined;
}

function readIssuerKeys(path: string | undefined, problems: string[]): Readonly<Record<string, unknown>> {
  if (path === undefined) return {};
  const text = readText(path, "--issuer-keys", problems) ?? "{}";
  try {
    return JSON.parse(text);
  } catch {
    problems.push(`--issuer-keys ${path}: it is not JSON; give an object of issuer URLs and their JWK Sets`);
    return {};
  }
}

function readKey(secret: string | undefined, file: string | undefined, problems: string[]): KeyLocation | undefined {
  if (file !== undefined) return { type: "file", path: file };
  const [namespace, name, ...rest] = (secret ?? "sallyport-system/sallyport-agent-key").split("/");
  if (namespace !== undefined && name !== undefined && rest.length === 0 && namespace !== "" && name !== "")
    return { type: "secret", namespace, name };
  problems.push(`--key-secret ${secret}: give it as namespace/name`);
  return undefined;
}
