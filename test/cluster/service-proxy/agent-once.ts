/** A run of the service proxy that ends by itself, in a node's network and with the node's configuration. */
import { runCommand } from "#test/cluster/harness/command.ts";
import type { CommandResult } from "#test/cluster/harness/command.ts";
import type { Cluster } from "#test/cluster/harness/cluster.ts";
import type { NodePlan } from "#test/cluster/harness/network.ts";
import { serviceProxyCommand } from "#test/cluster/harness/service-proxy.ts";

/** Runs it with more arguments; `--dry-run` and `--cleanup` end by themselves. */
export async function startAgentOnce(cluster: Cluster, node: NodePlan, args: readonly string[]): Promise<CommandResult> {
  const { folder, network, apiservers } = cluster;
  if (network === undefined) throw new Error("the cluster has no nodes");
  const command = serviceProxyCommand(
    { folder, network, serviceProxy: "sallyport", apiserverUrls: apiservers.map(({ url }) => url) },
    node,
  );
  return runCommand("ip", ["netns", "exec", node.namespace, ...(command ?? []), ...args]);
}
