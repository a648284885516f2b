/**
 * Addresses that a Service or an endpoint may have. The API server refuses the others in most places; here nothing rests on it, because a
 * program, unlike a rule for packets, would reach the node's own loopback for anybody who can write an EndpointSlice, and would listen at
 * every address of the machine for a load balancer that is said to be at 0.0.0.0.
 */
import { BlockList } from "node:net";
import type { IpFamily } from "./dataplane.ts";

/** Whether an address is ordinary: not unspecified, loopback, link-local, multicast or broadcast. IPv4 in IPv6 counts as IPv4. */
export type OrdinaryAddress = (address: string, family: IpFamily) => boolean;

const special: readonly (readonly [network: string, prefix: number, family: "ipv4" | "ipv6"])[] = [
  ["0.0.0.0", 8, "ipv4"],
  ["127.0.0.0", 8, "ipv4"],
  ["169.254.0.0", 16, "ipv4"],
  ["224.0.0.0", 4, "ipv4"],
  ["255.255.255.255", 32, "ipv4"],
  ["::", 128, "ipv6"],
  ["::1", 128, "ipv6"],
  ["fe80::", 10, "ipv6"],
  ["ff00::", 8, "ipv6"],
];

export function createOrdinaryAddress(): OrdinaryAddress {
  const list = new BlockList();
  for (const [network, prefix, family] of special) list.addSubnet(network, prefix, family);
  return (address, family) => !list.check(address, family === "IPv4" ? "ipv4" : "ipv6");
}
