/**
 * Which addresses may be dialled at all. An address comes from an object of the cluster, and objects can be forged: EndpointSlices by many
 * users, a node's and its pods' statuses by that node. So whatever an object says, nothing here leads to the agent's own machine, to a
 * link, to a cloud's metadata, or to an apiserver, which is reached as its user through the other path alone.
 */
import { BlockList, isIP, SocketAddress } from "node:net";

/** Where the agent is, and what it must not be led to. */
export interface Surroundings {
  /** The addresses of the machine or pod that the agent runs in. */
  readonly ownAddresses: () => readonly string[];
  /** `https://host:port` of each apiserver. */
  readonly apiservers: () => readonly string[];
}

/** Ranges that no pod and no node has, each with what is there (IANA special-purpose registries; the clouds' documentation). */
const forbiddenRanges: readonly (readonly [network: string, prefix: number, what: string])[] = [
  ["0.0.0.0", 8, "this network"],
  ["127.0.0.0", 8, "loopback"],
  ["169.254.0.0", 16, "link-local, where clouds serve metadata"],
  ["100.100.100.200", 32, "Alibaba Cloud's metadata"],
  ["168.63.129.16", 32, "Azure's host"],
  ["192.0.0.0", 24, "protocol assignments, Oracle Cloud's metadata among them"],
  ["224.0.0.0", 4, "multicast"],
  ["240.0.0.0", 4, "reserved, and broadcast"],
  // Each of these holds an IPv4 address, or reaches one: `::ffff:127.0.0.1`, `64:ff9b::a9fe:a9fe`, `2002:7f00:1::`.
  ["::", 96, "unspecified, loopback and IPv4-compatible"],
  ["::ffff:0:0", 96, "IPv4-mapped"],
  ["::ffff:0:0:0", 96, "IPv4-translated"],
  ["64:ff9b::", 96, "NAT64"],
  ["64:ff9b:1::", 48, "local NAT64"],
  ["2001::", 32, "Teredo"],
  ["2002::", 16, "6to4"],
  ["100::", 64, "discard-only"],
  ["fe80::", 10, "link-local"],
  ["fec0::", 10, "site-local"],
  ["ff00::", 8, "multicast"],
  ["fd00:ec2::", 32, "AWS's metadata"],
  ["fd20:ce::254", 128, "Google Cloud's metadata"],
];

/** Answers why an address and port must not be dialled, or undefined when nothing speaks against it. */
export type AddressProblem = (address: string, port: number) => string | undefined;

export function createAddressProblem(surroundings: Surroundings): AddressProblem {
  const lists = forbiddenRanges.map(([network, prefix, what]) => {
    const list = new BlockList();
    list.addSubnet(network, prefix, network.includes(":") ? "ipv6" : "ipv4");
    return { list, what, family: network.includes(":") ? 6 : 4 };
  });
  return (address, port) => {
    const family = isIP(address);
    if (family === 0 || address.includes("%")) return "it is no plain IP address";
    const canonical = canonicalAddress(address);
    // A list of IPv4 ranges would also look into IPv6 addresses; each list is asked about its own family.
    const range = lists.find((each) => each.family === family && each.list.check(canonical, family === 4 ? "ipv4" : "ipv6"));
    if (range !== undefined) return `it is forbidden: ${range.what}`;
    if (surroundings.ownAddresses().some((own) => sameAddress(own, canonical))) return "it is the agent's own";
    if (surroundings.apiservers().some((server) => isServer(server, canonical, port))) return "it is an apiserver's";
    return undefined;
  };
}

/** Whether two texts are one address. */
export function sameAddress(left: string, right: string): boolean {
  return isIP(left) !== 0 && isIP(left) === isIP(right) && canonicalAddress(left) === canonicalAddress(right);
}

/** The one text of an address (RFC 5952 for IPv6). */
function canonicalAddress(address: string): string {
  return isIP(address) === 6 ? new SocketAddress({ address, family: "ipv6" }).address : address;
}

function isServer(server: string, address: string, port: number): boolean {
  const url = URL.parse(server);
  if (url === null) return false;
  return sameAddress(url.hostname.replaceAll(/[[\]]/g, ""), address) && Number(url.port || 443) === port;
}
