/** The dataplanes that the role `service-proxy` can be given (`--dataplane`), one line for each. */
import { spawn } from "node:child_process";
import { networkInterfaces } from "node:os";
import { GatewayError } from "#core/errors.ts";
import { systemClock } from "./clock.ts";
import type { ServiceProxyConfig } from "./config/service-proxy-config.ts";
import { combineDataplanes } from "./dataplane/combined.ts";
import { ConntrackFlows } from "./dataplane/conntrack/flows.ts";
import { createConntrackRunner, createConntrackTable } from "./dataplane/conntrack/tool.ts";
import type { Dataplane, IpFamily, ServiceTable, SocketsView } from "./dataplane/dataplane.ts";
import { renderTable } from "./dataplane/nftables/family-table.ts";
import { createNft } from "./dataplane/nftables/nft.ts";
import { createNftablesDataplane } from "./dataplane/nftables/nftables.ts";
import { probeNftables } from "./dataplane/nftables/probe.ts";
import { Planner } from "./dataplane/plan.ts";
import { describeFrontends } from "./dataplane/userspace/description.ts";
import { createSockets } from "./dataplane/userspace/dial.ts";
import { planFrontends } from "./dataplane/userspace/frontends.ts";
import type { FrontendScope } from "./dataplane/userspace/frontends.ts";
import { userspaceLimits } from "./dataplane/userspace/limits.ts";
import { createProcessBudgets } from "./dataplane/userspace/options.ts";
import { createOrdinaryAddress } from "./dataplane/ordinary-address.ts";
import { UserspaceDataplane } from "./dataplane/userspace/userspace.ts";
import type { PlanOptions } from "./dataplane/node-plan.ts";
import type { LogEvent } from "./service-proxy/reporting.ts";
import type { FlowReconciler, Planner as TablePlanner } from "./service-proxy/sync-loop.ts";

/** What plans and obeys on this machine. */
export interface Machinery {
  readonly createPlanner: (options: PlanOptions) => TablePlanner;
  readonly dataplane: Dataplane;
  readonly flows: FlowReconciler;
  /** The sockets among it; undefined where there are none. */
  readonly sockets: SocketsView | undefined;
  /** What the dataplane would do for a table, as text for people; changes nothing. */
  readonly render: (table: ServiceTable) => Promise<string>;
}

export interface MachineOptions {
  readonly config: ServiceProxyConfig;
  /** The families that this machine has. */
  readonly families: readonly IpFamily[];
  readonly log: (event: LogEvent) => void;
}

/** Makes the machinery. Rejects with a GatewayError that says what the machine lacks and what to do. */
export type CreateMachinery = (options: MachineOptions) => Promise<Machinery>;

export const dataplanes: Readonly<Record<ServiceProxyConfig["dataplane"], CreateMachinery>> = {
  nftables: createNftablesMachinery,
  userspace: createUserspaceMachinery,
};

/** The longest that one call of nft may take: a transaction of 4,000 elements takes a tenth of a second, the largest table's reading seconds. */
const nftTimeoutMs = 60_000;

/** Rules leave packets to loopback addresses alone, so node ports on localhost are served by sockets beside them. */
async function createNftablesMachinery({ config, families, log }: MachineOptions): Promise<Machinery> {
  const { masqueradeBit, localhostNodePorts } = config.configuration;
  const nft = createNft({ command: ["nft"], spawn, timeoutMs: nftTimeoutMs });
  const probe = await probeNftables(nft, families, masqueradeBit);
  if (probe.type === "unusable")
    throw new GatewayError("CONFIGURATION_INVALID", `${probe.message}. Without them there is --dataplane userspace`);
  const kernel = createNftablesDataplane({ nft, families, masqueradeBit });
  const sockets = localhostNodePorts ? createSocketDataplane("localhostNodePorts") : undefined;
  return {
    createPlanner,
    dataplane: sockets === undefined ? kernel : combineDataplanes(kernel, sockets),
    sockets,
    flows: new ConntrackFlows({
      table: createConntrackTable(createConntrackRunner(["conntrack"])),
      clock: systemClock,
      isLocalAddress,
      onPeriodic: (family, outcome) => {
        if (outcome.type === "failed") log({ event: "flows-stay", family, message: outcome.message });
      },
    }),
    render: async (table) => renderTable(table, masqueradeBit),
  };
}

async function createUserspaceMachinery({ config }: MachineOptions): Promise<Machinery> {
  const scope: FrontendScope = config.configuration.localhostNodePorts ? "everythingAndLocalhost" : "everything";
  const dataplane = createSocketDataplane(scope);
  return {
    createPlanner,
    dataplane,
    sockets: dataplane,
    flows: noFlows,
    render: async (table) => describeFrontends(planFrontends(table, scope, networkInterfaces(), createOrdinaryAddress())),
  };
}

function createSocketDataplane(scope: FrontendScope): UserspaceDataplane {
  return new UserspaceDataplane({
    scope,
    clock: systemClock,
    random: Math.random,
    sockets: createSockets(systemClock),
    isOrdinary: createOrdinaryAddress(),
    interfaces: networkInterfaces,
    limits: userspaceLimits,
    budgets: createProcessBudgets(),
  });
}

function isLocalAddress(address: string): boolean {
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some((own) => own.address === address) === true);
}

function createPlanner(options: PlanOptions): TablePlanner {
  return new Planner(options);
}

/** Sockets end their flows themselves. */
const noFlows: FlowReconciler = { reconcile: async () => 0, stop: async () => undefined };
