/**
 * What a client meets at a frontend, by where it comes from: the traffic policies and the source ranges. A socket sees an address where
 * kube-proxy sees a packet, so what only the packet's interface would tell is not known here, and counts as coming from outside: that is the
 * stricter side, for which externalTrafficPolicy Local is binding.
 */
import type { LocalDetection, Outcome, ServicePort, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { type AddressRanges, createAddressRanges, withoutZone } from "#agent/dataplane/ip-address.ts";
import { type Frontend, machineAddresses, type MachineInterfaces } from "./frontends.ts";

/** Both addresses of a client's connection, as the socket tells them. */
export interface ClientSource {
  readonly address: string;
  /** Where it was accepted. */
  readonly frontendAddress: string;
}

/** Decides for one table on one machine. */
export type ClientRules = (frontend: Frontend, source: ClientSource) => Outcome;

/** The rules of a table; they hold until another table or another address of the machine comes. */
export function createClientRules(table: ServiceTable, interfaces: MachineInterfaces): ClientRules {
  const ownAddresses = machineAddresses(interfaces, table.family);
  const own = new Set(ownAddresses);
  const isPod = podDetection(table, interfaces);
  const allowed = new WeakMap<ServicePort, AddressRanges>();

  const isNode = ({ address, frontendAddress }: ClientSource): boolean =>
    // A connection of the machine to a local address that no interface has (`ip route add local`) comes from that address.
    address === frontendAddress || own.has(address) || isLoopback(address);

  const rangesOf = (port: ServicePort): AddressRanges => {
    const known = allowed.get(port);
    if (known !== undefined) return known;
    const ranges = createAddressRanges(port.sourceRanges ?? [], table.family);
    allowed.set(port, ranges);
    return ranges;
  };

  const isAllowed = ({ kind, servicePort }: Frontend, source: ClientSource): boolean => {
    if (kind !== "loadBalancerIp" || servicePort.sourceRanges === undefined) return true;
    const ranges = rangesOf(servicePort);
    // Ranges that hold the node hold what the node sends from the load balancer's own address, as with kube-proxy.
    return ranges(source.address) || (source.address === source.frontendAddress && ownAddresses.some(ranges));
  };

  return (frontend, { address, frontendAddress }) => {
    const source = { address: withoutZone(address), frontendAddress: withoutZone(frontendAddress) };
    const { kind, servicePort } = frontend;
    if (kind === "clusterIp") return servicePort.internal;
    if (!isAllowed(frontend, source)) return { type: "drop" };
    return isNode(source) || isPod(source.address) ? servicePort.externalFromInside : servicePort.external;
  };
}

function podDetection({ family, localDetection }: ServiceTable, interfaces: MachineInterfaces): AddressRanges {
  return createAddressRanges(podCidrs(localDetection, interfaces), family);
}

/** A bridge of pods has an address in their network. Interfaces of single pods have none, so that their prefix tells nothing here. */
function podCidrs(detection: LocalDetection, interfaces: MachineInterfaces): readonly string[] {
  switch (detection.type) {
    case "none":
    case "interfacePrefix":
      return [];
    case "cidrs":
      return detection.cidrs;
    case "bridge":
      return (interfaces[detection.interface] ?? []).flatMap(({ cidr }) => cidr ?? []);
  }
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}
