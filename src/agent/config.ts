/** The agent's configuration: which role it has, and that role's own flags. A start fails once, with every reason. */
import { parseArgs } from "node:util";
import { apiserverLbUsage, readApiserverLbConfig } from "./config/apiserver-lb-config.ts";
import type { ApiserverLbConfig } from "./config/apiserver-lb-config.ts";
import { loadBalancerUsage, readLoadBalancerConfig } from "./config/load-balancer-config.ts";
import type { LoadBalancerConfig } from "./config/load-balancer-config.ts";
import { readServiceProxyConfig, serviceProxyUsage } from "./config/service-proxy-config.ts";
import type { ServiceProxyConfig } from "./config/service-proxy-config.ts";
import { readTunnelConfig, tunnelUsage } from "./config/tunnel-config.ts";
import type { TunnelConfig } from "./config/tunnel-config.ts";

/** One process has one role, under a ServiceAccount with that role's rights alone. */
export type AgentConfig = TunnelConfig | ServiceProxyConfig | ApiserverLbConfig | LoadBalancerConfig;

export type ConfigResult =
  | { readonly type: "config"; readonly config: AgentConfig }
  | { readonly type: "invalid"; readonly problems: readonly string[] }
  | { readonly type: "help"; readonly usage: string };

/** What a configuration takes of the machine, beside its environment. */
export interface MachineNames {
  readonly environment: NodeJS.ProcessEnv;
  /** A name for a replica that no pod UID names. */
  readonly random: () => string;
  readonly hostname: string;
}

/** A role: its flags for people, and its reader. */
interface RoleReader {
  readonly usage: string;
  read(args: readonly string[], names: MachineNames): Exclude<ConfigResult, { readonly type: "help" }>;
}

const roles: ReadonlyMap<string, RoleReader> = new Map<string, RoleReader>([
  ["tunnel", { usage: tunnelUsage, read: (args, { environment, random }) => readTunnelConfig(args, environment, random) }],
  [
    "service-proxy",
    { usage: serviceProxyUsage, read: (args, { environment, hostname }) => readServiceProxyConfig(args, environment, hostname) },
  ],
  ["apiserver-lb", { usage: apiserverLbUsage, read: (args) => readApiserverLbConfig(args) }],
  [
    "load-balancer",
    { usage: loadBalancerUsage, read: (args, { environment, random }) => readLoadBalancerConfig(args, environment, random) },
  ],
]);

const usageHead = "sallyport agent [--roles ROLE]: does one job in the cluster; the role is tunnel unless it is given\n";

/** Reads flags and environment. */
export function readConfig(args: readonly string[], names: MachineNames): ConfigResult {
  // Not strict: the role decides which other flags there are.
  const { values } = parseArgs({ args: [...args], options: { roles: { type: "string" }, help: { type: "boolean" } }, strict: false });
  if (values["help"] === true) return { type: "help", usage: [usageHead, ...[...roles.values()].map(({ usage }) => usage)].join("\n") };
  const name = typeof values["roles"] === "string" ? values["roles"] : "tunnel";
  const role = roles.get(name);
  if (role !== undefined) return role.read(args, names);
  return {
    type: "invalid",
    problems: [`--roles ${name}: this agent has the roles ${[...roles.keys()].join(", ")}, one for each process`],
  };
}
