/** The shipped DaemonSet with its own image, rights and capability, on nodes that have no service proxy. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Cluster } from "#test/cluster/harness/cluster.ts";
import { startCluster } from "#test/cluster/harness/cluster.ts";
import { runCommand, waitUntil } from "#test/cluster/harness/command.ts";
import { installServiceProxy } from "#test/cluster/harness/service-proxy-daemonset.ts";

const startMs = 60_000;
/** The kubelet brings a changed ConfigMap to its mount within some 90 s. */
const changeMs = 160_000;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ nodes: 1, apiservers: 2, serviceProxy: "none" });
  await installServiceProxy(cluster);
});

afterAll(() => cluster.stop());

test("the DaemonSet becomes ready with one capability and the rights that it names", async () => {
  await cluster.waitForRollout("sallyport-service-proxy", "daemonset/sallyport-service-proxy");
  const logs = () => cluster.admin(["--namespace=sallyport-service-proxy", "logs", "daemonset/sallyport-service-proxy"]);
  await waitUntil("the rules are there", startMs, async () => (await logs()).includes('"event":"synced"'));
});

test("the apiservers' own Service works on the node then", async () => {
  const [node] = cluster.network?.nodes ?? [];
  const asked = ["--silent", "--insecure", "--max-time", "5", "https://10.96.0.1/livez"];
  const { stdout } = await runCommand("ip", ["netns", "exec", node?.namespace ?? "", "curl", ...asked]);
  // Without a token nobody is let in, which an apiserver says in a Status.
  expect(stdout).toMatch(/^ok$|"kind": "Status"/);
});

test("a changed configuration takes effect by itself", async () => {
  const own = ["--namespace=sallyport-service-proxy"];
  const configuration = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\n";
  const patch = JSON.stringify({ data: { "config.conf": `${configuration}nftables: { minSyncPeriod: 2s }\n` } });
  await cluster.admin([...own, "patch", "configmap", "sallyport-service-proxy", "--type=merge", `--patch=${patch}`]);
  const restarts = "--output=jsonpath={.items[0].status.containerStatuses[0].restartCount}";
  await waitUntil("the pod starts anew", changeMs, async () => (await cluster.admin([...own, "get", "pods", restarts])) === "1");
  const ended = "--output=jsonpath={.items[0].status.containerStatuses[0].lastState.terminated.message}";
  expect(await cluster.admin([...own, "get", "pods", ended])).toContain("config.conf has changed");
  const [node] = cluster.network?.nodes ?? [];
  const asked = async () =>
    runCommand("ip", ["netns", "exec", node?.namespace ?? "", "curl", "--silent", "http://127.0.0.1:10249/configz"]);
  await waitUntil("it runs with the new file", startMs, async () => (await asked()).stdout.includes('"minSyncPeriod":"2s"'));
});
