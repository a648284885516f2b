/** What `--roles service-proxy` does: run, show what it would do or what a Service meets, and remove what it did. */
import { existsSync } from "node:fs";
import { systemClock } from "./clock.ts";
import { openApiservers } from "./cluster-access.ts";
import type { ServiceProxyConfig } from "./config/service-proxy-config.ts";
import { dataplanes } from "./dataplane-registry.ts";
import type { Machinery } from "./dataplane-registry.ts";
import { countConnections } from "./dataplane/conntrack/connections.ts";
import { createConntrackRunner } from "./dataplane/conntrack/tool.ts";
import type { IpFamily } from "./dataplane/dataplane.ts";
import type { CountConnections } from "./service-proxy-role.ts";
import { ServiceProxyRole } from "./service-proxy-role.ts";
import { listenHttp } from "./service-proxy/http-listener.ts";

/** What the role needs of its process. */
export interface RoleHost {
  /** The role is done, or cannot go on. */
  readonly end: (code: number, reason: string) => void;
  readonly print: (text: string) => void;
  readonly log: (event: object) => void;
}

export interface RunningRole {
  /** Resolves when everything is closed. */
  stop(): Promise<void>;
}

/** There when the kernel has IPv6. */
const ipv6File = "/proc/net/if_inet6";

/** Starts; rejects with a GatewayError when the machine or the configuration does not allow it. */
export async function runServiceProxy(config: ServiceProxyConfig, host: RoleHost): Promise<RunningRole> {
  const families: readonly IpFamily[] = existsSync(ipv6File) ? ["IPv4", "IPv6"] : ["IPv4"];
  const { action } = config;
  // A trace plans and does nothing, so that it needs nothing of the machine: sockets ask nothing of it before they are opened.
  const kind = action.type === "trace" ? "userspace" : config.dataplane;
  const machinery = await dataplanes[kind]({ config, families, log: host.log });
  if (action.type === "cleanup") return cleanUp(machinery, host);
  const access = await openApiservers(config.connection);
  const role = new ServiceProxyRole(config, access, {
    ...machinery,
    families,
    clock: systemClock,
    random: Math.random,
    listen: listenHttp,
    log: host.log,
    onFatal: (reason) => host.end(1, reason),
  });
  const running = {
    stop: async () => {
      await role.stop();
      await access.close();
    },
  };
  switch (action.type) {
    case "run":
      await role.start();
      break;
    case "dryRun":
      void show(role.describe(), host);
      break;
    case "trace":
      void show(role.trace(action.target, action.connections ? countHere : undefined), host);
      break;
  }
  return running;
}

const countHere: CountConnections = async (address) => countConnections(createConntrackRunner(["conntrack"]), address);

async function show(text: Promise<string>, host: RoleHost): Promise<void> {
  host.print(`${(await text).trimEnd()}\n`);
  host.end(0, "everything is said");
}

async function cleanUp({ dataplane }: Machinery, host: RoleHost): Promise<RunningRole> {
  await dataplane.cleanup();
  host.end(0, "the rules are removed");
  return { stop: async () => undefined };
}
