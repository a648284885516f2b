/** The agent's configuration: flags, each also an environment variable, checked all at once so that a start fails with every reason. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { parseClusterName } from "#core/brand.ts";
import type { ClusterName } from "#core/brand.ts";
import { parseAuthenticationConfiguration } from "#identity/configuration.ts";
import { defaultStreamsPerUser } from "./requests/user-limits.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";

/** Where the cluster's key pair is: the Secret `namespace/name`, or a file for an agent outside a cluster. */
export type KeyLocation =
  | { readonly type: "secret"; readonly namespace: string; readonly name: string }
  | { readonly type: "file"; readonly path: string };

export interface AgentConfig {
  /** `https://…`, without a path. */
  readonly gateway: URL;
  readonly cluster: ClusterName;
  readonly authentication: AuthenticationConfiguration;
  /** Names, or `prefix*`. */
  readonly allowedGroups: readonly string[];
  /** JWK Sets by issuer URL, for issuers that the agent cannot reach. */
  readonly issuerKeys: Readonly<Record<string, unknown>>;
  readonly joinTokenFile: string;
  readonly key: KeyLocation;
  /** undefined: the in-cluster ServiceAccount. */
  readonly kubeconfig: { readonly path: string; readonly context: string | undefined } | undefined;
  /** Empty: found in the cluster. */
  readonly apiservers: readonly string[];
  /** PEM. */
  readonly gatewayCa: string | undefined;
  /** Watches and streams that one user may have open at once. */
  readonly streamsPerUser: number;
  readonly replica: string;
  readonly node: string;
}

export type ConfigResult =
  | { readonly type: "config"; readonly config: AgentConfig }
  | { readonly type: "invalid"; readonly problems: readonly string[] };

export const agentUsage = `sallyport agent: joins this cluster to a gateway; outbound connections only

  --gateway URL                 the gateway, https://…                          (SALLYPORT_GATEWAY)
  --cluster NAME                this cluster's name at the gateway              (SALLYPORT_CLUSTER)
  --authentication-config FILE  AuthenticationConfiguration: who may come in
  --allow-group GROUP           a group that may be impersonated, or prefix*; repeatable
  --issuer-keys FILE            JSON of {issuer: JWK Set}, for issuers that this cluster cannot reach
  --join-token-file FILE        projected ServiceAccount token                  [/var/run/secrets/sallyport/join/token]
  --key-secret NAMESPACE/NAME   the Secret with the cluster's key pair          [sallyport-system/sallyport-agent-key]
  --key-file FILE               the key pair in a file, for an agent outside the cluster
  --kubeconfig FILE             credentials for an agent outside the cluster
  --context NAME                the kubeconfig's context
  --apiserver URL               an apiserver's address; repeatable              [found in the cluster]
  --gateway-ca FILE             PEM to trust for the gateway instead of the system's
  --max-streams-per-user N      watches and streams of one user at once         [2000]
  --roles ROLES                 what this agent does                            [tunnel]
`;

const flags = {
  gateway: { type: "string" },
  cluster: { type: "string" },
  "authentication-config": { type: "string" },
  "allow-group": { type: "string", multiple: true },
  "issuer-keys": { type: "string" },
  "join-token-file": { type: "string" },
  "key-secret": { type: "string" },
  "key-file": { type: "string" },
  kubeconfig: { type: "string" },
  context: { type: "string" },
  apiserver: { type: "string", multiple: true },
  "gateway-ca": { type: "string" },
  roles: { type: "string" },
  "max-streams-per-user": { type: "string" },
  replica: { type: "string" },
  help: { type: "boolean" },
} as const;

/** Reads flags and environment. `random` names the replica where no pod UID does. */
export function readConfig(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  random: () => string,
): ConfigResult | { readonly type: "help" } {
  const problems: string[] = [];
  const values = parseFlags(args, problems);
  if (values === undefined) return { type: "invalid", problems };
  if (values.help === true) return { type: "help" };
  if ((values.roles ?? "tunnel") !== "tunnel") problems.push(`--roles ${values.roles}: this agent has the role tunnel`);
  const required = readRequired(values, environment, problems);
  const optional = readOptional(values, problems);
  if (required === undefined || problems.length > 0) return { type: "invalid", problems };
  const replica = values.replica ?? environment["POD_UID"] ?? random();
  return { type: "config", config: { ...required, ...optional, replica, node: environment["NODE_NAME"] ?? "" } };
}

type Flags = NonNullable<ReturnType<typeof parseFlags>>;
type Required = Pick<AgentConfig, "gateway" | "cluster" | "authentication" | "key">;

function readRequired(values: Flags, environment: NodeJS.ProcessEnv, problems: string[]): Required | undefined {
  const gateway = readGateway(values.gateway ?? environment["SALLYPORT_GATEWAY"], problems);
  const cluster = readCluster(values.cluster ?? environment["SALLYPORT_CLUSTER"], problems);
  const authentication = readAuthentication(values["authentication-config"], problems);
  const key = readKey(values["key-secret"], values["key-file"], problems);
  if (gateway === undefined || cluster === undefined || authentication === undefined || key === undefined) return undefined;
  return { gateway, cluster, authentication, key };
}

function readOptional(values: Flags, problems: string[]): Omit<AgentConfig, keyof Required | "replica" | "node"> {
  return {
    issuerKeys: readIssuerKeys(values["issuer-keys"], problems),
    gatewayCa: values["gateway-ca"] === undefined ? undefined : readText(values["gateway-ca"], "--gateway-ca", problems),
    allowedGroups: values["allow-group"] ?? [],
    joinTokenFile: values["join-token-file"] ?? "/var/run/secrets/sallyport/join/token",
    kubeconfig: values.kubeconfig === undefined ? undefined : { path: values.kubeconfig, context: values.context },
    apiservers: values.apiserver ?? [],
    streamsPerUser: readCount(values["max-streams-per-user"], defaultStreamsPerUser, problems),
  };
}

function readCount(text: string | undefined, fallback: number, problems: string[]): number {
  if (text === undefined) return fallback;
  if (!/^[1-9]\d{0,5}$/.test(text)) problems.push(`--max-streams-per-user ${text}: give a number from 1 to 999999`);
  return Number(text);
}

function parseFlags(args: readonly string[], problems: string[]) {
  try {
    return parseArgs({ args: [...args], options: flags, allowPositionals: false }).values;
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

function readGateway(text: string | undefined, problems: string[]): URL | undefined {
  const url = text === undefined ? null : URL.parse(text);
  if (url !== null && url.protocol === "https:" && url.pathname === "/" && url.search === "" && url.username === "") return url;
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

function readText(path: string, flag: string, problems: string[]): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    problems.push(`${flag} ${path}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}
