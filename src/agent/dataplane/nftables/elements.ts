/** What one Service port is in the table: the elements of maps and sets, as the texts that `nft` takes. */
import { isIP } from "node:net";

import type { Endpoint, Outcome, ServicePort, ServiceProtocol } from "#agent/dataplane/dataplane.ts";
import { balancingChain, rememberingChain, scanningChain, type Treatment } from "./balancing.ts";
import { affinityPlaceBits, type ContainerName } from "./layout.ts";

/** An element; `value` is empty in sets. */
export interface TableElement {
  readonly container: ContainerName;
  readonly key: string;
  readonly value: string;
}

/**
 * A Service port with what the table alone knows of it: the order of its endpoints, which follows from the order before, so that one
 * changed endpoint is one changed element, and the numbers by which its clients are remembered.
 */
export interface PlacedPort {
  readonly port: ServicePort;
  readonly internal: readonly Endpoint[];
  readonly external: readonly Endpoint[];
  readonly inside: readonly Endpoint[];
  /** Undefined without session affinity. */
  readonly affinity: Affinity | undefined;
}

/** Where a port's clients stick to. */
export interface Affinity {
  /** The number of its list for policy Cluster, even; its successor is that for Local. */
  readonly list: number;
  /** Places by endpoint (`10.244.1.2 . 80`), the same in both lists; some endpoints may have none. */
  readonly places: ReadonlyMap<string, number>;
}

/** IANA's numbers. */
export const protocolNumbers: Readonly<Record<ServiceProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const refusal = "goto refuse";
const majorBits = 16;
const minorMask = 0xffff;

/** All elements of a port. Elements that several ports share (their cluster IP, their endpoints' hairpins) are in each one's. */
export function* elementsOf(placed: PlacedPort): Generator<TableElement> {
  const { port } = placed;
  assertAddresses(placed);
  yield { container: "cluster-ips", key: port.clusterIp, value: "" };
  yield* internalElements(placed);
  for (const address of [...port.externalIps, ...port.loadBalancerIps])
    yield* externalElements(placed, frontendKey(port, address), serviceMaps);
  if (port.nodePort !== undefined) yield* externalElements(placed, nodePortKeyOf(port), nodePortMaps);
  if (port.sourceRanges !== undefined) yield* firewallElements(port, port.sourceRanges);
  for (const { address } of endpointsOf(placed)) yield { container: "hairpin", key: `${address} . ${address}`, value: "" };
  if (placed.affinity !== undefined && placed.affinity.places.size > 0) yield* affinityElements(placed, placed.affinity);
}

/** `10.96.0.1 . 6 . 80`, as services and endpoints are looked up. */
export function frontendKey({ protocol, port }: ServicePort, address: string): string {
  return `${address} . ${protocolNumbers[protocol]} . ${port}`;
}

/** The key of a node port; it has no address. */
export function nodePortKeyOf({ protocol, nodePort }: ServicePort): string {
  return `${protocolNumbers[protocol]} . ${nodePort}`;
}

export function endpointValue({ address, port }: Endpoint): string {
  return `${address} . ${port}`;
}

/** A number in the form that nft gives to packet priorities (tc's class numbers). */
export function priorityText(number: number): string {
  return `${(number >>> majorBits).toString(16)}:${(number & minorMask).toString(16)}`;
}

/** A list's number; with a place, the number of that place. */
export function affinityNumber(list: number, place = 0): number {
  return list * 2 ** affinityPlaceBits + place;
}

interface ExternalMaps {
  readonly verdicts: ContainerName;
  readonly endpoints: ContainerName;
  readonly local: ContainerName;
  readonly inside: ContainerName;
  readonly insideEndpoints: ContainerName;
  readonly refused: ContainerName;
  readonly lists: ContainerName;
  readonly localPolicy: string;
  readonly treatment: { readonly external: Treatment; readonly local: Treatment; readonly inside: Treatment };
}

const serviceMaps: ExternalMaps = {
  verdicts: "services",
  endpoints: "endpoints",
  local: "local-services",
  inside: "inside-services",
  insideEndpoints: "inside-endpoints",
  refused: "refused-services",
  lists: "affinity-lists",
  localPolicy: "goto service-local",
  treatment: { external: "external", local: "local", inside: "inside" },
};
const nodePortMaps: ExternalMaps = {
  verdicts: "node-ports",
  endpoints: "node-port-endpoints",
  local: "local-node-ports",
  inside: "inside-node-ports",
  insideEndpoints: "inside-node-port-endpoints",
  refused: "refused-node-ports",
  lists: "affinity-node-port-lists",
  localPolicy: "goto node-port-local",
  treatment: { external: "node-external", local: "node-local", inside: "node-inside" },
};

function* internalElements({ port, internal, affinity }: PlacedPort): Generator<TableElement> {
  const key = frontendKey(port, port.clusterIp);
  if (internal.length === 0) {
    yield { container: "refused-services", key, value: verdictWithout(port.internal) };
    return;
  }
  yield { container: "services", key, value: `goto ${balancingChain("internal", affinity !== undefined, internal.length)}` };
  yield* indexed("endpoints", key, internal);
  if (affinity !== undefined) yield { container: "affinity-lists", key, value: listText(affinity, isLocalList(internal)) };
}

function* externalElements(placed: PlacedPort, key: string, maps: ExternalMaps): Generator<TableElement> {
  const { port, external, inside, affinity } = placed;
  const isSticky = affinity !== undefined;
  const goto = (treatment: Treatment, endpoints: readonly Endpoint[]): string =>
    `goto ${balancingChain(treatment, isSticky, endpoints.length)}`;
  if (external.length === 0) yield { container: maps.refused, key, value: verdictWithout(port.external) };
  else yield* indexed(maps.endpoints, key, external);
  if (inside.length === 0) return;
  if (port.keepsClientAddress) {
    yield { container: maps.verdicts, key, value: maps.localPolicy };
    if (external.length > 0) yield { container: maps.local, key, value: goto(maps.treatment.local, external) };
    yield { container: maps.inside, key, value: goto(maps.treatment.inside, inside) };
    yield* indexed(maps.insideEndpoints, key, inside);
  } else {
    yield { container: maps.verdicts, key, value: goto(maps.treatment.external, external) };
  }
  if (isSticky) yield { container: maps.lists, key, value: listText(affinity, port.keepsClientAddress) };
}

/** What is checked before a load balancer's address becomes an endpoint's. */
function* firewallElements(port: ServicePort, ranges: readonly string[]): Generator<TableElement> {
  for (const address of port.loadBalancerIps) {
    const key = frontendKey(port, address);
    yield { container: "firewalled", key, value: "" };
    for (const range of ranges) yield { container: "allowed-sources", key: `${key} . ${withoutFullLength(range)}`, value: "" };
  }
}

function* affinityElements({ port, internal, external, inside }: PlacedPort, affinity: Affinity): Generator<TableElement> {
  const cluster = [...inside, ...(isLocalList(internal) ? [] : internal), ...(port.keepsClientAddress ? [] : external)];
  const local = [...(isLocalList(internal) ? internal : []), ...(port.keepsClientAddress ? external : [])];
  yield { container: "affinity-timeouts", key: listText(affinity, false), value: `goto ${rememberingChain(port.affinitySeconds ?? 0)}` };
  yield* listElements(affinity.list, cluster, affinity.places);
  yield* listElements(affinity.list + 1, local, affinity.places);
}

function* listElements(list: number, endpoints: readonly Endpoint[], places: ReadonlyMap<string, number>): Generator<TableElement> {
  const key = priorityText(affinityNumber(list));
  let last = 0;
  for (const endpoint of new Set(endpoints.map(endpointValue))) {
    const place = places.get(endpoint);
    if (place === undefined) continue;
    last = Math.max(last, place);
    const placeKey = priorityText(affinityNumber(list, place));
    yield { container: "affinity-places", key: `${key} . ${endpoint}`, value: placeKey };
    yield { container: "affinity-endpoints", key: placeKey, value: endpoint };
  }
  if (last > 0) yield { container: "affinity-scans", key, value: `jump ${scanningChain(last)}` };
}

function listText({ list }: Affinity, isLocal: boolean): string {
  return priorityText(affinityNumber(isLocal ? list + 1 : list));
}

/**
 * Whether a list may be that of policy Local. Under policy Cluster with endpoints on this node alone it may be too, which does no harm:
 * clients are remembered in both lists.
 */
function isLocalList(endpoints: readonly Endpoint[]): boolean {
  return endpoints.every(({ isLocal }) => isLocal);
}

function* indexed(container: ContainerName, key: string, endpoints: readonly Endpoint[]): Generator<TableElement> {
  for (const [index, endpoint] of endpoints.entries())
    yield { container, key: `${key} . ${priorityText(index)}`, value: endpointValue(endpoint) };
}

function endpointsOf({ internal, external, inside }: PlacedPort): Iterable<Endpoint> {
  return new Set([...internal, ...external, ...inside]);
}

/** Endpoints exist, but not for this traffic: it is dropped. There are none: it is refused. */
function verdictWithout(outcome: Outcome): string {
  return outcome.type === "drop" ? "drop" : refusal;
}

/** nft prints a range of one address as the address. */
function withoutFullLength(range: string): string {
  const [address = "", length] = range.split("/");
  return length === (address.includes(":") ? "128" : "32") ? address : range;
}

/** Addresses come parsed; this is where text becomes rules, so it looks again. Throws on anything that is none. */
function assertAddresses(placed: PlacedPort): void {
  const { clusterIp, externalIps, loadBalancerIps, sourceRanges = [], port, nodePort = 1, affinitySeconds = 1 } = placed.port;
  const endpoints = [...endpointsOf(placed)];
  const addresses = [clusterIp, ...externalIps, ...loadBalancerIps, ...endpoints.map(({ address }) => address)];
  const wrong = [...addresses, ...sourceRanges.map((range) => range.replace(/\/\d{1,3}$/, ""))].find((address) => isIP(address) === 0);
  if (wrong !== undefined) throw new Error(`${JSON.stringify(wrong)} is no address`);
  const numbers = [port, nodePort, affinitySeconds, ...endpoints.map((endpoint) => endpoint.port)];
  if (!numbers.every((number) => Number.isSafeInteger(number) && number > 0)) throw new Error("a port or timeout is no positive number");
}
