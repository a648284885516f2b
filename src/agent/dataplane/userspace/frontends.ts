/** Which addresses a table asks this machine to listen at. Pure: what the machine lets us do is found out when it is done. */
import type { NetworkInterfaceInfo } from "node:os";
import type { IpFamily, ServicePort, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { canonicalAddress } from "#agent/dataplane/ip-address.ts";
import type { OrdinaryAddress } from "#agent/dataplane/ordinary-address.ts";

export type FrontendKind = "clusterIp" | "loadBalancerIp" | "externalIp" | "nodePort";

/** One address and port at which one Service port is served. */
export interface Frontend {
  /** Protocol, address and port as one text: what a socket can be bound to once. */
  readonly key: string;
  readonly kind: FrontendKind;
  /** Canonical. */
  readonly address: string;
  readonly port: number;
  readonly protocol: "TCP" | "UDP";
  readonly servicePort: ServicePort;
}

/** A frontend that no socket can serve, and why. */
export interface RefusedFrontend {
  readonly kind: FrontendKind;
  readonly address: string;
  readonly port: number;
  readonly servicePort: ServicePort;
  readonly reason: string;
}

export interface FrontendPlan {
  /** By key. */
  readonly frontends: ReadonlyMap<string, Frontend>;
  readonly refused: readonly RefusedFrontend[];
}

/**
 * `everything`: all frontends of the table. `everythingAndLocalhost`: node ports at 127.0.0.1 or ::1 too, wherever else they are served.
 * `localhostNodePorts`: node ports at 127.0.0.1 or ::1 and nothing else, which may run beside
 * another dataplane, because rules for packets leave loopback alone.
 */
export type FrontendScope = "everything" | "everythingAndLocalhost" | "localhostNodePorts";

/** The machine's interfaces, as `os.networkInterfaces()` tells them. */
export type MachineInterfaces = Readonly<Record<string, readonly NetworkInterfaceInfo[] | undefined>>;

/** Plans the frontends of a table. Where two Services claim one address and port the first in the table has it. */
export function planFrontends(
  table: ServiceTable,
  scope: FrontendScope,
  interfaces: MachineInterfaces,
  isOrdinary: OrdinaryAddress,
): FrontendPlan {
  const nodeAddresses = nodePortAddresses(table, scope, interfaces);
  const frontends = new Map<string, Frontend>();
  const refused: RefusedFrontend[] = [];
  for (const servicePort of table.ports) {
    for (const wish of wantedFrontends(servicePort, scope, nodeAddresses)) {
      const result = place({ ...wish, servicePort }, frontends, isOrdinary);
      if (result.type === "refused") refused.push({ ...wish, servicePort, reason: result.reason });
    }
  }
  return { frontends, refused };
}

/** The key of an address and port: what a frontend has, and what an endpoint would have if it were one. */
export function frontendKey(protocol: string, address: string, port: number): string {
  return `${protocol} ${address} ${port}`;
}

/** The machine's own addresses of a family, without loopback and IPv6 link-local ones; canonical. */
export function machineAddresses(interfaces: MachineInterfaces, family: IpFamily): readonly string[] {
  return Object.values(interfaces)
    .flatMap((entries) => entries ?? [])
    .filter((entry) => entry.family === family && !entry.internal && !isLinkLocal(entry.address))
    .flatMap((entry) => canonicalAddress(entry.address, family) ?? []);
}

interface Wanted {
  readonly kind: FrontendKind;
  readonly address: string;
  readonly port: number;
}

/** In the order of precedence: an address that is a load balancer's and an external one keeps the load balancer's source ranges. */
function wantedFrontends(port: ServicePort, scope: FrontendScope, nodeAddresses: readonly string[]): readonly Wanted[] {
  const { nodePort } = port;
  const atNode = nodePort === undefined ? [] : nodeAddresses.map((address): Wanted => ({ kind: "nodePort", address, port: nodePort }));
  if (scope === "localhostNodePorts") return atNode;
  return [
    { kind: "clusterIp", address: port.clusterIp, port: port.port },
    ...port.loadBalancerIps.map((address): Wanted => ({ kind: "loadBalancerIp", address, port: port.port })),
    ...port.externalIps.map((address): Wanted => ({ kind: "externalIp", address, port: port.port })),
    ...atNode,
  ];
}

type Placing = { readonly type: "placed" } | { readonly type: "refused"; readonly reason: string };

function place(
  wanted: Wanted & { readonly servicePort: ServicePort },
  frontends: Map<string, Frontend>,
  isOrdinary: OrdinaryAddress,
): Placing {
  const { servicePort, kind, port } = wanted;
  const { protocol, family } = servicePort;
  const address = canonicalAddress(wanted.address, family);
  if (address === undefined) return { type: "refused", reason: `${wanted.address} is no ${family} address` };
  // Where node ports are served is the administrator's choice, and may be loopback.
  if (kind !== "nodePort" && !isOrdinary(address, family))
    return { type: "refused", reason: `${address} is unspecified, loopback, link-local or multicast: a Service cannot have it` };
  if (protocol === "SCTP")
    return { type: "refused", reason: "SCTP needs the nftables dataplane: a program cannot hand on its associations" };
  const key = frontendKey(protocol, address, port);
  const holder = frontends.get(key)?.servicePort;
  if (holder !== undefined && holder !== servicePort)
    return { type: "refused", reason: `${holder.namespace}/${holder.name} has this address and port already` };
  if (holder === undefined) frontends.set(key, { key, kind, address, port, protocol, servicePort });
  return { type: "placed" };
}

function nodePortAddresses(table: ServiceTable, scope: FrontendScope, interfaces: MachineInterfaces): readonly string[] {
  const localhost = loopback(table.family);
  switch (scope) {
    case "everything":
      return chosenAddresses(table, interfaces);
    case "everythingAndLocalhost":
      return [...new Set([localhost, ...chosenAddresses(table, interfaces)])];
    case "localhostNodePorts":
      return [localhost];
  }
}

function chosenAddresses({ nodePortAddresses: chosen, family }: ServiceTable, interfaces: MachineInterfaces): readonly string[] {
  switch (chosen.type) {
    case "all":
      return [...new Set(machineAddresses(interfaces, family))];
    case "only":
      return chosen.addresses;
  }
}

function loopback(family: IpFamily): string {
  return family === "IPv4" ? "127.0.0.1" : "::1";
}

/** fe80::/10 needs an interface beside the address, which a node port does not have. */
function isLinkLocal(address: string): boolean {
  return /^fe[89ab]/i.test(address);
}
