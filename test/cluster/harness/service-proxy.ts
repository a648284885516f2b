/** What serves Services on a node: kube-proxy, or the agent in its place with the same configuration and the same rights. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { clusterFiles } from "./cache.ts";
import type { NetworkPlan, NodePlan } from "./network.ts";

/** `none`: a test brings its own. */
export type ServiceProxyKind = "kube-proxy" | "sallyport" | "none";

interface ServiceProxyOptions {
  readonly folder: string;
  readonly network: NetworkPlan;
  readonly serviceProxy: ServiceProxyKind;
  readonly apiserverUrls: readonly string[];
}

const repository = path.resolve(import.meta.dirname, "../../..");

/** The command of a node's service proxy; undefined where there is none. */
export function serviceProxyCommand(options: ServiceProxyOptions, node: NodePlan): readonly [string, ...string[]] | undefined {
  const kubeconfig = path.join(options.folder, "kube-proxy.kubeconfig");
  // One for each node: kube-proxy ends when its file is written again.
  const file = path.join(options.folder, `kube-proxy-${node.name}.json`);
  writeFileSync(file, JSON.stringify(configuration(options.network, kubeconfig)));
  switch (options.serviceProxy) {
    case "kube-proxy":
      return [clusterFiles.kube, "kube-proxy", `--config=${file}`, `--hostname-override=${node.name}`];
    case "sallyport":
      return [
        process.execPath,
        path.join(repository, "src/agent/main.ts"),
        ...["--roles=service-proxy", `--config=${file}`, `--node=${node.name}`],
        ...options.apiserverUrls.map((url) => `--apiserver=${url}`),
      ];
    case "none":
      return undefined;
  }
}

function configuration({ podRanges }: NetworkPlan, kubeconfig: string): Readonly<Record<string, unknown>> {
  return {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    clusterCIDR: podRanges.join(","),
    clientConnection: { kubeconfig },
    // The connection table's size belongs to the host.
    conntrack: { maxPerCore: 0 },
  };
}
