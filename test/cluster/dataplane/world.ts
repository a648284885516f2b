/**
 * A node with its surroundings, as network namespaces: pods on the node, pods on another one, and clients outside the cluster. Two worlds
 * have the same addresses and know nothing of each other, so that what happens in one can be compared with the other text by text.
 */
import { mustRun, runCommand } from "../harness/command.ts";
import { Peer } from "./peer.ts";

export type Family = "IPv4" | "IPv6";
export type Place = "node" | "pods" | "client" | "elsewhere" | "farclient" | "outside" | "beyond";

/** Addresses that all worlds share. */
export const addresses = {
  node: { IPv4: "192.168.77.1", IPv6: "fd77::1" },
  /** The node's own address on its pods' bridge. */
  bridge: { IPv4: "10.244.1.1", IPv6: "fd44:0:0:1::1" },
  clientPod: { IPv4: "10.244.1.10", IPv6: "fd44:0:0:1::10" },
  localEndpoints: [
    { IPv4: "10.244.1.11", IPv6: "fd44:0:0:1::11" },
    { IPv4: "10.244.1.12", IPv6: "fd44:0:0:1::12" },
  ],
  remotePod: { IPv4: "10.244.2.10", IPv6: "fd44:0:0:2::10" },
  remoteEndpoints: [
    { IPv4: "10.244.2.11", IPv6: "fd44:0:0:2::11" },
    { IPv4: "10.244.2.12", IPv6: "fd44:0:0:2::12" },
  ],
  outside: { IPv4: "192.168.77.2", IPv6: "fd77::2" },
  otherOutside: { IPv4: "192.168.77.3", IPv6: "fd77::3" },
} as const;
export const clusterCidrs = ["10.244.0.0/16", "fd44::/48"] as const;
export const nodeName = "node-a";
export const otherNodeName = "node-b";
/** Where endpoints listen, with TCP and UDP. */
export const endpointPort = 8080;
/** Where Services listen. */
export const servicePort = 80;

const places: readonly Place[] = ["node", "pods", "client", "elsewhere", "farclient", "outside", "beyond"];
/** Namespaces carry the number of the process that made them, so that those of a dead one are known. */
const prefix = "sdp";

export class World {
  readonly name: string;
  readonly #peers = new Map<Place, Peer>();

  constructor(name: string) {
    this.name = name;
  }

  namespace(place: Place): string {
    return `${prefix}-${process.pid}-${this.name}-${place}`;
  }

  peer(place: Place): Peer {
    const peer = this.#peers.get(place);
    if (peer === undefined) throw new Error(`${this.name} has nobody at ${place}`);
    return peer;
  }

  get peers(): readonly Peer[] {
    return [...this.#peers.values()];
  }

  /** Makes the namespaces, connects them, and starts the endpoints' servers. */
  async start(): Promise<void> {
    for (const place of places) await this.#createNamespace(place);
    await this.#connectPods();
    await this.#connect("outside", "out0", [addresses.node, addresses.outside, addresses.otherOutside]);
    await this.#connect("elsewhere", "far0", [otherNode.near, otherNode.far]);
    await this.#connect("farclient", "far1", [otherClient.near, otherClient.far]);
    await this.#route("elsewhere", addresses.remoteEndpoints, otherNode.far);
    await this.#route("farclient", [addresses.remotePod], otherClient.far);
    await this.#connect("beyond", "out1", [beyond.near, beyond.far]);
    await this.#addDefault("node", beyond.far);
    for (const range of serviceAddresses.IPv4) await this.#ip("beyond", ["route", "add", "local", range, "dev", "lo"]);
    for (const range of serviceAddresses.IPv6) await this.#ip("beyond", ["-6", "route", "add", "local", range, "dev", "lo"]);
    for (const place of places) this.#peers.set(place, new Peer(this.namespace(place)));
    // Whatever a Service's rules should have caught, and did not, comes here and is answered.
    await this.peer("beyond").serve("::", servicePort);
    for (const { IPv4, IPv6 } of [addresses.node, addresses.bridge]) await this.#serve("node", [IPv4, IPv6]);
    for (const { IPv4, IPv6 } of addresses.localEndpoints) await this.#serve("pods", [IPv4, IPv6]);
    for (const { IPv4, IPv6 } of addresses.remoteEndpoints) await this.#serve("elsewhere", [IPv4, IPv6]);
    // Neighbours that are not known yet hold back a hundred packets, and lose the rest.
    await this.overtake();
  }

  async stop(): Promise<void> {
    for (const peer of this.#peers.values()) await peer.stop();
    for (const place of places) await runCommand("ip", ["netns", "del", this.namespace(place)]);
  }

  /**
   * Connects everybody to every server directly, without a Service, twice. Programs and queues take things in the order in which they come,
   * so a connection that was begun before and is not answered now will never be: its packets are lost.
   */
  async overtake(): Promise<void> {
    for (let round = 0; round < 2; round++) {
      const probes = clientPlaces.flatMap((place) => serverAddresses.map(({ address, port }) => ({ place, address, port })));
      await Promise.all(
        probes.flatMap(({ place, address, port }) =>
          (["TCP", "UDP"] as const).map((protocol) => this.peer(place).probe({ protocol, address, port, source: undefined })),
        ),
      );
    }
  }

  /** A command in the node's network namespace. */
  onNode(command: readonly string[]): readonly [string, ...string[]] {
    return ["ip", "netns", "exec", this.namespace("node"), ...command];
  }

  async #serve(place: Place, own: readonly string[]): Promise<void> {
    for (const address of own) await this.peer(place).serve(address, endpointPort);
  }

  async #createNamespace(place: Place): Promise<void> {
    await mustRun("ip", ["netns", "add", this.namespace(place)]);
    await this.#ip(place, ["link", "set", "lo", "up"]);
    await mustRun("ip", ["netns", "exec", this.namespace(place), "sysctl", "-qw", ...(place === "node" ? nodeSettings : endSettings)]);
  }

  /** Pods hang on a bridge that lets them reach themselves through the node, as bridge plugins set it up. */
  async #connectPods(): Promise<void> {
    await this.#ip("node", ["link", "add", "cni0", "type", "bridge"]);
    await this.#addAddress("node", "cni0", addresses.bridge);
    await this.#ip("node", ["link", "set", "cni0", "up"]);
    for (const [place, own] of [
      ["pods", addresses.localEndpoints],
      ["client", [addresses.clientPod]],
    ] as const) {
      await this.#addPair(place, place);
      await this.#ip("node", ["link", "set", place, "master", "cni0"]);
      await mustRun("bridge", ["-n", this.namespace("node"), "link", "set", "dev", place, "hairpin", "on"]);
      for (const address of own) await this.#addAddress(place, "eth0", address);
      await this.#addDefault(place, addresses.bridge);
    }
  }

  /** The first address is the node's. */
  async #connect(place: Place, device: string, [near, ...far]: readonly Readonly<Record<Family, string>>[]): Promise<void> {
    if (near === undefined) throw new Error("a link has two ends");
    await this.#addPair(place, device);
    await this.#addAddress("node", device, near);
    for (const address of far) await this.#addAddress(place, "eth0", address);
    await this.#addDefault(place, near);
  }

  /** Pods of other nodes, each behind a link, so that every answer comes back through this node. */
  async #route(place: Place, pods: readonly Readonly<Record<Family, string>>[], via: Readonly<Record<Family, string>>): Promise<void> {
    for (const pod of pods) {
      await this.#addAddress(place, "lo", pod);
      await this.#ip("node", ["route", "add", pod.IPv4, "via", via.IPv4]);
      await this.#ip("node", ["-6", "route", "add", pod.IPv6, "via", via.IPv6]);
    }
  }

  async #addPair(place: Place, device: string): Promise<void> {
    await this.#ip("node", ["link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", this.namespace(place)]);
    await this.#ip("node", ["link", "set", device, "up"]);
    await this.#ip(place, ["link", "set", "eth0", "up"]);
  }

  async #addAddress(place: Place, device: string, own: Readonly<Record<Family, string>>): Promise<void> {
    await this.#ip(place, ["addr", "add", `${own.IPv4}/${device === "lo" ? 32 : 24}`, "dev", device]);
    await this.#ip(place, ["-6", "addr", "add", `${own.IPv6}/${device === "lo" ? 128 : 64}`, "dev", device, "nodad"]);
  }

  async #addDefault(place: Place, via: Readonly<Record<Family, string>>): Promise<void> {
    await this.#ip(place, ["route", "add", "default", "via", via.IPv4]);
    await this.#ip(place, ["-6", "route", "add", "default", "via", via.IPv6]);
  }

  async #ip(place: Place, args: readonly string[]): Promise<void> {
    await mustRun("ip", ["-n", this.namespace(place), ...args]);
  }
}

/** Removes the namespaces of test runs that are no more. */
export async function removeAbandonedWorlds(): Promise<void> {
  const list = await mustRun("ip", ["netns", "list"]);
  for (const [name, pid] of list.matchAll(new RegExp(`^${prefix}-(\\d+)-[a-z]+-[a-z]+`, "gm"))) {
    if (!isAlive(Number(pid))) await runCommand("ip", ["netns", "del", name]);
  }
}

/** The way to everywhere else, and the addresses of Services, which are nowhere but in rules. */
const beyond = { near: { IPv4: "192.168.80.1", IPv6: "fd80::1" }, far: { IPv4: "192.168.80.2", IPv6: "fd80::2" } } as const;
const serviceAddresses = {
  IPv4: ["10.96.0.0/16", "198.51.100.0/24", "203.0.113.0/24"],
  IPv6: ["fd00:96::/112", "2001:db8:1::/64", "2001:db8:2::/64"],
} as const;
/** Between the node and what is on other nodes. */
const otherNode = { near: { IPv4: "192.168.78.1", IPv6: "fd78::1" }, far: { IPv4: "192.168.78.2", IPv6: "fd78::2" } } as const;
const otherClient = { near: { IPv4: "192.168.79.1", IPv6: "fd79::1" }, far: { IPv4: "192.168.79.2", IPv6: "fd79::2" } } as const;
const clientPlaces: readonly Place[] = ["node", "pods", "client", "farclient", "outside"];
const serverAddresses = (["IPv4", "IPv6"] as const).flatMap((family) => [
  ...[...addresses.localEndpoints, ...addresses.remoteEndpoints, addresses.node].map((own) => ({
    address: own[family],
    port: endpointPort,
  })),
  { address: beyond.far[family], port: servicePort },
]);
const endSettings = [
  "net.ipv4.conf.all.rp_filter=0",
  "net.ipv4.conf.default.rp_filter=0",
  // A connection is given up after one more SYN, with what came back to either.
  "net.ipv4.tcp_syn_retries=1",
];
const nodeSettings = [
  ...endSettings,
  "net.ipv4.ip_forward=1",
  "net.ipv6.conf.all.forwarding=1",
  // Refusals are counted here, by the hundred.
  "net.ipv4.icmp_ratelimit=0",
  "net.ipv4.icmp_msgs_per_sec=100000",
  "net.ipv4.icmp_msgs_burst=100000",
  "net.ipv6.icmp.ratelimit=0",
];

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    // No such process.
    return false;
  }
}
