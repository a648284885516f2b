/** The sets that are filled from the node's own settings rather than from Services. They are so small that they are filled anew. */
import { parseAddress, parseRange } from "#agent/dataplane/address.ts";
import type { ServiceTable } from "#agent/dataplane/dataplane.ts";
import type { TableContents } from "./placement.ts";

const names = ["service-cidrs", "node-port-ips"] as const;

export type SmallSets = Readonly<Record<(typeof names)[number], readonly string[]>>;

export interface SmallSet {
  readonly name: (typeof names)[number];
  readonly elements: readonly string[];
}

/** What the sets should have. Throws on a text that is no address or range. */
export function smallSetsOf({ family, serviceCidrs, nodePortAddresses }: ServiceTable): SmallSets {
  const addresses =
    nodePortAddresses.type === "all" ? [] : nodePortAddresses.addresses.map((text) => ({ text, address: parseAddress(text) }));
  const wrong = addresses.find(({ address }) => address?.family !== family);
  if (wrong !== undefined) throw new Error(`${JSON.stringify(wrong.text)} is no ${family} address of this node`);
  const ranges = serviceCidrs.map((text) => ({ text, range: parseRange(text) }));
  const strange = ranges.find(({ range }) => range?.family !== family);
  if (strange !== undefined) throw new Error(`${JSON.stringify(strange.text)} is no ${family} range of Services`);
  return {
    "service-cidrs": ranges.map(({ range }) => range?.text ?? "").toSorted(),
    // Packets to loopback addresses cannot leave them (route_localnet), so node ports there are not for nftables.
    "node-port-ips": addresses
      .map(({ address }) => address?.text ?? "")
      .filter((text) => !isLoopback(text))
      .toSorted(),
  };
}

/** What the sets have in a table that was read back. */
export function smallSetsIn(contents: TableContents): SmallSets {
  const elements = (name: (typeof names)[number]): readonly string[] => [...(contents.get(name)?.keys() ?? [])].toSorted();
  return { "service-cidrs": elements("service-cidrs"), "node-port-ips": elements("node-port-ips") };
}

/** The sets that are not as they should be. */
export function changedSets(before: SmallSets, after: SmallSets): readonly SmallSet[] {
  const isSame = (name: (typeof names)[number]): boolean => before[name].join() === after[name].join();
  return names.filter((name) => !isSame(name)).map((name) => ({ name, elements: after[name] }));
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
