/** What an admin says of the driver node-ip. */
import type { LabelSelector } from "#agent/load-balancer/label-selector.ts";
import type { ServiceProtocol } from "#agent/load-balancer/objects.ts";

/** Which addresses of a node go into a status. `externalFirst`: its external ones, or, of a family that has none, its internal ones. */
export type NodeAddresses = "externalFirst" | "internal" | "all";

/** Ports that no Service gets; without a protocol, of all. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
  readonly protocol: ServiceProtocol | undefined;
}

export interface NodeIpOptions {
  readonly nodeSelector: LabelSelector;
  readonly addresses: NodeAddresses;
  readonly reservedPorts: readonly PortRange[];
}

/**
 * A node's own: SSH, etcd, the apiserver, the kubelet and the health checks of the control plane and the service proxy, and the node
 * ports. A Service that had one of them would take what is sent to the node itself.
 */
export const defaultReservedPorts = "22/TCP,2379-2381/TCP,6443/TCP,10248-10260/TCP,30000-32767";

const rangePattern = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(TCP|UDP|SCTP))?$/;

/** Parses `22/TCP,30000-32767`; undefined when it is no such list. The empty text is an empty list. */
export function parsePortRanges(text: string): readonly PortRange[] | undefined {
  if (text.trim() === "") return [];
  const ranges = text.split(",").map((part) => parseRange(part.trim()));
  return ranges.every((range) => range !== undefined) ? ranges : undefined;
}

export function isReserved({ reservedPorts }: NodeIpOptions, port: number, protocol: ServiceProtocol): boolean {
  return reservedPorts.some(
    ({ first, last, protocol: only }) => port >= first && port <= last && (only === undefined || only === protocol),
  );
}

function parseRange(text: string): PortRange | undefined {
  const match = rangePattern.exec(text);
  if (match === null) return undefined;
  const first = Number(match[1]);
  const last = match[2] === undefined ? first : Number(match[2]);
  const protocol = match[3] === "TCP" || match[3] === "UDP" || match[3] === "SCTP" ? match[3] : undefined;
  return first >= 1 && last <= 65_535 && first <= last ? { first, last, protocol } : undefined;
}
