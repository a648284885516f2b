/** The nodes of a test cluster: each a containerd, a kubelet and a service proxy in a network namespace of its own. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";

import { clusterFiles } from "./cache.ts";
import { mustRun, runCommand, waitUntil } from "./command.ts";
import type { NetworkPlan, NodePlan } from "./network.ts";
import { serviceProxyCommand } from "./service-proxy.ts";
import type { ServiceProxyKind } from "./service-proxy.ts";
import { findProcesses, killAll, type Processes, type Program } from "./processes.ts";

const containerdStartMs = 30_000;
const kubeletStartMs = 120_000;
/** Not below a kubelet's root directory (k8s.io/kubelet, deviceplugin/v1beta1). */
const devicePluginSocket = "/var/lib/kubelet/device-plugins/kubelet.sock";
const controlGroups = "/sys/fs/cgroup";
/** Where the CNI plugins note which network namespace they gave to whom. */
const pluginResults = "/var/lib/cni/results";

export interface NodeOptions {
  readonly folder: string;
  readonly network: NetworkPlan;
  readonly processes: Processes;
  readonly serviceProxy: ServiceProxyKind;
  readonly apiserverUrls: readonly string[];
}

/** Starts one node but for its kubelet. */
export async function startNode(options: NodeOptions, node: NodePlan): Promise<void> {
  const folder = nodeFolder(options.folder, node);
  mkdirSync(path.join(folder, "cni"), { recursive: true });
  makeControlGroup(node);
  writeFileSync(path.join(folder, "cni", "10-pods.conflist"), JSON.stringify(podNetwork(folder, node)));
  writeFileSync(path.join(folder, "containerd.toml"), containerdConfiguration(folder));
  writeFileSync(path.join(folder, "kubelet.json"), JSON.stringify(kubeletConfiguration(options, node)));
  options.processes.start(onNode(node, `containerd-${node.name}`, ["containerd", "--config", path.join(folder, "containerd.toml")]));
  await waitUntil(
    `containerd of ${node.name}`,
    containerdStartMs,
    async () => (await runCommand("ctr", ["-a", socketOf(folder), "version"])).code === 0,
  );
  for (const image of clusterFiles.images) await importImage(options.folder, node, image);
  const serviceProxy = serviceProxyCommand(options, node);
  if (serviceProxy !== undefined) options.processes.start(onNode(node, `service-proxy-${node.name}`, serviceProxy));
}

/**
 * Starts a node's kubelet; the node is ready when the apiserver says so. The next one may start when this is over: every kubelet of a machine
 * makes its socket for device plugins anew at the same place, and one that comes between another's removal and its own listening ends both.
 */
export async function startKubelet(options: NodeOptions, node: NodePlan): Promise<void> {
  const before = changedAt(devicePluginSocket);
  const command = kubeletCommand(options.folder, nodeFolder(options.folder, node), node);
  options.processes.start(onNode(node, `kubelet-${node.name}`, command));
  await waitUntil(`the kubelet of ${node.name} listens for device plugins`, kubeletStartMs, async () => {
    const now = changedAt(devicePluginSocket);
    return now !== undefined && now !== before;
  });
}

function changedAt(file: string): bigint | undefined {
  return statSync(file, { bigint: true, throwIfNoEntry: false })?.ctimeNs;
}

/** Gives a node a container image from a docker or OCI archive. */
export async function importImage(clusterFolder: string, node: NodePlan, archive: string): Promise<void> {
  await mustRun("ctr", ["-a", socketOf(nodeFolder(clusterFolder, node)), "-n", "k8s.io", "images", "import", archive]);
}

/** Ends all that runs on a node and removes its traces on the host, whoever started it. */
export async function removeNode(clusterFolder: string, node: NodePlan): Promise<void> {
  const folder = nodeFolder(clusterFolder, node);
  // Shims carry their containerd's socket on the command line; containers are in the node's control group.
  for (let left = strays(folder, node); left.length > 0; left = strays(folder, node)) await killAll(left);
  for (const mount of mountsUnder(folder)) await runCommand("umount", ["-l", mount]);
  await removePodNetworks(node);
  for (const hierarchy of hierarchies()) removeControlGroup(path.join(hierarchy, node.namespace));
  rmSync(folder, { recursive: true, force: true });
}

function strays(folder: string, node: NodePlan): readonly number[] {
  return [...findProcesses(`${folder}/`), ...findProcesses(`/${node.namespace}/`)];
}

function nodeFolder(clusterFolder: string, node: NodePlan): string {
  return path.join(clusterFolder, node.name);
}

function socketOf(folder: string): string {
  return path.join(folder, "containerd.sock");
}

/** A program inside a node's network namespace, under the node's host name. */
function onNode(node: NodePlan, name: string, command: readonly string[]): Program {
  const script = 'hostname "$0" && exec "$@"';
  return {
    name,
    command: ["nsenter", `--net=/run/netns/${node.namespace}`, "unshare", "--uts", "sh", "-c", script, node.name, ...command],
  };
}

function kubeletCommand(clusterFolder: string, folder: string, node: NodePlan): readonly string[] {
  return [
    clusterFiles.kube,
    "kubelet",
    `--config=${path.join(folder, "kubelet.json")}`,
    `--kubeconfig=${path.join(clusterFolder, `${node.name}.kubeconfig`)}`,
    `--root-dir=${path.join(folder, "kubelet")}`,
    `--cert-dir=${path.join(folder, "pki")}`,
    `--hostname-override=${node.name}`,
    `--node-ip=${node.addresses.join(",")}`,
  ];
}

function kubeletConfiguration({ folder, network }: NodeOptions, node: NodePlan): Readonly<Record<string, unknown>> {
  const pki = (name: string): string => path.join(folder, "pki", name);
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: pki("ca.crt") } },
    authorization: { mode: "Webhook" },
    containerRuntimeEndpoint: `unix://${socketOf(nodeFolder(folder, node))}`,
    tlsCertFile: pki(`${node.name}.crt`),
    tlsPrivateKeyFile: pki(`${node.name}.key`),
    clusterDomain: "cluster.local",
    clusterDNS: [network.hostAddress],
    // A kubelet removes the logs of pods that it does not know, and another node's are such.
    podLogsDir: path.join(nodeFolder(folder, node), "pod-logs"),
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${node.namespace}`,
    // The machine is shared with other work, so its memory, swap and disk are not this node's to judge.
    failCgroupV1: false,
    failSwapOn: false,
    localStorageCapacityIsolation: false,
    evictionHard: { "memory.available": "1Mi" },
    makeIPTablesUtilChains: false,
    nodeStatusUpdateFrequency: "5s",
  };
}

function containerdConfiguration(folder: string): string {
  const runtime = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${folder}/containerd"
state = "${folder}/containerd-state"
[grpc]
address = "${socketOf(folder)}"
[ttrpc]
address = "${socketOf(folder)}.ttrpc"
[${runtime}]
sandbox_image = "registry.k8s.io/pause:3.10.1"
restrict_oom_score_adj = true
[${runtime}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${folder}/cni"
`;
}

function podNetwork(folder: string, node: NodePlan): Readonly<Record<string, unknown>> {
  const ipam = {
    type: "host-local",
    dataDir: path.join(folder, "ipam"),
    ranges: node.podSubnets.map((subnet) => [{ subnet }]),
    routes: ["0.0.0.0/0", "::/0"].slice(0, node.podSubnets.length).map((dst) => ({ dst })),
  };
  const bridge = { type: "bridge", bridge: "cni0", isGateway: true, ipMasq: false, hairpinMode: true, ipam };
  // The name makes the plugins' notes about this node's pods findable.
  return { cniVersion: "1.0.0", name: node.namespace, plugins: [bridge, { type: "portmap", capabilities: { portMappings: true } }] };
}

async function removePodNetworks(node: NodePlan): Promise<void> {
  if (!existsSync(pluginResults)) return;
  const notes = readdirSync(pluginResults);
  for (const file of notes.filter((name) => name.startsWith(`${node.namespace}-`))) {
    const note = readFileSync(path.join(pluginResults, file), "utf8");
    for (const [, namespace = ""] of note.matchAll(/"sandbox":"[^"]*\/(cni-[0-9a-f-]+)"/g))
      await runCommand("ip", ["netns", "del", namespace]);
    // Every sandbox has a second note, for its loopback interface; both carry the sandbox's number.
    const sandbox = file.slice(node.namespace.length + 1).split("-")[0] ?? file;
    for (const name of notes.filter((candidate) => candidate.includes(sandbox))) rmSync(path.join(pluginResults, name), { force: true });
  }
}

/** The control group hierarchies of the machine: one for each controller (v1), or a single one (v2). */
function hierarchies(): readonly string[] {
  if (existsSync(path.join(controlGroups, "cgroup.controllers"))) return [controlGroups];
  return readdirSync(controlGroups, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => path.join(controlGroups, entry.name));
}

function makeControlGroup(node: NodePlan): void {
  for (const hierarchy of hierarchies()) {
    const group = path.join(hierarchy, node.namespace);
    mkdirSync(group, { recursive: true });
    // A new cpuset group of v1 has no processors and no memory until told (cgroup-v1/cpusets).
    if (path.basename(hierarchy) !== "cpuset") continue;
    for (const file of ["cpuset.cpus", "cpuset.mems"]) copyFileSync(path.join(hierarchy, file), path.join(group, file));
  }
}

function removeControlGroup(group: string): void {
  if (!existsSync(group)) return;
  for (const entry of readdirSync(group, { withFileTypes: true })) {
    if (entry.isDirectory()) removeControlGroup(path.join(group, entry.name));
  }
  try {
    rmdirSync(group);
  } catch {
    // A process that is just ending still counts for its group. An empty group left behind is harmless and used again.
  }
}

function mountsUnder(folder: string): readonly string[] {
  return readFileSync("/proc/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((mount) => mount.startsWith(`${folder}/`))
    .toSorted()
    .toReversed();
}
