/**
 * The network of one test cluster: a bridge on the host, and a network namespace for each node. Several clusters may run at once, so each
 * claims a number of its own, and its names and addresses follow from that: bridge sally3, nodes sally3-node1, …, 172.30.3.0/24, and with two
 * IP families fd00:30:3::/64.
 */
import { isIPv6 } from "node:net";

import { mustRun, runCommand } from "./command.ts";

/** Names and addresses of one cluster. */
export interface NetworkPlan {
  readonly slot: number;
  readonly bridge: string;
  /** The host's own address on the bridge: the cluster's DNS and the tests' servers. */
  readonly hostAddress: string;
  /** The range of all nodes' pods, IPv4. */
  readonly podRange: string;
  /** One for each IP family, as all lists here: IPv4 first, IPv6 second where the cluster has it. */
  readonly podRanges: readonly string[];
  readonly serviceSubnets: readonly string[];
  readonly hostAddresses: readonly string[];
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
  readonly addresses: readonly string[];
  readonly podSubnets: readonly string[];
  /** Interface names have at most 15 characters (Linux IFNAMSIZ). */
  readonly hostInterface: string;
}

/** What a cluster's network is made for. */
export interface NetworkSize {
  readonly nodes: number;
  readonly apiservers: number;
  /** Whether pods, nodes and Services have IPv6 addresses beside those of IPv4. */
  readonly dualStack: boolean;
}

/** Services have the same ranges in every cluster: they are routed only inside the nodes. */
export const serviceSubnet = "10.96.0.0/16";
const serviceSubnet6 = "fd00:10:96::/112";
const maxClusters = 16;
const firstApiserverHost = 2;
const firstNodeHost = 11;
const prefixBits = { IPv4: 24, IPv6: 64 } as const;

/** The addresses and names that a cluster number stands for. */
export function planNetwork(slot: number, { nodes, apiservers, dualStack }: NetworkSize): NetworkPlan {
  const subnet = `172.30.${slot}`;
  const subnet6 = `fd00:30:${slot}:`;
  const families = <T>(ipv4: T, ipv6: T): readonly T[] => (dualStack ? [ipv4, ipv6] : [ipv4]);
  const podRange = `10.${200 + slot}.0.0/16`;
  return {
    slot,
    bridge: `sally${slot}`,
    hostAddress: `${subnet}.1`,
    hostAddresses: families(`${subnet}.1`, `${subnet6}:1`),
    podRange,
    podRanges: families(podRange, `fd00:20:${slot}::/48`),
    serviceSubnets: families(serviceSubnet, serviceSubnet6),
    apiserverAddresses: Array.from({ length: apiservers }, (_, index) => `${subnet}.${firstApiserverHost + index}`),
    nodes: Array.from({ length: nodes }, (_, index) => ({
      name: `node${index + 1}`,
      namespace: `sally${slot}-node${index + 1}`,
      address: `${subnet}.${firstNodeHost + index}`,
      addresses: families(`${subnet}.${firstNodeHost + index}`, `${subnet6}:${firstNodeHost + index}`),
      podSubnets: families(`10.${200 + slot}.${index + 1}.0/24`, `fd00:20:${slot}:${index + 1}::/64`),
      hostInterface: `sally${slot}v${index + 1}`,
    })),
  };
}

/** Claims the first free cluster number: making a bridge of a name succeeds only once. Throws without root. */
export async function claimNetwork(size: NetworkSize): Promise<NetworkPlan> {
  for (let slot = 0; slot < maxClusters; slot++) {
    const plan = planNetwork(slot, size);
    const result = await runCommand("ip", ["link", "add", plan.bridge, "type", "bridge"]);
    if (result.code === 0) return plan;
    if (!result.stderr.includes("File exists")) throw new Error(`a bridge could not be made, which needs root: ${result.stderr}`);
  }
  throw new Error(`${maxClusters} test clusters are running already`);
}

/** Gives the bridge its addresses and makes the nodes' namespaces, with routes to each other's pods. */
export async function createNetwork(plan: NetworkPlan): Promise<void> {
  for (const address of [...plan.hostAddresses, ...plan.apiserverAddresses])
    await mustRun("ip", ["addr", "add", ...interfaceAddress(address), "dev", plan.bridge]);
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
  for (const address of node.addresses) await mustRun("ip", [...inside, "addr", "add", ...interfaceAddress(address), "dev", "eth0"]);
  await mustRun("ip", [...inside, "link", "set", "eth0", "up"]);
  await mustRun("ip", [...inside, "link", "set", "lo", "up"]);
  for (const address of plan.hostAddresses) await mustRun("ip", [...inside, "route", "add", "default", "via", address]);
  const forwarding = ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"].slice(0, node.addresses.length);
  await mustRun("ip", ["netns", "exec", namespace, "sysctl", "-qw", ...forwarding]);
  for (const other of plan.nodes) {
    if (other === node) continue;
    for (const [destination, address] of podRoutes(other)) await mustRun("ip", [...inside, "route", "add", destination, "via", address]);
  }
  // The host reaches pods too, as a client outside the nodes.
  for (const [destination, address] of podRoutes(node))
    await mustRun("ip", ["route", "replace", destination, "via", address, "dev", plan.bridge]);
}

/** Each of a node's ranges of pods, and the address of the node that it is reached by. */
function podRoutes({ podSubnets, addresses }: NodePlan): readonly (readonly [subnet: string, address: string])[] {
  return podSubnets.map((subnet, family) => [subnet, addresses[family] ?? ""]);
}

/** An IPv6 address is used at once: nobody else can have it here. */
function interfaceAddress(address: string): readonly string[] {
  return isIPv6(address) ? [`${address}/${prefixBits.IPv6}`, "nodad"] : [`${address}/${prefixBits.IPv4}`];
}

/** Removes what `claimNetwork` and `createNetwork` made, as far as it is there. */
export async function removeNetwork(plan: NetworkPlan): Promise<void> {
  for (const node of plan.nodes) await runCommand("ip", ["netns", "del", node.namespace]);
  await runCommand("ip", ["link", "del", plan.bridge]);
}
