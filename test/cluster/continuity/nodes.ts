/** The nodes' service proxies in `sallyport status`: from the role on a node, through its Lease, the agent and the gateway, to a person. */
import { writeFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

import { adminAudience, clusterName } from "#test/cluster/fixture/names.ts";
import { ann } from "#test/cluster/fixture/people.ts";
import { type GatewaySystem, waitForAgents } from "#test/cluster/fixture/system.ts";
import { startCommand, waitUntil } from "#test/cluster/harness/command.ts";
import { LineReader } from "#test/cluster/harness/line-reader.ts";

const proxyNamespace = "sallyport-service-proxy";
/** The role looks every 5 s, the agent every 30 s, and tells every 30 s. */
const shownMs = 120_000;

/** Registers the tests. */
export function nodeTests(system: () => GatewaySystem): void {
  test("a node's service proxy is shown once it is installed, and not before", async () => {
    const { cluster } = system();
    const sallyport = await system().sallyport(ann, adminAudience);
    expect(await sallyport.must(["status", clusterName])).not.toContain("SERVICE PROXY");
    await cluster.admin(["create", "namespace", proxyNamespace]);
    try {
      await cluster.admin(["apply", "-f", "infra/rbac/service-proxy.yaml"]);
      const [node] = cluster.network?.nodes ?? [];
      if (node === undefined) throw new Error("the cluster has nodes");
      await startServiceProxy(system(), node);
      await restartAgents(system());
      await waitUntil("the node is shown", shownMs, async () => (await sallyport.must(["status", clusterName])).includes("SERVICE PROXY"));
      await waitUntil("its rules are there", shownMs, async () =>
        new RegExp(`^${node.name} +synced +\\d+s ago +\\d+`, "m").test(await sallyport.must(["status", clusterName])),
      );
      const { clusters } = JSON.parse(await sallyport.must(["status", clusterName, "-o", "json"])) as StatusDocument;
      const reports = clusters[0]?.agents.flatMap(({ roles }) => roles["service-proxy"] ?? []) ?? [];
      expect(reports[0]).toMatchObject({ state: "synced", nodes: 1, notSynced: 0, listed: [{ node: node.name, state: "synced" }] });
      // Cluster IPs are no addresses of the node, so that none can be listened at.
      expect(reports[0]).toMatchObject({ listed: [{ lastError: expect.stringMatching(/^\d+ of \d+ frontends are not served: TCP /) }] });
      const owner = "jsonpath={.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}";
      expect(await cluster.admin(["-n", proxyNamespace, "get", "lease", node.name, "-o", owner])).toBe(`Node/${node.name}`);
    } finally {
      await cluster.admin(["delete", "namespace", proxyNamespace]);
    }
  });
}

/** What `sallyport status -o json` documents, as far as it is read here. */
interface StatusDocument {
  readonly clusters: readonly { readonly agents: readonly { readonly roles: Readonly<Record<string, unknown>> }[] }[];
}

/** By sockets and at ports of its own, beside the node's kube-proxy, with the rights that are shipped. */
async function startServiceProxy({ cluster, folder, onStart }: GatewaySystem, node: { readonly name: string; readonly namespace: string }) {
  const token = await cluster.admin(["-n", proxyNamespace, "create", "token", proxyNamespace]);
  const kubeconfig = cluster.kubeconfigFor("node-state", { type: "token", token: token.trim() });
  const file = path.join(folder, "node-state.json");
  const configuration = {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    healthzBindAddress: "127.0.0.1:20256",
    metricsBindAddress: "127.0.0.1:20249",
  };
  writeFileSync(file, JSON.stringify(configuration));
  const role = ["agent", "--roles=service-proxy", "--dataplane=userspace", `--node=${node.name}`, `--config=${file}`];
  const command = [
    "netns",
    "exec",
    node.namespace,
    process.execPath,
    path.resolve("dist/sallyport.js"),
    ...role,
    `--kubeconfig=${kubeconfig}`,
  ];
  onStart(new LineReader("service-proxy", startCommand("ip", command), (text) => text));
}

/** An agent that was refused looks again after minutes; a new one looks at once. */
async function restartAgents(system: GatewaySystem): Promise<void> {
  await system.cluster.admin(["-n", "sallyport-system", "delete", "pods", "-l", "app.kubernetes.io/name=sallyport-agent"]);
  await waitForAgents(system);
}
