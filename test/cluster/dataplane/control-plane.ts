/** A real control plane with the test's objects in it, and kube-proxy fed by it. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import path from "node:path";

import type { ClusterObjects } from "#agent/dataplane/objects.ts";
import { type Cluster, startCluster } from "../harness/cluster.ts";
import { clusterFiles } from "../harness/cache.ts";
import { runCommand, waitUntil } from "../harness/command.ts";
import { Processes } from "../harness/processes.ts";
import type { Assigned } from "./cells.ts";
import { type ApiEndpointSlice, type ApiService, toClusterObjects } from "./cluster-objects.ts";
import { nodeZone, type Manifest, serviceCases, serviceManifest, sliceManifests, statusManifest } from "./services.ts";
import { addresses, nodeName, type World } from "./world.ts";

const serviceCidrs = ["10.96.0.0/16", "fd00:96::/112"] as const;
const proxyStartMs = 60_000;
/** Where kube-proxy finds the API server inside its network namespace. */
const forwardedPort = 6443;

export async function startControlPlane(): Promise<Cluster> {
  return startCluster({ nodes: 0, apiservers: 1, apiserverFlags: [`--service-cluster-ip-range=${serviceCidrs.join(",")}`] });
}

/** Makes the node, the Services and their EndpointSlices; returns what the API server gave to the Services. */
export async function createObjects(cluster: Cluster): Promise<ReadonlyMap<string, Assigned>> {
  await ask(cluster, "POST", "/api/v1/nodes", { metadata: { name: nodeName, labels: { "topology.kubernetes.io/zone": nodeZone } } });
  const status = { addresses: [addresses.node.IPv4, addresses.node.IPv6].map((address) => ({ type: "InternalIP", address })) };
  await ask(cluster, "PATCH", `/api/v1/nodes/${nodeName}/status`, { status });
  const assigned = new Map<string, Assigned>();
  for (const one of serviceCases) {
    const service = await ask<ApiService>(cluster, "POST", `${namespaced}/services`, serviceManifest(one));
    const [IPv4 = "", IPv6 = ""] = service.spec.clusterIPs;
    const nodePortOf = (protocol: string): number => service.spec.ports.find((port) => port.protocol === protocol)?.nodePort ?? 0;
    assigned.set(one.name, { clusterIps: { IPv4, IPv6 }, nodePorts: { TCP: nodePortOf("TCP"), UDP: nodePortOf("UDP") } });
    await ask(cluster, "PATCH", `${namespaced}/services/${one.name}/status`, statusManifest(one));
    for (const slice of sliceManifests(one)) await ask(cluster, "POST", slicesPath, slice);
  }
  return assigned;
}

/** Reads the objects back as the API server keeps them. */
export async function readObjects(cluster: Cluster): Promise<ClusterObjects> {
  const services = await ask<{ items: readonly ApiService[] }>(cluster, "GET", "/api/v1/services");
  const slices = await ask<{ items: readonly ApiEndpointSlice[] }>(cluster, "GET", "/apis/discovery.k8s.io/v1/endpointslices");
  const node = {
    name: nodeName,
    uid: "",
    internalIps: [addresses.node.IPv4, addresses.node.IPv6],
    zone: nodeZone,
    podCidrs: [],
    isEligible: true,
  };
  return toClusterObjects(services.items, slices.items, { node, serviceCidrs });
}

export interface RunningProxy {
  stop(): Promise<void>;
}

/** The API server listens on the host's loopback; a Unix socket leads there from another network namespace. */
async function forwardToApiserver(cluster: Cluster, world: World): Promise<{ close(): void }> {
  const url = new URL(cluster.apiservers[0]?.url ?? "");
  const socketPath = path.join(cluster.folder, `${randomUUID().slice(0, 8)}.sock`);
  const server = createServer((socket) => {
    const upstream = connect(Number(url.port), url.hostname);
    for (const end of [socket, upstream]) end.on("error", () => [socket, upstream].forEach((other) => other.destroy()));
    socket.pipe(upstream);
    upstream.pipe(socket);
  });
  server.listen(socketPath);
  await once(server, "listening");
  await world.peer("node").forward(forwardedPort, socketPath);
  return { close: () => server.close() };
}

/** Starts kube-proxy in a world and waits until its rules are there. */
export async function startKubeProxy(cluster: Cluster, world: World, flags: readonly string[], last: Assigned): Promise<RunningProxy> {
  const bridge = await forwardToApiserver(cluster, world);
  const kubeconfig = path.join(cluster.folder, `${world.name}.kubeconfig`);
  writeFileSync(kubeconfig, proxyKubeconfig(cluster));
  const processes = new Processes(path.join(cluster.folder, world.name));
  const common = [
    `--kubeconfig=${kubeconfig}`,
    "--proxy-mode=nftables",
    `--hostname-override=${nodeName}`,
    // The connection table's size belongs to the host.
    "--conntrack-max-per-core=0",
  ];
  processes.start({ name: "kube-proxy", command: world.onNode([clusterFiles.kube, "kube-proxy", ...common, ...flags]) });
  await waitUntil("kube-proxy's rules", proxyStartMs, async () => {
    const [program, ...args] = world.onNode(["nft", "list", "map", "ip6", "kube-proxy", "service-ips"]);
    return (await runCommand(program, args)).stdout.includes(`${last.clusterIps.IPv6} . tcp . 80`);
  });
  return {
    stop: async () => {
      await processes.stop("kube-proxy");
      bridge.close();
    },
  };
}

const namespaced = "/api/v1/namespaces/default";
const slicesPath = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

async function ask<Answer>(cluster: Cluster, method: string, at: string, body?: Manifest): Promise<Answer> {
  const [apiserver] = cluster.apiservers;
  if (apiserver === undefined) throw new Error("a cluster has an apiserver");
  const contentType = method === "PATCH" ? { contentType: "application/merge-patch+json" } : {};
  const answer = await apiserver.ask({ method, path: at, ...(body === undefined ? {} : { body }), ...contentType });
  if (answer.status >= 300) throw new Error(`${method} ${at} was answered with ${answer.status}: ${answer.text}`);
  // The test's own objects, as the API server completes them.
  return JSON.parse(answer.text) as Answer;
}

function proxyKubeconfig(cluster: Cluster): string {
  const pki = (name: string): string => path.join(cluster.folder, "pki", name);
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "cluster", cluster: { server: `https://127.0.0.1:${forwardedPort}`, "certificate-authority": pki("ca.crt") } }],
    users: [{ name: "user", user: { "client-certificate": pki("kube-proxy.crt"), "client-key": pki("kube-proxy.key") } }],
    contexts: [{ name: "context", context: { cluster: "cluster", user: "user" } }],
    "current-context": "context",
  });
}
