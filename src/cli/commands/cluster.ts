/** `sallyport cluster`: what gateway admins do with clusters. */
import { buildCommand, buildRouteMap } from "@stricli/core";
import { print, say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { getCluster, removeCluster } from "#cli/gateway/client.ts";
import { chooseGateway, listReachableClusters, recallClusterNames, signedInClient } from "#cli/gateway/connection.ts";
import type { GatewayFlags } from "#cli/gateway/connection.ts";
import { agentNamespace } from "#cli/manifests/agent-options.ts";
import { CommandError, usageError } from "#cli/output/failure.ts";
import { renderListing } from "#cli/output/format.ts";
import type { OutputFormat } from "#cli/output/format.ts";
import { readPlan } from "#cli/registration/plan.ts";
import { addCommand } from "./cluster-add.ts";
import { clusterNameParameter, manifestFlagParameters, parseName, renderManifests } from "./cluster-flags.ts";
import type { ManifestFlags } from "./cluster-flags.ts";
import { gatewayFlagParameters, outputAliases, outputFlagParameter, yesFlagParameter } from "./flags.ts";

interface ListFlags extends GatewayFlags {
  readonly output: OutputFormat;
}

interface RemoveFlags extends GatewayFlags {
  readonly yes: boolean;
}

const listCommand = buildCommand<ListFlags, [], CliContext>({
  func: list,
  parameters: { flags: { ...gatewayFlagParameters, output: outputFlagParameter }, aliases: outputAliases },
  docs: { brief: "List the clusters", customUsage: ["", "-o json", "-o name"] },
});

const removeCommand = buildCommand<RemoveFlags, [string], CliContext>({
  func: remove,
  parameters: {
    flags: { ...gatewayFlagParameters, yes: yesFlagParameter },
    aliases: { y: "yes" },
    positional: {
      kind: "tuple",
      parameters: [
        {
          ...clusterNameParameter,
          async proposeCompletions() {
            return recallClusterNames(this);
          },
        },
      ],
    },
  },
  docs: { brief: "Remove a cluster from the gateway", customUsage: ["prod", "prod --yes"] },
});

const manifestsCommand = buildCommand<ManifestFlags, [string], CliContext>({
  func: manifests,
  parameters: { flags: manifestFlagParameters, positional: { kind: "tuple", parameters: [clusterNameParameter] } },
  docs: {
    brief: "Print the agent's manifests again, from the same settings as `cluster add`",
    customUsage: ["prod --authentication-config auth.yaml --allow-group 'oidc:*' | kubectl apply -f -"],
  },
});

export const command = buildRouteMap({
  routes: { add: addCommand, list: listCommand, remove: removeCommand, manifests: manifestsCommand },
  docs: { brief: "Add, list and remove clusters (gateway admins)" },
});

async function list(this: CliContext, flags: ListFlags): Promise<void> {
  const clusters = await listReachableClusters(this, await chooseGateway(this, flags));
  const text = await renderListing(
    {
      document: { clusters },
      names: clusters.map((cluster) => cluster.name),
      columns: ["NAME", "URL", "AGENTS", "CREATED"],
      rows: clusters.map(({ name, url, agents, createdAt }) => [name, url, String(agents.length), createdAt]),
    },
    flags.output,
  );
  print(this, text);
  if (clusters.length === 0) say(this, "There is no cluster yet.  Try:  sallyport cluster add NAME");
}

async function remove(this: CliContext, flags: RemoveFlags, nameText: string): Promise<void> {
  const name = parseName(nameText);
  const gateway = await chooseGateway(this, flags);
  const client = await signedInClient(this, { gateway: gateway.url, cluster: undefined });
  if (!flags.yes) {
    if (!this.terminal.input || !this.terminal.error)
      throw usageError(`Removing "${name}" needs a confirmation, and there is no terminal to ask`, "Give --yes.");
    const cluster = await getCluster(client, name);
    say(this, `Cluster "${name}" at ${cluster.url} has ${cluster.agents.length} agents connected. Its users lose access at once.`);
    if ((await this.ask(`Type the name to remove it: `)).trim() !== name)
      throw new CommandError({ code: "CANCELLED", title: `"${name}" was not removed` });
  }
  await removeCluster(client, name);
  say(this, `Removed cluster "${name}". The agent is still installed there; remove it with:\n  kubectl delete namespace ${agentNamespace}`);
}

async function manifests(this: CliContext, flags: ManifestFlags, nameText: string): Promise<void> {
  const name = parseName(nameText);
  const plan = await readPlan(flags);
  const gateway = await chooseGateway(this, flags);
  print(this, renderManifests({ name, gateway, flags, plan }));
}
