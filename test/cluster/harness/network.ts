/**
 * The network of one test cluster: a bridge on the host, and a network namespace for each node. Several clusters may run at once, so each
 * claims a number of its own, and its names and addresses follow from that: bridge sally3, nodes sally3-node1, …, 172.30.3.0/24.
 */
import { mustRun, runCommand } from "./command.ts";

/** Names and addresses of one cluster. */
export interface NetworkPlan {
  readonly slot: number;
  readonly bridge: string;
  /** The host's own address on the bridge: the cluster's DNS and the tests' servers. */
  readonly hostAddress: string;
  /** The range of all nodes' pods. */
  readonly podRange: string;
  /** One for each apiserver, all on the host's bridge. */
  readonly apiserverAddresses: readonly string[];
  readonly nodes: readonly NodePlan[];
}

export interface NodePlan {
  /** Kubernetes' name for it, and its host name. */
  readonly name: string;
  /** Its network namespace and its control group. */
  readonly namespace: string;
  readonly address: string;
  readonly podSubnet: string;
  /** Interface names have at most 15 characters (Linux IFNAMSIZ). */
  readonly hostInterface: string;
}

/** Services have the same range in every cluster: it is routed only inside the nodes. */
export const serviceSubnet = "10.96.0.0/16";
const maxClusters = 16;
const firstApiserverHost = 2;
const firstNodeHost = 11;

/** The addresses and names that a cluster number stands for. */
export function planNetwork(slot: number, nodes: number, apiservers: number): NetworkPlan {
  const subnet = `172.30.${slot}`;
  return {
    slot,
    bridge: `sally${slot}`,
    hostAddress: `${subnet}.1`,
    podRange: `10.${200 + slot}.0.0/16`,
    apiserverAddresses: Array.from({ length: apiservers }, (_, index) => `${subnet}.${firstApiserverHost + index}`),
    nodes: Array.from({ length: nodes }, (_, index) => ({
      name: `node${index + 1}`,
      namespace: `sally${slot}-node${index + 1}`,
      address: `${subnet}.${firstNodeHost + index}`,
      podSubnet: `10.${200 + slot}.${index + 1}.0/24`,
      hostInterface: `sally${slot}v${index + 1}`,
    })),
  };
}

/** Claims the first free cluster number: making a bridge of a name succeeds only once. Throws without root. */
export async function claimNetwork(nodes: number, apiservers: number): Promise<NetworkPlan> {
  for (let slot = 0; slot < maxClusters; slot++) {
    const plan = planNetwork(slot, nodes, apiservers);
    const result = await runCommand("ip", ["link", "add", plan.bridge, "type", "bridge"]);
    if (result.code === 0) return plan;
    if (!result.stderr.includes("File exists")) throw new Error(`a bridge could not be made, which needs root: ${result.stderr}`);
  }
  throw new Error(`${maxClusters} test clusters are running already`);
}

/** Gives the bridge its addresses and makes the nodes' namespaces, with routes to each other's pods. */
export async function createNetwork(plan: NetworkPlan): Promise<void> {
  for (const address of [plan.hostAddress, ...plan.apiserverAddresses])
    await mustRun("ip", ["addr", "add", `${address}/24`, "dev", plan.bridge]);
  await mustRun("ip", ["link", "set", plan.bridge, "up"]);
  await mustRun("sysctl", ["-qw", "net.ipv4.ip_forward=1"]);
  for (const node of plan.nodes) await createNode(plan, node);
}

async function createNode(plan: NetworkPlan, node: NodePlan): Promise<void> {
  const { namespace, hostInterface } = node;
  const inside = ["-n", namespace] as const;
  await mustRun("ip", ["netns", "add", namespace]);
  await mustRun("ip", ["link", "add", hostInterface, "type", "veth", "peer", "name", "eth0", "netns", namespace]);
  await mustRun("ip", ["link", "set", hostInterface, "master", plan.bridge, "up"]);
  await mustRun("ip", [...inside, "addr", "add", `${node.address}/24`, "dev", "eth0"]);
  await mustRun("ip", [...inside, "link", "set", "eth0", "up"]);
  await mustRun("ip", [...inside, "link", "set", "lo", "up"]);
  await mustRun("ip", [...inside, "route", "add", "default", "via", plan.hostAddress]);
  await mustRun("ip", ["netns", "exec", namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"]);
  for (const other of plan.nodes) {
    if (other !== node) await mustRun("ip", [...inside, "route", "add", other.podSubnet, "via", other.address]);
  }
  // The host reaches pods too, as a client outside the nodes.
  await mustRun("ip", ["route", "replace", node.podSubnet, "via", node.address, "dev", plan.bridge]);
}

/** Removes what `claimNetwork` and `createNetwork` made, as far as it is there. */
export async function removeNetwork(plan: NetworkPlan): Promise<void> {
  for (const node of plan.nodes) await runCommand("ip", ["netns", "del", node.namespace]);
  await runCommand("ip", ["link", "del", plan.bridge]);
}
