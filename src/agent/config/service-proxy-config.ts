/** The configuration of the role `service-proxy`: kube-proxy's own file, and flags for what that file has no words for. */
import { isCidr } from "#agent/service-proxy/address-text.ts";
import { defaultKubeProxyConfiguration, parseKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import type { KubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import { parseTraceTarget } from "#agent/dataplane/trace.ts";
import type { TraceTarget } from "#agent/dataplane/trace.ts";
import { clusterConnectionFlags, readClusterConnection } from "./cluster-connection.ts";
import type { ClusterConnection } from "./cluster-connection.ts";
import { parseFlags, readText } from "./flags.ts";

export interface ServiceProxyConfig {
  readonly role: "service-proxy";
  readonly connection: ClusterConnection;
  readonly configuration: KubeProxyConfiguration;
  /** The file that it is from, which may change while the role runs. */
  readonly configurationFile: string | undefined;
  /** The Node's name. */
  readonly node: string;
  /** Serves the Services with this `service.kubernetes.io/service-proxy-name`; undefined: those without the label. */
  readonly proxyName: string | undefined;
  readonly externalIps: "serve" | "ignore";
  /** Strict mode, with the ranges that load balancers' addresses are believed in; undefined: everything is believed, as by kube-proxy. */
  readonly strict: { readonly loadBalancerRanges: readonly string[] } | undefined;
  readonly dataplane: "nftables" | "userspace";
  /** What is to be done. */
  readonly action: ServiceProxyAction;
  /** The key of a taint to remove from the Node once the first rules are there. */
  readonly startupTaint: string | undefined;
  /** Where the kernel's settings are: a mount of the node's /proc/sys, where the container's own is read-only. */
  readonly sysctlFolder: string;
}

/**
 * `dryRun`: prints what would be done once the cluster is known. `trace`: prints what a packet to a Service meets, and, asked for
 * `connections`, how many the machine has. `cleanup`: removes
 * everything of ours, and asks no cluster.
 */
export type ServiceProxyAction =
  | { readonly type: "run" }
  | { readonly type: "dryRun" }
  | { readonly type: "trace"; readonly target: TraceTarget; readonly connections: boolean }
  | { readonly type: "cleanup" };

export type ServiceProxyConfigResult =
  | { readonly type: "config"; readonly config: ServiceProxyConfig }
  | { readonly type: "invalid"; readonly problems: readonly string[] };

export const serviceProxyUsage = `--roles service-proxy: does kube-proxy's job on this node

  --config FILE                 kube-proxy's KubeProxyConfiguration, unchanged
  --node NAME                   this node's name                                (NODE_NAME) [the host's name]
  --kubeconfig FILE             credentials                                     [clientConnection.kubeconfig, or the pod's]
  --context NAME                the kubeconfig's context
  --apiserver URL               an apiserver's address that works without Services; repeatable; needed in a pod
  --dataplane KIND              nftables or userspace                           [nftables]
  --service-proxy-name NAME     serve the Services with this label service.kubernetes.io/service-proxy-name
  --no-external-ips             ignore spec.externalIPs of Services
  --strict                      believe no address that anybody who may write a Service or an EndpointSlice can make up
  --load-balancer-range CIDR    with --strict: where load balancers' addresses are; repeatable
  --startup-taint KEY           taint to remove from the node once its rules are there
  --sysctl-folder DIR           the node's /proc/sys                            [/proc/sys]
  --dry-run                     print the rules and end
  --trace NAMESPACE/NAME[:PORT] print what a packet to a Service meets on this node, and end
  --connections                 with --trace, on the node and as root: count the connections that it has to each address
  --cleanup                     remove the rules and end
`;

const flags = {
  ...clusterConnectionFlags,
  config: { type: "string" },
  node: { type: "string" },
  dataplane: { type: "string" },
  "service-proxy-name": { type: "string" },
  "no-external-ips": { type: "boolean" },
  strict: { type: "boolean" },
  "load-balancer-range": { type: "string", multiple: true },
  "startup-taint": { type: "string" },
  "sysctl-folder": { type: "string" },
  "dry-run": { type: "boolean" },
  trace: { type: "string" },
  connections: { type: "boolean" },
  cleanup: { type: "boolean" },
  roles: { type: "string" },
} as const;

type Flags = NonNullable<ReturnType<typeof parseFlags<typeof flags>>>;

/** A label's value and the part of a taint's key behind its prefix (apimachinery, validation). */
const labelPattern = /^[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const domainPattern = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/;

/** Reads flags and environment. `hostname` names the node where nothing else does. */
export function readServiceProxyConfig(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  hostname: string,
): ServiceProxyConfigResult {
  const problems: string[] = [];
  const values = parseFlags(args, flags, problems);
  if (values === undefined) return { type: "invalid", problems };
  const configuration = readConfiguration(values.config, problems);
  const action = readAction(values, problems);
  const connection = readConnection(values, configuration, action, problems);
  const node = values.node ?? configuration.hostnameOverride ?? environment["NODE_NAME"] ?? hostname.trim().toLowerCase();
  if (!domainPattern.test(node)) problems.push(`--node ${node}: this is no node's name; give the name of this machine's Node object`);
  const config: ServiceProxyConfig = {
    role: "service-proxy",
    connection,
    configuration,
    configurationFile: values.config,
    node,
    proxyName: readProxyName(values["service-proxy-name"], problems),
    externalIps: values["no-external-ips"] === true ? "ignore" : configuration.externalIps,
    strict: readStrict(values, problems),
    dataplane: readDataplane(values.dataplane, problems),
    action,
    startupTaint: readTaint(values["startup-taint"], problems),
    sysctlFolder: values["sysctl-folder"] ?? "/proc/sys",
  };
  return problems.length > 0 ? { type: "invalid", problems } : { type: "config", config };
}

function readConfiguration(path: string | undefined, problems: string[]): KubeProxyConfiguration {
  const text = path === undefined ? undefined : readText(path, "--config", problems);
  if (path === undefined || text === undefined) return defaultKubeProxyConfiguration;
  const parsed = parseKubeProxyConfiguration(text, path);
  if (parsed.type === "parsed") return parsed.configuration;
  problems.push(...parsed.problems.map(({ file, line, message }) => `${file}:${line}: ${message}`));
  return defaultKubeProxyConfiguration;
}

function readAction(values: Flags, problems: string[]): ServiceProxyAction {
  const given = (["cleanup", "dry-run", "trace"] as const).filter((name) => values[name] !== undefined && values[name] !== false);
  if (given.length > 1) problems.push(`${given.map((name) => `--${name}`).join(" and ")} exclude each other: give one of them`);
  if (values.cleanup === true) return { type: "cleanup" };
  const connections = values.connections === true;
  if (connections && values.trace === undefined) problems.push("--connections has a meaning with --trace alone");
  if (values.trace !== undefined) return readTrace(values.trace, connections, problems);
  return values["dry-run"] === true ? { type: "dryRun" } : { type: "run" };
}

function readTrace(text: string, connections: boolean, problems: string[]): ServiceProxyAction {
  const target = parseTraceTarget(text);
  if (target !== undefined) return { type: "trace", target, connections };
  problems.push(`--trace ${text}: give a Service as namespace/name, or namespace/name:port`);
  return { type: "run" };
}

/** The Service default/kubernetes is among those that this role serves: before it does, nobody reaches it. */
function readConnection(
  values: Flags,
  { kubeconfig }: KubeProxyConfiguration,
  action: ServiceProxyAction,
  problems: string[],
): ClusterConnection {
  const path = values.kubeconfig ?? kubeconfig;
  const connection = readClusterConnection(path === undefined ? values : { ...values, kubeconfig: path }, problems);
  if (action.type !== "cleanup" && path === undefined && (values.apiserver ?? []).length === 0) {
    problems.push(
      "--apiserver is missing: the Service default/kubernetes works only once this role serves it; give an apiserver's own address, or --kubeconfig",
    );
  }
  return connection;
}

function readDataplane(kind: string | undefined, problems: string[]): ServiceProxyConfig["dataplane"] {
  if (kind === "userspace") return "userspace";
  if (kind !== undefined && kind !== "nftables") problems.push(`--dataplane ${kind}: this is nftables or userspace`);
  return "nftables";
}

function readStrict(values: Flags, problems: string[]): ServiceProxyConfig["strict"] {
  const ranges = values["load-balancer-range"] ?? [];
  for (const range of ranges) if (!isCidr(range)) problems.push(`--load-balancer-range ${range}: this is no range, such as 192.0.2.0/24`);
  if (values.strict === true) return { loadBalancerRanges: ranges };
  if (ranges.length > 0) problems.push("--load-balancer-range has a meaning with --strict alone: without it all addresses are believed");
  return undefined;
}

function readProxyName(name: string | undefined, problems: string[]): string | undefined {
  if (name !== undefined && !labelPattern.test(name)) problems.push(`--service-proxy-name ${name}: this is not the value of a label`);
  return name;
}

function readTaint(key: string | undefined, problems: string[]): string | undefined {
  if (key === undefined) return undefined;
  const parts = key.split("/");
  const [name, prefix] = [parts.at(-1) ?? "", parts.length > 1 ? parts[0] : undefined];
  if (parts.length > 2 || !labelPattern.test(name) || (prefix !== undefined && !domainPattern.test(prefix)))
    problems.push(`--startup-taint ${key}: this is not the key of a taint, such as example.com/not-ready`);
  return key;
}
