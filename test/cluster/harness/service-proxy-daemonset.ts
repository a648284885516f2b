/** The shipped service proxy on a test cluster's nodes, as a user would install it: its image, its DaemonSet, its rights. */
import { readFileSync } from "node:fs";
import path from "node:path";

import { buildAgentImage } from "./agent-image.ts";
import type { Cluster } from "./cluster.ts";

const manifests = path.resolve(import.meta.dirname, "../../../infra/manifests/service-proxy.yaml");
/** What a user puts in the place of the example's values. */
const example = {
  image: "sallyport/service-proxy:0.1.0",
  apiserver: '- "--apiserver=https://apiserver.example.com:6443"',
  podRange: "clusterCIDR: 10.244.0.0/16",
} as const;

/** Installs it on a cluster that was started with `serviceProxy: "none"`, and waits until it runs on every node. */
export async function installServiceProxy(cluster: Cluster): Promise<void> {
  const image = await buildAgentImage(cluster.folder, "service-proxy");
  await cluster.importImage(image.archive);
  const addresses = cluster.apiservers.map(({ url }) => `- "--apiserver=${url}"`).join("\n            ");
  // The connection table's size belongs to the host.
  const configuration = `clusterCIDR: ${cluster.network?.podRanges.join(",") ?? ""}\n    conntrack: { maxPerCore: 0 }`;
  const text = readFileSync(manifests, "utf8")
    .replaceAll(example.image, image.name)
    .replace(example.apiserver, addresses)
    .replace(example.podRange, configuration);
  await cluster.admin(["apply", "--filename=-"], { stdin: text });
  await cluster.waitForRollout("sallyport-service-proxy", "daemonset/sallyport-service-proxy");
}
