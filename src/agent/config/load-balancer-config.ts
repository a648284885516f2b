/** The configuration of the role `load-balancer`. */
import type { DriverChoice } from "#agent/load-balancer/drivers.ts";
import { defaultReservedPorts, parsePortRanges } from "#agent/load-balancer/drivers/node-ip-options.ts";
import type { NodeAddresses } from "#agent/load-balancer/drivers/node-ip-options.ts";
import { parseLabelSelector } from "#agent/load-balancer/label-selector.ts";
import { defaultWorkers, maxWorkers } from "#agent/load-balancer/limits.ts";
import type { NodeReadiness } from "#agent/load-balancer/nodes.ts";
import type { ServedClasses } from "#agent/load-balancer/plan.ts";
import { clusterConnectionFlags, readClusterConnection } from "./cluster-connection.ts";
import type { ClusterConnection } from "./cluster-connection.ts";
import { parseFlags } from "./flags.ts";

export interface LoadBalancerConfig {
  readonly role: "load-balancer";
  readonly connection: ClusterConnection;
  readonly driver: DriverChoice;
  readonly classes: ServedClasses;
  readonly readiness: NodeReadiness;
  readonly workers: number;
  /** The namespace of the Lease that replicas agree by. */
  readonly namespace: string;
  /** This replica. */
  readonly identity: string;
  /** Where /metrics and /healthz are. */
  readonly listen: { readonly host: string; readonly port: number };
  /** `plan`: prints what would be done, changes nothing, and ends. */
  readonly action: "run" | "plan";
}

export type LoadBalancerConfigResult =
  | { readonly type: "config"; readonly config: LoadBalancerConfig }
  | { readonly type: "invalid"; readonly problems: readonly string[] };

export const loadBalancerUsage = `--roles load-balancer: gives Services of type LoadBalancer their load balancers

  --driver NAME                 node-ip: the nodes' own addresses               [node-ip]
  --class NAME                  serve Services of this spec.loadBalancerClass   [sallyport.dev/node-ip]
  --default-class               serve Services without a class too
  --node-readiness KIND         require: leave out nodes that are not ready; ignore: take them  [require]
  --node-selector SELECTOR      labels of the nodes that Services may get       [all nodes]
  --node-addresses KIND         external-first, internal or all                 [external-first]
  --reserved-ports LIST         ports that no Service gets                      [${defaultReservedPorts}]
  --workers N                   Services that are worked on at once             [${defaultWorkers}]
  --listen HOST:PORT            /metrics and /healthz                           [0.0.0.0:10258]
  --namespace NAME              namespace of the replicas' Lease   (POD_NAMESPACE) [sallyport-load-balancer]
  --identity NAME               this replica                            (POD_NAME) [a random one]
  --kubeconfig FILE             credentials                                     [the pod's]
  --context NAME                the kubeconfig's context
  --apiserver URL               an apiserver's address; repeatable
  --dry-run                     print what would be done and end
`;

const flags = {
  ...clusterConnectionFlags,
  driver: { type: "string" },
  class: { type: "string" },
  "default-class": { type: "boolean" },
  "node-readiness": { type: "string" },
  "node-selector": { type: "string" },
  "node-addresses": { type: "string" },
  "reserved-ports": { type: "string" },
  workers: { type: "string" },
  listen: { type: "string" },
  namespace: { type: "string" },
  identity: { type: "string" },
  "dry-run": { type: "boolean" },
  roles: { type: "string" },
} as const;

type Flags = NonNullable<ReturnType<typeof parseFlags<typeof flags>>>;

/** A class is a finalizer of ours too, and those need a domain (apimachinery, validation). */
const classPattern = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?\/[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const namePattern = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const listenPattern = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]:]+)):(\d{1,5})$/;

/** Reads flags and environment. `random` names a replica that no pod names. */
export function readLoadBalancerConfig(
  args: readonly string[],
  environment: NodeJS.ProcessEnv,
  random: () => string,
): LoadBalancerConfigResult {
  const problems: string[] = [];
  const values = parseFlags(args, flags, problems);
  if (values === undefined) return { type: "invalid", problems };
  const namespace = values.namespace ?? environment["POD_NAMESPACE"] ?? "sallyport-load-balancer";
  if (!namePattern.test(namespace)) problems.push(`--namespace ${namespace}: this is no namespace's name`);
  const config: LoadBalancerConfig = {
    role: "load-balancer",
    connection: readClusterConnection(values, problems),
    driver: readDriver(values, problems),
    classes: readClasses(values, problems),
    readiness: readReadiness(values["node-readiness"], problems),
    workers: readWorkers(values.workers, problems),
    namespace,
    identity: values.identity ?? environment["POD_NAME"] ?? random(),
    listen: readListen(values.listen ?? "0.0.0.0:10258", problems),
    action: values["dry-run"] === true ? "plan" : "run",
  };
  return problems.length > 0 ? { type: "invalid", problems } : { type: "config", config };
}

function readDriver(values: Flags, problems: string[]): DriverChoice {
  const { driver = "node-ip" } = values;
  if (driver !== "node-ip") problems.push(`--driver ${driver}: this is node-ip`);
  const selector = parseLabelSelector(values["node-selector"] ?? "");
  if (selector === undefined)
    problems.push(`--node-selector ${values["node-selector"] ?? ""}: this is no label selector, such as pool=edge`);
  const reservedPorts = parsePortRanges(values["reserved-ports"] ?? defaultReservedPorts);
  if (reservedPorts === undefined) problems.push(`--reserved-ports ${values["reserved-ports"] ?? ""}: give ports as 22/TCP,30000-32767`);
  return {
    type: "node-ip",
    nodeSelector: selector ?? [],
    addresses: readAddresses(values["node-addresses"], problems),
    reservedPorts: reservedPorts ?? [],
  };
}

function readAddresses(kind: string | undefined, problems: string[]): NodeAddresses {
  switch (kind) {
    case undefined:
    case "external-first":
      return "externalFirst";
    case "internal":
    case "all":
      return kind;
    default:
      problems.push(`--node-addresses ${kind}: this is external-first, internal or all`);
      return "externalFirst";
  }
}

function readClasses(values: Flags, problems: string[]): ServedClasses {
  const loadBalancerClass = values.class ?? "sallyport.dev/node-ip";
  if (!classPattern.test(loadBalancerClass))
    problems.push(`--class ${loadBalancerClass}: give a name with a domain, such as example.com/internal`);
  return { loadBalancerClass, takesUnclassed: values["default-class"] === true };
}

function readReadiness(kind: string | undefined, problems: string[]): NodeReadiness {
  if (kind === "ignore") return "ignore";
  if (kind !== undefined && kind !== "require") problems.push(`--node-readiness ${kind}: this is require or ignore`);
  return "require";
}

function readWorkers(text: string | undefined, problems: string[]): number {
  if (text === undefined) return defaultWorkers;
  const workers = /^\d{1,3}$/.test(text) ? Number(text) : 0;
  if (workers >= 1 && workers <= maxWorkers) return workers;
  problems.push(`--workers ${text}: give a number from 1 to ${maxWorkers}`);
  return defaultWorkers;
}

function readListen(text: string, problems: string[]): LoadBalancerConfig["listen"] {
  const match = listenPattern.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host !== undefined && port <= 65_535) return { host, port };
  problems.push(`--listen ${text}: give an address and a port, such as 127.0.0.1:10258`);
  return { host: "127.0.0.1", port: 0 };
}
