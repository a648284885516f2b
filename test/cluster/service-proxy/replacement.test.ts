/** The agent in kube-proxy's place on the nodes of a real cluster: what pods, nodes and outsiders reach, and what its end leaves behind. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runCommand, waitUntil } from "#test/cluster/harness/command.ts";
import { startCluster } from "#test/cluster/harness/cluster.ts";
import type { Cluster } from "#test/cluster/harness/cluster.ts";
import type { NodePlan } from "#test/cluster/harness/network.ts";
import { startAgentOnce } from "./agent-once.ts";

const image = "registry.k8s.io/e2e-test-images/agnhost:2.56";
const startMs = 60_000;

let cluster: Cluster;
let nodes: readonly [NodePlan, NodePlan];
let clusterIp: string;
let nodePort: string;

beforeAll(async () => {
  cluster = await startCluster({ nodes: 2, apiservers: 2, serviceProxy: "sallyport" });
  const [first, second] = cluster.network?.nodes ?? [];
  if (first === undefined || second === undefined) throw new Error("the cluster has two nodes");
  nodes = [first, second];
  const command = ["/agnhost", "netexec", "--http-port=8080", "--udp-port=8081"];
  await cluster.admin(["create", "deployment", "web", `--image=${image}`, "--replicas=2", "--", ...command]);
  await cluster.admin(["expose", "deployment", "web", "--port=80", "--target-port=8080", "--type=NodePort"]);
  await cluster.waitForRollout("default", "deployment/web");
  clusterIp = await cluster.admin(["get", "service", "web", "--output=jsonpath={.spec.clusterIP}"]);
  nodePort = await cluster.admin(["get", "service", "web", "--output=jsonpath={.spec.ports[0].nodePort}"]);
  await Promise.all(nodes.map((node) => untilServed(node)));
});

afterAll(() => cluster.stop());

/** What a process of a node gets from a URL; empty when there is no answer. */
async function ask(node: NodePlan, url: string): Promise<string> {
  const asked = await runCommand("ip", ["netns", "exec", node.namespace, "curl", "--silent", "--max-time", "5", url]);
  return asked.code === 0 ? asked.stdout : "";
}

/** Every pod that answers at a URL, as far as many tries tell: with two pods the odds of missing one are 1 in 2^31. */
async function askMany(node: NodePlan, url: string): Promise<readonly string[]> {
  const answers = await Promise.all(Array.from({ length: 32 }, () => ask(node, url)));
  return [...new Set(answers)].toSorted();
}

/** Waits until a node's rules know all pods: a rollout is over when the pods are ready, which is before anybody's rules are. */
async function untilServed(node: NodePlan): Promise<void> {
  await waitUntil(`${node.name} serves all pods`, startMs, async () => {
    const [answers, pods] = await Promise.all([askMany(node, `http://${clusterIp}/hostname`), podNames()]);
    return answers.join() === pods.join();
  });
}

async function podNames(): Promise<readonly string[]> {
  const names = await cluster.admin(["get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].metadata.name}"]);
  return names.split(" ").toSorted();
}

describe("Services without kube-proxy", () => {
  test("spread over all pods from each node", async () => {
    const pods = await podNames();
    for (const node of nodes) expect(await askMany(node, `http://${clusterIp}/hostname`)).toEqual(pods);
  });

  test("answer at the node port of every node, from outside and at localhost", async () => {
    const pods = await podNames();
    for (const node of nodes) {
      const outside = await runCommand("curl", ["--silent", "--max-time", "5", `http://${node.address}:${nodePort}/hostname`]);
      expect(pods).toContain(outside.stdout);
      expect(pods).toContain(await ask(node, `http://127.0.0.1:${nodePort}/hostname`));
    }
  });

  test("answer to pods, and to the pod that asks for itself", async () => {
    const pods = await podNames();
    for (const pod of pods) {
      const loop = `for i in $(seq 32); do curl --silent --max-time 5 http://${clusterIp}/hostname; echo; done | sort -u`;
      const answers = await cluster.admin(["exec", pod, "--", "sh", "-c", loop]);
      expect(answers.trim().split("\n").toSorted()).toEqual(pods);
    }
  });

  test("say who they are where kube-proxy does", async () => {
    for (const node of nodes) {
      expect(JSON.parse(await ask(node, "http://127.0.0.1:10256/healthz"))).toMatchObject({ nodeEligible: true, healthy: true });
      expect(await ask(node, "http://127.0.0.1:10249/proxyMode")).toBe("nftables");
      expect(await ask(node, "http://127.0.0.1:10249/metrics")).toContain("kubeproxy_sync_proxy_rules_duration_seconds_count");
    }
  });

  test("refuse at once when the last pod has gone, and answer again with the next", async () => {
    await cluster.admin(["scale", "deployment/web", "--replicas=0"]);
    const refused = async (): Promise<boolean> => {
      const asked = await runCommand("ip", ["netns", "exec", nodes[0].namespace, "curl", "--silent", `http://${clusterIp}/`]);
      return asked.code === connectionRefused;
    };
    await waitUntil("the Service refuses", startMs, refused);
    await cluster.admin(["scale", "deployment/web", "--replicas=2"]);
    await cluster.waitForRollout("default", "deployment/web");
    await untilServed(nodes[0]);
  });
});

/** curl's exit code for a connection that was refused, as opposed to one that timed out (28). */
const connectionRefused = 7;

describe("an agent that ends", () => {
  test("leaves Services working after a crash, and takes them over again", async () => {
    const [node] = nodes;
    await cluster.kill(`service-proxy-${node.name}`);
    expect(await askMany(node, `http://${clusterIp}/hostname`)).toEqual(await podNames());
    cluster.restart(`service-proxy-${node.name}`);
    await cluster.admin(["delete", "pods", "--selector=app=web", "--wait=true"]);
    await cluster.waitForRollout("default", "deployment/web");
    await untilServed(node);
  });

  test("prints its rules when asked, without a change to the machine", async () => {
    const { code, stdout } = await startAgentOnce(cluster, nodes[0], ["--dry-run"]);
    expect(code).toBe(0);
    expect(stdout).toContain("add table ip sallyport");
    expect(stdout).toContain(clusterIp);
    expect(await ask(nodes[0], `http://${clusterIp}/hostname`)).toMatch(/^web-/);
  });

  test("explains what a packet to a Service meets, without a change to the machine", async () => {
    const [node] = nodes;
    const addresses = await cluster.admin(["get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].status.podIP}"]);
    const endpoints = addresses.split(" ").map((address) => `${address}:8080`);
    const { code, stdout } = await startAgentOnce(cluster, node, ["--trace=default/web:80"]);
    expect(code).toBe(0);
    const lines = stdout.split("\n");
    expect(lines[0]).toBe(`Service default/web (NodePort), on node ${node.name} (no zone)`);
    const [toPods = ""] = lines.filter((line) => line.startsWith(`  cluster IP ${clusterIp}:80: to `));
    expect(toPods.split(": to ")[1]?.split(" ").toSorted()).toEqual(endpoints.toSorted());
    expect(lines).toContain(`  node port ${nodePort} at ${node.address}: to ${toPods.split(": to ")[1]}`);
    for (const endpoint of endpoints)
      expect(lines.find((line) => line.startsWith(`  ${endpoint} `))).toMatch(/ready, (here|elsewhere) +used +(used|on another node)$/);
    expect(await ask(node, `http://${clusterIp}/hostname`)).toMatch(/^web-/);
  });

  test("counts the connections that the node has to a Service's addresses", async () => {
    const [node] = nodes;
    expect(await ask(node, `http://${clusterIp}/hostname`)).toMatch(/^web-/);
    const { code, stdout } = await startAgentOnce(cluster, node, ["--trace=default/web:80", "--connections"]);
    expect(code).toBe(0);
    // A connection that is over stays in the kernel's table for two minutes.
    expect(stdout).toMatch(new RegExp(`^  connections to ${clusterIp}:80 now: [1-9]\\d* \\(\\d+ to [0-9.]+:8080`, "m"));
    expect(stdout).toMatch(new RegExp(`^  connections to ${node.address}:${nodePort} now: \\d+`, "m"));
  });

  test("removes what is its own when told to clean up, and nothing else", async () => {
    const [, node] = nodes;
    await cluster.kill(`service-proxy-${node.name}`);
    const nft = async (...args: readonly string[]) => runCommand("ip", ["netns", "exec", node.namespace, "nft", ...args]);
    await nft("add", "table", "ip", "foreign");
    expect((await nft("list", "tables")).stdout).toContain("sallyport");
    expect(await startAgentOnce(cluster, node, ["--cleanup"])).toMatchObject({ code: 0 });
    expect((await nft("list", "tables")).stdout.trim()).toBe("table ip foreign");
  });
});
