/** The shipped Deployment of the role load-balancer, with its own image and rights, on nodes whose Services the role service-proxy serves. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildAgentImage } from "#test/cluster/harness/agent-image.ts";
import type { Cluster } from "#test/cluster/harness/cluster.ts";
import { startCluster } from "#test/cluster/harness/cluster.ts";
import { runCommand, waitUntil } from "#test/cluster/harness/command.ts";
import { kubectlPath, toolEnvironment } from "#test/cluster/harness/tools.ts";
import type { NodePlan } from "#test/cluster/harness/network.ts";

const manifests = "infra/manifests/load-balancer.yaml";
const namespace = "sallyport-load-balancer";
const serverImage = "registry.k8s.io/e2e-test-images/agnhost:2.56";
const startMs = 60_000;
const answerMs = 1_000;

let cluster: Cluster;
let nodes: readonly [NodePlan, NodePlan];

beforeAll(async () => {
  cluster = await startCluster({ nodes: 2, apiservers: 1, serviceProxy: "sallyport" });
  const [first, second] = cluster.network?.nodes ?? [];
  if (first === undefined || second === undefined) throw new Error("the cluster has two nodes");
  nodes = [first, second];
  const image = await buildAgentImage(cluster.folder);
  await cluster.importImage(image.archive);
  const text = readFileSync(manifests, "utf8").replaceAll("sallyport/agent:0.1.0", image.name);
  await cluster.admin(["apply", "--filename=-"], { stdin: text });
  const command = ["/agnhost", "netexec", "--http-port=8080", "--udp-port=8081"];
  await cluster.admin(["create", "deployment", "web", `--image=${serverImage}`, "--replicas=2", "--", ...command]);
  await cluster.waitForRollout("default", "deployment/web");
  await cluster.waitForRollout(namespace, `deployment/${namespace}`);
});

afterAll(() => cluster.stop());

/** A Service of our class in front of the pods, on a TCP and a UDP port. */
async function createService(name: string, spec: object = {}): Promise<void> {
  const service = {
    apiVersion: "v1",
    kind: "Service",
    metadata: { name },
    spec: {
      type: "LoadBalancer",
      loadBalancerClass: "sallyport.dev/node-ip",
      selector: { app: "web" },
      ports: [
        { name: "http", protocol: "TCP", port: 8090, targetPort: 8080 },
        { name: "echo", protocol: "UDP", port: 8091, targetPort: 8081 },
      ],
      ...spec,
    },
  };
  await cluster.admin(["create", "--filename=-"], { stdin: JSON.stringify(service) });
}

/** Waits until our condition of a Service has a status. */
async function untilCondition(name: string, status: "True" | "False"): Promise<void> {
  await cluster.admin(["wait", `--for=condition=sallyport.dev/LoadBalancerReady=${status}`, `service/${name}`, "--timeout=60s"]);
}

const field = (name: string, path: string) => cluster.admin(["get", "service", name, `--output=jsonpath=${path}`]);
const addressesOf = async (name: string) => (await field(name, "{.status.loadBalancer.ingress[*].ip}")).split(" ").filter(Boolean);

/** What comes back over TCP; empty when nothing does. */
async function askTcp(address: string, path = "/hostname"): Promise<string> {
  const { code, stdout } = await runCommand("curl", ["--silent", "--max-time", "2", `http://${address}:8090${path}`]);
  return code === 0 ? stdout : "";
}

/** What comes back over UDP; empty when nothing does. */
async function askUdp(address: string): Promise<string> {
  const socket = createSocket("udp4");
  try {
    socket.send("hostname", 8091, address);
    const [answer] = (await once(socket, "message", { signal: AbortSignal.timeout(answerMs) })) as [Buffer];
    return answer.toString();
  } catch {
    return ""; // no answer in time, or refused
  } finally {
    socket.close();
  }
}

const untilAnswered = (what: string, ask: () => Promise<string>) => waitUntil(what, startMs, async () => (await ask()).startsWith("web-"));

describe("a Service of type LoadBalancer", () => {
  test("gets the nodes' addresses, and packets reach its pods there over TCP and UDP", async () => {
    await createService("first");
    await untilCondition("first", "True");
    expect(await addressesOf("first")).toEqual(nodes.map(({ address }) => address));
    expect(await field("first", "{.status.loadBalancer.ingress[0].ipMode} {.metadata.finalizers}")).toBe(
      'VIP ["service.kubernetes.io/load-balancer-cleanup","sallyport.dev/node-ip"]',
    );
    for (const { address, name } of nodes) {
      await untilAnswered(`TCP at ${name}`, () => askTcp(address));
      await untilAnswered(`UDP at ${name}`, () => askUdp(address));
    }
  });

  test("is written through its status alone: the role may change no Service, node or other Lease", async () => {
    const subject = `--as=system:serviceaccount:${namespace}:${namespace}`;
    const env = toolEnvironment(cluster.adminKubeconfig);
    const kubectl = await kubectlPath("1.34");
    const may = async (...what: readonly string[]) =>
      (await runCommand(kubectl, ["auth", "can-i", ...what, subject], { env })).stdout.trim();
    expect(await may("patch", "services", "--subresource=status")).toBe("yes");
    for (const verb of ["update", "patch", "delete", "create"]) expect(await may(verb, "services")).toBe("no");
    expect([await may("patch", "nodes"), await may("get", "secrets"), await may("update", "leases", "--namespace=kube-system")]).toEqual([
      "no",
      "no",
      "no",
    ]);
  });

  test("tells what was done in events", async () => {
    const seen = async () =>
      cluster.admin(["get", "events", "--output=jsonpath={range .items[*]}{.involvedObject.name} {.reason}{'\\n'}{end}"]);
    await waitUntil("the events are there", startMs, async () => (await seen()).includes("first EnsuredLoadBalancer"));
    expect(await seen()).toContain("first EnsuringLoadBalancer");
  });

  test("that asks for a port which another has says why it waits", async () => {
    await createService("second");
    await untilCondition("second", "False");
    const [first, second] = nodes;
    expect(await addressesOf("second")).toEqual([]);
    expect(await field("second", "{.status.conditions[0].reason}: {.status.conditions[0].message}")).toBe(
      `PortConflict: port conflict: 8090/TCP is default/first's at ${first.name}; 8090/TCP is default/first's at ${second.name}`,
    );
  });

  test("is explained by the command line, without a change", async () => {
    const args = ["load-balancer", "plan", "--kubeconfig", cluster.adminKubeconfig];
    const { code, stdout } = await runCommand(process.execPath, ["src/cli/main.ts", ...args]);
    const [first, second] = nodes;
    expect([code, ...stdout.trim().split("\n")]).toEqual([
      0,
      "node-ip: 2 of 2 nodes",
      `default/first: keep ${first.address} ${second.address}`,
      `default/second: pending, port conflict: 8090/TCP is default/first's at ${first.name}; 8090/TCP is default/first's at ${second.name}`,
    ]);
  });

  test("leaves nothing when it is deleted, and what waited for its ports gets them", async () => {
    await cluster.admin(["delete", "service", "first", "--timeout=60s"]);
    await untilCondition("second", "True");
    expect(await addressesOf("second")).toEqual(nodes.map(({ address }) => address));
    await untilAnswered("TCP at the next Service", () => askTcp(nodes[0].address));
    await cluster.admin(["delete", "service", "second", "--timeout=60s"]);
    await waitUntil("the nodes refuse", startMs, async () => (await askTcp(nodes[0].address)) === "");
    for (const { namespace: netns } of nodes) {
      const { stdout } = await runCommand("ip", ["netns", "exec", netns, "nft", "list", "table", "ip", "sallyport"]);
      expect(stdout).not.toContain("8090");
    }
  });

  test("that becomes another type loses addresses, finalizers and condition, and stays", async () => {
    await createService("changed", { ports: [{ protocol: "TCP", port: 8093, targetPort: 8080 }] });
    await untilCondition("changed", "True");
    await cluster.admin([
      "patch",
      "service",
      "changed",
      "--patch",
      JSON.stringify({ spec: { type: "ClusterIP", loadBalancerClass: null } }),
    ]);
    const left = () => field("changed", "{.metadata.finalizers}{.status.conditions}{.status.loadBalancer.ingress}");
    await waitUntil("nothing is left at it", startMs, async () => (await left()) === "");
    expect(await field("changed", "{.spec.type}")).toBe("ClusterIP");
  });

  test("for local endpoints alone gets the nodes that have one, and pods see who asks", async () => {
    await cluster.admin(["scale", "deployment/web", "--replicas=1"]);
    await createService("local", { externalTrafficPolicy: "Local" });
    const pods = () => cluster.admin(["get", "pods", "--selector=app=web", "--output=jsonpath={.items[*].spec.nodeName}"]);
    await waitUntil("one pod is left", startMs, async () => !(await pods()).includes(" "));
    const home = await pods();
    const address = nodes.find(({ name }) => name === home)?.address ?? "";
    await waitUntil("its address is the pod's node", startMs, async () => (await addressesOf("local")).join() === address);
    await untilAnswered("TCP at the pod's node", () => askTcp(address));
    expect(await askTcp(address, "/clientip")).toMatch(new RegExp(`^${cluster.hostAddress}:`));
  });
});

describe("a replica that works", () => {
  test("is followed by the other when it is stopped, with no change to what Services have", async () => {
    const holder = async () =>
      cluster.admin([
        "--namespace",
        namespace,
        "get",
        "lease",
        "sallyport-load-balancer-node-ip",
        "--output=jsonpath={.spec.holderIdentity}",
      ]);
    const before = await field("local", "{.metadata.resourceVersion}");
    const first = await holder();
    await cluster.admin(["--namespace", namespace, "delete", "pod", first]);
    await waitUntil("another holds the Lease", startMs, async () => ![first, ""].includes(await holder()));
    await createService("next", { ports: [{ protocol: "TCP", port: 8092, targetPort: 8080 }] });
    await untilCondition("next", "True");
    expect(await field("local", "{.metadata.resourceVersion}")).toBe(before);
  });
});
