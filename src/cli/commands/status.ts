/** `sallyport status`: each cluster's agents, as the gateway sees them now. */
import { buildCommand } from "@stricli/core";
import type { AgentState, ClusterSummary } from "#core/gateway-api.ts";
import { print, say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { describeNodes } from "#cli/output/node-states.ts";
import { chooseGateway, listReachableClusters, recallClusterNames } from "#cli/gateway/connection.ts";
import type { ChosenGateway, GatewayFlags } from "#cli/gateway/connection.ts";
import { CommandError } from "#cli/output/failure.ts";
import { toAge } from "#cli/output/age.ts";
import { renderListing } from "#cli/output/format.ts";
import type { Listing, OutputFormat } from "#cli/output/format.ts";
import { gatewayFlagParameters, outputAliases, outputFlagParameter, toText } from "./flags.ts";

interface StatusFlags extends GatewayFlags {
  readonly watch: boolean;
  readonly output: OutputFormat;
}

/** Between two looks with --watch; each is one small request. */
const watchIntervalMs = 2000;

export const command = buildCommand<StatusFlags, [string?], CliContext>({
  func: status,
  parameters: {
    flags: {
      ...gatewayFlagParameters,
      watch: { kind: "boolean", brief: "Look again every two seconds, and print what changed", default: false },
      output: outputFlagParameter,
    },
    aliases: { ...outputAliases, w: "watch" },
    positional: {
      kind: "tuple",
      parameters: [
        {
          brief: "Only this cluster; exit code 6 when it is offline",
          placeholder: "cluster",
          parse: toText,
          optional: true,
          async proposeCompletions() {
            return recallClusterNames(this);
          },
        },
      ],
    },
  },
  docs: { brief: "Show clusters and their agents", customUsage: ["", "prod", "prod --watch", "-o json"] },
});

async function status(this: CliContext, flags: StatusFlags, name?: string): Promise<void> {
  const gateway = await chooseGateway(this, flags);
  if (flags.watch) return watch(this, { flags, gateway, name });
  const clusters = await look(this, gateway, name);
  print(this, await renderListing(toListing(clusters, name, this.time.now()), flags.output));
  if (clusters.length === 0) say(this, "There is no cluster yet.  Try:  sallyport cluster add NAME");
  const [only] = clusters;
  if (name === undefined || only === undefined || only.agents.length > 0) return;
  throw new CommandError({
    code: "AGENT_OFFLINE",
    title: `No agent of cluster "${only.name}" is connected`,
    next: ["kubectl -n sallyport-system get pods    (somebody with direct access)", `sallyport status ${only.name} --watch`],
  });
}

async function look(context: CliContext, gateway: ChosenGateway, name: string | undefined): Promise<readonly ClusterSummary[]> {
  const clusters = await listReachableClusters(context, gateway);
  if (name === undefined) return clusters;
  const chosen = clusters.filter((cluster) => cluster.name === name);
  if (chosen.length === 0)
    throw new CommandError({ code: "CLUSTER_UNKNOWN", title: `There is no cluster "${name}" for you at ${gateway.url}` });
  return chosen;
}

interface Watch {
  readonly flags: StatusFlags;
  readonly gateway: ChosenGateway;
  readonly name: string | undefined;
}

/** Prints the listing whenever it differs from the last one, until the person interrupts. A lost gateway is told and looked for again. */
async function watch(context: CliContext, { flags, gateway, name }: Watch): Promise<void> {
  let before: string | undefined;
  while (!context.signal.aborted) {
    const now = await lookForWatch(context, { flags, gateway, name });
    if (now.text !== before) {
      if (now.isFailure) say(context, now.text);
      else print(context, before === undefined || flags.output !== "table" ? now.text : `\n${now.text}`);
    }
    before = now.text;
    try {
      await context.time.wait(watchIntervalMs);
    } catch (thrown) {
      if (context.signal.aborted) return;
      throw thrown;
    }
  }
}

async function lookForWatch(
  context: CliContext,
  { flags, gateway, name }: Watch,
): Promise<{ readonly text: string; readonly isFailure: boolean }> {
  try {
    const clusters = await look(context, gateway, name);
    // Ages would make every look differ, so a watch shows moments instead.
    return { text: await renderListing(toListing(clusters, name, undefined), flags.output), isFailure: false };
  } catch (thrown) {
    if (!(thrown instanceof CommandError) || thrown.failure.code !== "GATEWAY_UNREACHABLE") throw thrown;
    return { text: `${thrown.failure.title} (${thrown.failure.cause ?? ""}); looking again`, isFailure: true };
  }
}

/** With the nodes' service proxies where one cluster is asked for. */
function toListing(clusters: readonly ClusterSummary[], name: string | undefined, nowMs: number | undefined): Listing {
  const [only] = clusters;
  return {
    document: { clusters },
    names: clusters.map((cluster) => cluster.name),
    columns: ["CLUSTER", "STATE", "AGENT", "NODE", "VERSION", "LANES", "CONNECTED", "ROLES", "LAST ERROR"],
    rows: clusters.flatMap((cluster) =>
      cluster.agents.length === 0
        ? [[cluster.name, "offline", "", "", "", "", "", "", ""]]
        : cluster.agents.map((agent) => toRow(cluster, agent, nowMs)),
    ),
    details: name === undefined || only === undefined ? [] : describeNodes(only.agents, nowMs),
  };
}

function toRow(cluster: ClusterSummary, agent: AgentState, nowMs: number | undefined): readonly string[] {
  const connected = toAge(agent.connectedAt, nowMs);
  return [
    cluster.name,
    agent.lanes > 0 ? "online" : "connecting",
    agent.replica.slice(0, replicaDigits),
    agent.node ?? "",
    agent.version,
    String(agent.lanes),
    connected,
    describeRoles(agent.roles),
    agent.lastError ?? "",
  ];
}

/** Enough of a pod's UID to tell a cluster's few replicas apart; `-o json` has all of it. */
const replicaDigits = 8;

/** `tunnel=ready, service-proxy`: a role's own word for its state, when what it reports has one. */
function describeRoles(roles: Readonly<Record<string, unknown>>): string {
  return Object.entries(roles)
    .map(([role, report]) => {
      const word = typeof report === "string" ? report : stateOf(report);
      return word === undefined ? role : `${role}=${word}`;
    })
    .join(", ");
}

function stateOf(report: unknown): string | undefined {
  if (report === null || typeof report !== "object" || !("state" in report)) return undefined;
  return typeof report.state === "string" ? report.state : undefined;
}
