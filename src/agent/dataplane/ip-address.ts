/** IP addresses as the dataplanes compare them: one text for one address, and ranges that say what they hold. */
import { BlockList, isIP, SocketAddress } from "node:net";
import type { IpFamily } from "./dataplane.ts";

/** Whether an address is in one of some ranges. */
export type AddressRanges = (address: string) => boolean;

/** The one text of an address, as the kernel's tools print it (RFC 5952 for IPv6); undefined where it is no address of that family. */
export function canonicalAddress(address: string, family: IpFamily): string | undefined {
  if (isIP(address) !== (family === "IPv4" ? 4 : 6) || address.includes("%")) return undefined;
  return family === "IPv4" ? address : new SocketAddress({ address, family: "ipv6" }).address;
}

/** An address without the interface that a link-local one has in its text. */
export function withoutZone(address: string): string {
  const zone = address.indexOf("%");
  return zone === -1 ? address : address.slice(0, zone);
}

/** Reads CIDRs of one family. What is no such CIDR holds no address: a mistake in a list that allows never allows more. */
export function createAddressRanges(cidrs: readonly string[], family: IpFamily): AddressRanges {
  const list = new BlockList();
  const name = family === "IPv4" ? "ipv4" : "ipv6";
  const widest = family === "IPv4" ? 32 : 128;
  for (const cidr of cidrs) {
    const [network = "", prefix = "", ...rest] = cidr.trim().split("/");
    if (rest.length > 0 || canonicalAddress(network, family) === undefined || !/^\d{1,3}$/.test(prefix) || Number(prefix) > widest)
      continue;
    list.addSubnet(network, Number(prefix), name);
  }
  return (address) => list.check(withoutZone(address), name);
}
