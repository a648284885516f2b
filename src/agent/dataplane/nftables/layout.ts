/**
 * The nftables dataplane: one table of our own for each IP family, in which a Service is never a rule or a chain, only elements of maps.
 * The kernel looks at every rule and chain of a table again with every change, so a ruleset that grows with the Services gets slower with
 * the square of their number; maps do not. There is one chain for each number of endpoints (`internal-3`: choose one of three), whoever
 * has so many.
 *
 * What must stay true: the kernel's table alone decides, so an agent that dies leaves a working table, and the next one reads it back and
 * goes on; every change is one transaction that a packet sees whole or not at all; tables of others are never read or written.
 *
 * This file: the names, maps, sets and chains of the table, as text for `nft`, without the Services.
 */
import { createHash } from "node:crypto";
import { isIP } from "node:net";

import type { IpFamily, LocalDetection } from "#agent/dataplane/dataplane.ts";

/** The name of our table in both families. */
export const tableName = "sallyport";

/** What decides the rules, apart from Services. */
export interface LayoutOptions {
  readonly family: IpFamily;
  readonly localDetection: LocalDetection;
  readonly masqueradeAll: boolean;
  /** `all`: at every address of the node but loopback ones; `only`: at those of the set `node-port-ips`. */
  readonly nodePorts: "all" | "only";
  /** The bit of the packet mark that says: masquerade (KubeProxyConfiguration `masqueradeBit`). */
  readonly masqueradeBit: number;
}

/** A chain with its rules; a base chain also has the hook that packets come from. */
export interface ChainDefinition {
  readonly name: string;
  readonly base: BaseChain | undefined;
  readonly rules: readonly string[];
}

export interface BaseChain {
  readonly type: "filter" | "nat";
  readonly hook: "prerouting" | "input" | "forward" | "output" | "postrouting";
  readonly priority: number;
}

/** A map or set of the table. */
export interface ContainerDefinition {
  readonly name: ContainerName;
  readonly kind: "map" | "set";
  /** Its type and flags, in nft's words. */
  readonly definition: string;
}

/** Which maps and sets there are. */
export type ContainerName = keyof ReturnType<typeof definitionsOf>;

/**
 * The numbers of session affinity, which are kept in a packet's priority: a list of endpoints in the upper 20 bits (even: that of policy
 * Cluster, odd: that of Local), and from 1 on a place in it in the lower 12.
 */
export const affinityPlaceBits = 12;
const localListBit = `0x${(2 ** affinityPlaceBits).toString(16)}`;
export const clusterListMask = `0x${(2 ** 32 - 2 ** (affinityPlaceBits + 1)).toString(16)}`;
/** From a number to its list, and to that list's neighbour for policy Local. */
export const toLocalList: readonly string[] = [
  `meta priority set meta priority and ${clusterListMask}`,
  `meta priority set meta priority or ${localListBit}`,
];

/** How many clients are remembered for session affinity. Each takes about 200 bytes of the kernel's memory; beyond that, clients are balanced anew. */
const maxStickyClients = 262_144;
/** Netfilter's priorities (linux/netfilter_ipv4.h); nft's names for them are not valid in every hook. */
const priority = { beforeDnat: -110, dnat: -100, filter: 0, afterDnat: 50, snat: 100 } as const;
const layoutDigestLength = 12;

/** The words of a family. */
export function familyWords(family: IpFamily): { readonly table: "ip" | "ip6"; readonly addressType: string } {
  return family === "IPv4" ? { table: "ip", addressType: "ipv4_addr" } : { table: "ip6", addressType: "ipv6_addr" };
}

/** A packet's destination as Services are looked up by it. */
export function serviceKey(family: IpFamily): string {
  return `${familyWords(family).table} daddr . meta l4proto . th dport`;
}

export const nodePortKey = "meta l4proto . th dport";
/** Concatenations of ports need a protocol that has ports (`meta l4proto` in numbers: not every image has /etc/protocols). */
export const anyPortProtocol = "meta l4proto { 6, 17, 132 }";

export function containers(family: IpFamily): readonly ContainerDefinition[] {
  return Object.entries(definitionsOf(family)).map(([name, [kind, definition]]) => ({ name: name as ContainerName, kind, definition }));
}

/** A text that is the same for tables whose maps and sets are defined alike: a table of another layout is replaced, not repaired. */
export function layoutDigest(family: IpFamily): string {
  return createHash("sha256")
    .update(JSON.stringify(containers(family)))
    .digest("hex")
    .slice(0, layoutDigestLength);
}

/** The chains that do not depend on Services. Base chains come last: with them the table begins to work. */
export function fixedChains(options: LayoutOptions): readonly ChainDefinition[] {
  return [...regularChains(options), ...baseChains()];
}

/** A condition on the packet's source in nft's words; undefined where the node's pods cannot be told apart. */
export function isFromPod(family: IpFamily, detection: LocalDetection): { readonly yes: string; readonly no: string } | undefined {
  switch (detection.type) {
    case "none":
      return undefined;
    case "cidrs":
      return matchSource(`${familyWords(family).table} saddr`, `{ ${detection.cidrs.map(assertRange).join(", ")} }`);
    case "bridge":
      return matchSource("iifname", `"${assertInterface(detection.interface)}"`);
    case "interfacePrefix":
      return matchSource("iifname", `"${assertInterface(detection.prefix)}*"`);
  }
}

function matchSource(what: string, value: string): { readonly yes: string; readonly no: string } {
  return { yes: `${what} ${value}`, no: `${what} != ${value}` };
}

function definitionsOf(family: IpFamily) {
  const { addressType } = familyWords(family);
  // Types by name alone: what `typeof` makes of a map differs between versions of nft, and between making a map and finding it.
  const nodePort = "inet_proto . inet_service";
  const service = `${addressType} . ${nodePort}`;
  const endpoint = `${addressType} . inet_service`;
  return {
    /** Addresses of Services → how their traffic is treated, by the number of endpoints. */
    services: ["map", `type ${service} : verdict;`],
    /** Address of a Service . place → endpoint. One map serves every number of endpoints. */
    endpoints: ["map", `type ${service} . classid : ${endpoint};`],
    /** externalTrafficPolicy Local: traffic from outside, to endpoints of this node. */
    "local-services": ["map", `type ${service} : verdict;`],
    /** The same Services for the node's own pods and processes, to endpoints anywhere. */
    "inside-services": ["map", `type ${service} : verdict;`],
    "inside-endpoints": ["map", `type ${service} . classid : ${endpoint};`],
    "node-ports": ["map", `type ${nodePort} : verdict;`],
    "node-port-endpoints": ["map", `type ${nodePort} . classid : ${endpoint};`],
    "local-node-ports": ["map", `type ${nodePort} : verdict;`],
    "inside-node-ports": ["map", `type ${nodePort} : verdict;`],
    "inside-node-port-endpoints": ["map", `type ${nodePort} . classid : ${endpoint};`],
    /** Services without an endpoint that this traffic may go to. */
    "refused-services": ["map", `type ${service} : verdict;`],
    "refused-node-ports": ["map", `type ${nodePort} : verdict;`],
    "cluster-ips": ["set", `type ${addressType};`],
    "service-cidrs": ["set", `type ${addressType}; flags interval;`],
    "node-port-ips": ["set", `type ${addressType};`],
    /** Load balancers' addresses that not everybody may reach, and who may. */
    firewalled: ["set", `type ${service};`],
    "allowed-sources": ["set", `type ${service} . ${addressType}; flags interval;`],
    /** An endpoint's address twice: a connection that comes back to where it came from. */
    hairpin: ["set", `type ${addressType} . ${addressType};`],
    /** Session affinity: address of a Service → its list of endpoints that stick. */
    "affinity-lists": ["map", `type ${service} : classid;`],
    "affinity-node-port-lists": ["map", `type ${nodePort} : classid;`],
    /** List → how many places of it to look at, and how long to remember. */
    "affinity-scans": ["map", "type classid : verdict;"],
    "affinity-timeouts": ["map", "type classid : verdict;"],
    /** List . endpoint → its place, and back. */
    "affinity-places": ["map", `type classid . ${endpoint} : classid;`],
    "affinity-endpoints": ["map", `type classid : ${endpoint};`],
    /** Clients, each with the place of its endpoint. A set, because nft 1.0.6 cannot fill maps with keys or values as long as IPv6 needs. */
    affinity: ["set", `type ${addressType} . classid; flags dynamic,timeout; size ${maxStickyClients};`],
  } satisfies Record<string, readonly ["map" | "set", string]>;
}

function regularChains(options: LayoutOptions): readonly ChainDefinition[] {
  const { family } = options;
  const { table } = familyWords(family);
  const key = serviceKey(family);
  const mark = `0x${(2 ** options.masqueradeBit).toString(16)}`;
  const original = (address: string): string => `ct original ${table} ${address}`;
  const remember = `meta priority set meta priority and ${clusterListMask} meta priority vmap @affinity-timeouts`;
  return [
    chain("mark-masquerade", [`meta mark set meta mark or ${mark}`]),
    chain("refuse", ["reject"]),
    chain("service-inside", [`${key} vmap @inside-services`]),
    chain("service-local", localPolicy(options, "service-inside", `${key} vmap @local-services`)),
    chain("node-port-inside", [`${nodePortKey} vmap @inside-node-ports`]),
    chain("node-port-local", localPolicy(options, "node-port-inside", `${nodePortKey} vmap @local-node-ports`)),
    chain("find-service", [`${key} vmap @services`, `${atNodePort(options, "fib daddr type local ")}${nodePortKey} vmap @node-ports`]),
    chain("check-services", [`${key} vmap @refused-services`]),
    chain("check-node-ports", [`${atNodePort(options, "")}${nodePortKey} vmap @refused-node-ports`]),
    chain("check-cluster-ips", [`${table} daddr @cluster-ips reject`, `${table} daddr @service-cidrs drop`]),
    chain("check-sources", [`${key} @firewalled ${key} . ${table} saddr != @allowed-sources drop`]),
    chain("remember-client", [
      `${anyPortProtocol} meta priority set ${original("daddr")} . meta l4proto . ct original proto-dst map @affinity-lists ${remember}`,
      `${anyPortProtocol} meta priority set meta l4proto . ct original proto-dst map @affinity-node-port-lists ${remember}`,
    ]),
    chain("masquerade-marked", [
      `ct status dnat ${table} saddr . ${table} daddr @hairpin jump mark-masquerade`,
      `meta mark and ${mark} == 0 return`,
      `meta mark set meta mark xor ${mark}`,
      "masquerade fully-random",
    ]),
  ];
}

/** externalTrafficPolicy Local: the node's own pods and processes are not bound by it; the latter's source is no client's address to keep. */
function localPolicy({ family, localDetection }: LayoutOptions, inside: string, otherwise: string): readonly string[] {
  const fromPod = isFromPod(family, localDetection);
  return [
    ...(fromPod === undefined ? [] : [`${fromPod.yes} goto ${inside}`]),
    "fib saddr type local jump mark-masquerade",
    `fib saddr type local goto ${inside}`,
    otherwise,
  ];
}

function atNodePort({ family, nodePorts }: LayoutOptions, isLocal: string): string {
  if (nodePorts === "only") return `${familyWords(family).table} daddr @node-port-ips `;
  return `${isLocal}${family === "IPv4" ? "ip daddr != 127.0.0.0/8" : "ip6 daddr != ::1"} `;
}

function baseChains(): readonly ChainDefinition[] {
  const isNew = "ct state new jump";
  const isBalanced = "ct status dnat ct direction original ct state new";
  const base = (name: string, [type, hook, at]: readonly [BaseChain["type"], BaseChain["hook"], number], rules: readonly string[]) => ({
    name,
    base: { type, hook, priority: at },
    rules,
  });
  return [
    base("before-dnat-prerouting", ["filter", "prerouting", priority.beforeDnat], [`${isNew} check-sources`]),
    base("before-dnat-output", ["filter", "output", priority.beforeDnat], [`${isNew} check-sources`]),
    base(
      "filter-input",
      ["filter", "input", priority.filter],
      [`${isNew} check-node-ports`, `${isNew} check-services`, `${isBalanced} jump remember-client`],
    ),
    base("filter-forward", ["filter", "forward", priority.filter], [`${isNew} check-services`, `${isNew} check-cluster-ips`]),
    base("filter-output", ["filter", "output", priority.filter], [`${isNew} check-services`, `${isNew} check-cluster-ips`]),
    base(
      "after-dnat-postrouting",
      ["filter", "postrouting", priority.afterDnat],
      [`${isBalanced} jump remember-client`, `${isBalanced} meta priority set 0`],
    ),
    base("nat-prerouting", ["nat", "prerouting", priority.dnat], ["jump find-service"]),
    base("nat-output", ["nat", "output", priority.dnat], ["jump find-service"]),
    base("nat-postrouting", ["nat", "postrouting", priority.snat], ["jump masquerade-marked"]),
  ];
}

function chain(name: string, rules: readonly string[]): ChainDefinition {
  return { name, base: undefined, rules };
}

/** Interface names as Linux takes them (dev_valid_name), without what nft's strings give a meaning to. */
function assertInterface(name: string): string {
  if (!/^[\w.@-]{1,15}$/.test(name)) throw new Error(`${JSON.stringify(name)} is no name of a network interface`);
  return name;
}

function assertRange(range: string): string {
  const [address = "", length = ""] = range.split("/");
  if (isIP(address) === 0 || !/^\d{1,3}$/.test(length)) throw new Error(`${JSON.stringify(range)} is no range of addresses`);
  return range;
}
