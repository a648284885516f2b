/**
 * The chains that choose an endpoint: one for each way of treating traffic and each number of endpoints, made when a Service first needs
 * it. A name says all about its chain, so a chain that is read back needs no memory of who made it.
 */
import { maxAffinitySeconds } from "#agent/dataplane/service-ports.ts";
import {
  affinityPlaceBits,
  anyPortProtocol,
  type ChainDefinition,
  clusterListMask,
  type ContainerName,
  familyWords,
  isFromPod,
  type LayoutOptions,
  nodePortKey,
  serviceKey,
  toLocalList,
} from "./layout.ts";

/**
 * How traffic is treated before an endpoint is chosen. `internal`: to a cluster IP; `external`: from outside under policy Cluster;
 * `local`: from outside under policy Local; `inside`: from this node's pods and processes under policy Local. `node-…`: by node port.
 */
export type Treatment = "internal" | "external" | "local" | "inside" | "node-external" | "node-local" | "node-inside";

const endpointMaps = {
  internal: "endpoints",
  external: "endpoints",
  local: "endpoints",
  inside: "inside-endpoints",
  "node-external": "node-port-endpoints",
  "node-local": "node-port-endpoints",
  "node-inside": "inside-node-port-endpoints",
} as const satisfies Record<Treatment, ContainerName>;

/** More than any Service has. Those beyond are not used. */
export const maxEndpoints = 65_535;
/** Endpoints beyond these have no place to stick to; clients are balanced over them anew each time. */
export const maxStickyEndpoints = 2 ** affinityPlaceBits - 1;

/** The name of the chain for so many endpoints. */
export function balancingChain(treatment: Treatment, isSticky: boolean, endpoints: number): string {
  return `${isSticky ? "sticky-" : ""}${treatment}-${endpoints}`;
}

/** The name of the chain that remembers clients for so long. */
export function rememberingChain(seconds: number): string {
  return `remember-${seconds}`;
}

/** The name of the chain that looks whether a client sticks to one of the first so many places of a list. */
export function scanningChain(places: number): string {
  return `scan-${places}`;
}

/** The chain of such a name; undefined if it is none of these. */
export function dynamicChain(name: string, options: LayoutOptions): ChainDefinition | undefined {
  const match = /^(remember|scan|(sticky-)?((?:node-)?(?:external|local|inside)|internal))-([1-9]\d{0,4})$/.exec(name);
  const number = Number(match?.[4]);
  if (match?.[1] === "remember") return number > maxAffinitySeconds ? undefined : rememberClient(options, number);
  if (match?.[1] === "scan") return number > maxStickyEndpoints ? undefined : scanClients(name, options, number);
  const treatment = match?.[3];
  if (!isTreatment(treatment) || number > maxEndpoints) return undefined;
  return { name, base: undefined, rules: balance(options, treatment, { isSticky: match?.[2] !== undefined, endpoints: number }) };
}

function isTreatment(text: string | undefined): text is Treatment {
  return text !== undefined && text in endpointMaps;
}

function balance(
  options: LayoutOptions,
  treatment: Treatment,
  { isSticky, endpoints }: { isSticky: boolean; endpoints: number },
): readonly string[] {
  const { table } = familyWords(options.family);
  const isNodePort = treatment.startsWith("node-");
  const key = isNodePort ? nodePortKey : serviceKey(options.family);
  return [
    ...marking(options, treatment),
    ...(isSticky ? stickTo(key, treatment) : []),
    `meta priority set ${endpoints === 1 ? "0" : `numgen random mod ${endpoints}`} dnat ${table} to ${key} . meta priority map @${endpointMaps[treatment]}`,
  ];
}

function marking({ family, localDetection, masqueradeAll }: LayoutOptions, treatment: Treatment): readonly string[] {
  // Endpoints may be on other nodes, whose answers have to come back through this one.
  if (treatment === "external" || treatment === "node-external") return ["jump mark-masquerade"];
  if (treatment !== "internal") return [];
  if (masqueradeAll) return ["jump mark-masquerade"];
  const fromPod = isFromPod(family, localDetection);
  return fromPod === undefined ? [] : [`${fromPod.no} jump mark-masquerade`];
}

/** The client's own endpoint first, if the list still has it. */
function stickTo(key: string, treatment: Treatment): readonly string[] {
  const isNodePort = treatment.startsWith("node-");
  const isInside = treatment.endsWith("inside");
  const toCluster = isInside ? `meta priority set meta priority and ${clusterListMask} ` : "";
  return [
    `meta priority set ${key} map @${isNodePort ? "affinity-node-port-lists" : "affinity-lists"} ${toCluster}meta priority vmap @affinity-scans`,
  ];
}

/** Place after place; from one number to the next by the bits in which they differ. */
function scanClients(name: string, { family }: LayoutOptions, places: number): ChainDefinition {
  const { table } = familyWords(family);
  const look = `${anyPortProtocol} ${table} saddr . meta priority @affinity dnat ${table} to meta priority map @affinity-endpoints`;
  const rules = Array.from({ length: places }, (_, index) => [
    `meta priority set meta priority xor 0x${(index ^ (index + 1)).toString(16)}`,
    look,
  ]);
  return { name, base: undefined, rules: rules.flat() };
}

/** Remembers the chosen endpoint in both of the Service's lists, as far as they have it. */
function rememberClient({ family }: LayoutOptions, seconds: number): ChainDefinition {
  const { table } = familyWords(family);
  const place = `${anyPortProtocol} meta priority set meta priority . ${table} daddr . th dport map @affinity-places`;
  const remember = `${place} update @affinity { ct original ${table} saddr . meta priority timeout ${seconds}s }`;
  return { name: rememberingChain(seconds), base: undefined, rules: [remember, ...toLocalList, remember] };
}
