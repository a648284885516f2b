/**
 * Which UDP entries are stale: those whose client sent to an address of a Service that has serving endpoints, and whose answers are
 * expected from something that is none of them. Traffic policies do not count: a flow that a policy would now send elsewhere goes on, as a
 * TCP connection would. A Service without serving endpoints is left alone, because its clients have nowhere better to go.
 */
import type { Endpoint, ServicePort, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { canonicalAddress } from "#agent/dataplane/ip-address.ts";
import type { ConntrackEntry } from "./entry.ts";

/** Whether an address is the machine's own; loopback is none here, because no rule for packets serves it. */
export type LocalAddress = (address: string) => boolean;

export interface StaleRule {
  /** Nothing can be stale. */
  readonly isEmpty: boolean;
  readonly isStale: (entry: ConntrackEntry) => boolean;
}

/** The rule of one table. */
export function createStaleRule(table: ServiceTable, isLocalAddress: LocalAddress): StaleRule {
  const atAddress = new Map<string, Set<string>>();
  const atNodePort = new Map<string, Set<string>>();
  for (const port of udpPorts(table)) {
    if (port.serving.length === 0) continue;
    const serving = port.serving.flatMap((endpoint) => endpointKey(endpoint, port) ?? []);
    for (const address of serviceAddresses(port)) add(atAddress, key(address, port.port), serving);
    if (port.nodePort !== undefined) add(atNodePort, String(port.nodePort), serving);
  }
  const isNodeAddress = nodeAddressRule(table, isLocalAddress);
  return {
    isEmpty: atAddress.size === 0 && atNodePort.size === 0,
    isStale: ({ destination, destinationPort, replySource, replySourcePort }) => {
      const atService = atAddress.get(key(destination, destinationPort));
      const atNode = atNodePort.get(String(destinationPort));
      const source = key(replySource, replySourcePort);
      if (atService !== undefined) return !atService.has(source) && !(atNode?.has(source) === true);
      return atNode !== undefined && isNodeAddress(destination) && !atNode.has(source);
    },
  };
}

/** Everything of a table that the rule depends on, as one text to compare. */
export function fingerprintUdp(table: ServiceTable): string {
  const ports = udpPorts(table).map((port) => [
    port.port,
    port.nodePort ?? 0,
    serviceAddresses(port),
    port.serving.map(({ address, port: number }) => key(address, number)),
  ]);
  return JSON.stringify([table.family, table.nodePortAddresses, ports]);
}

function udpPorts({ ports }: ServiceTable): readonly ServicePort[] {
  return ports.filter(({ protocol }) => protocol === "UDP");
}

function serviceAddresses({ clusterIp, externalIps, loadBalancerIps, family }: ServicePort): readonly string[] {
  return [clusterIp, ...externalIps, ...loadBalancerIps].flatMap((address) => canonicalAddress(address, family) ?? []);
}

function nodeAddressRule({ nodePortAddresses, family }: ServiceTable, isLocalAddress: LocalAddress): LocalAddress {
  switch (nodePortAddresses.type) {
    case "all":
      return (address) => isLocalAddress(address) && !address.startsWith("127.") && address !== "::1";
    case "only": {
      const addresses = new Set(nodePortAddresses.addresses.map((address) => canonicalAddress(address, family)));
      return (address) => addresses.has(address);
    }
  }
}

/** Two Services that claim one address share it here: what either of them serves is not stale. */
function add(index: Map<string, Set<string>>, at: string, endpoints: readonly string[]): void {
  const known = index.get(at) ?? new Set<string>();
  for (const endpoint of endpoints) known.add(endpoint);
  index.set(at, known);
}

function endpointKey({ address, port }: Endpoint, { family }: ServicePort): string | undefined {
  const canonical = canonicalAddress(address, family);
  return canonical === undefined ? undefined : key(canonical, port);
}

function key(address: string, port: number): string {
  return `${address} ${port}`;
}
