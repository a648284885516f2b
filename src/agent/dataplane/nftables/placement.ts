/** Which place each endpoint of a Service port has, and which numbers its clients are remembered by: kept from change to change. */
import type { Endpoint, Outcome, ServicePort } from "#agent/dataplane/dataplane.ts";
import { maxEndpoints, maxStickyEndpoints } from "./balancing.ts";
import { type Affinity, endpointValue, frontendKey, nodePortKeyOf, type PlacedPort, priorityText } from "./elements.ts";
import { affinityPlaceBits, type ContainerName } from "./layout.ts";

/** The elements of the table as the kernel has them: by container, then by key. */
export type TableContents = ReadonlyMap<ContainerName, ReadonlyMap<string, string>>;

/** What a port's place follows from: how it was placed before, as the values of elements. */
export interface FormerPlace {
  readonly internal: readonly string[];
  readonly external: readonly string[];
  readonly inside: readonly string[];
  readonly affinity: Affinity | undefined;
}

export const noPlace: FormerPlace = { internal: [], external: [], inside: [], affinity: undefined };

/** A list and its neighbour for policy Local. The first numbers are not used: nft prints the very first by name. */
const listStep = 2;
const maxLists = 2 ** (32 - affinityPlaceBits);
const majorBits = 16;

/** Numbers for the lists of sticky ports: the smallest that are free. */
export class AffinityLists {
  readonly #used = new Set<number>();
  readonly #leaving = new Set<number>();
  #lowest = listStep;

  /** Takes `wanted` if it can be had, otherwise another; undefined if there are none left. */
  take(wanted: number | undefined): number | undefined {
    if (
      wanted !== undefined &&
      wanted >= listStep &&
      wanted % listStep === 0 &&
      (!this.#used.has(wanted) || this.#leaving.delete(wanted))
    ) {
      this.#used.add(wanted);
      return wanted;
    }
    while (this.#used.has(this.#lowest)) this.#lowest += listStep;
    if (this.#lowest + listStep > maxLists) return undefined;
    this.#used.add(this.#lowest);
    return this.#lowest;
  }

  /** Gives a list back: at once to who asks for it, to others after `settle`, when no client is remembered in it any more. */
  release(list: number): void {
    this.#leaving.add(list);
  }

  settle(): void {
    for (const list of this.#leaving) {
      this.#used.delete(list);
      this.#lowest = Math.min(this.#lowest, list);
    }
    this.#leaving.clear();
  }
}

/** Places a port's endpoints: as many as can stay where they were. */
export function placePort(port: ServicePort, former: FormerPlace, lists: AffinityLists): PlacedPort {
  const done = new Map<readonly Endpoint[], readonly Endpoint[]>();
  const place = (outcome: Outcome, before: readonly string[]): readonly Endpoint[] => {
    if (outcome.type !== "balance") return [];
    // The three lists of most Services are one.
    const placed = done.get(outcome.endpoints) ?? arrange(outcome.endpoints.slice(0, maxEndpoints), before);
    done.set(outcome.endpoints, placed);
    return placed;
  };
  const internal = place(port.internal, former.internal);
  const external = place(port.external, former.external);
  const inside = place(port.externalFromInside, former.inside);
  const isSticky = port.affinitySeconds !== undefined && (internal.length > 0 || (inside.length > 0 && hasOutside(port)));
  const list = isSticky ? lists.take(former.affinity?.list) : undefined;
  if (list === undefined) return { port, internal, external, inside, affinity: undefined };
  const endpoints = new Set([...internal, ...external, ...inside].map(endpointValue));
  return { port, internal, external, inside, affinity: { list, places: stickyPlaces(endpoints, former.affinity?.places) } };
}

/** Whether there is an address for traffic from outside; a list of endpoints that no address leads to would be found by nobody who reads the table. */
function hasOutside({ nodePort, externalIps, loadBalancerIps }: ServicePort): boolean {
  return nodePort !== undefined || externalIps.length > 0 || loadBalancerIps.length > 0;
}

/** The place that a port has given up to its next form. */
export function formerPlace({ internal, external, inside, affinity }: PlacedPort): FormerPlace {
  return { internal: internal.map(endpointValue), external: external.map(endpointValue), inside: inside.map(endpointValue), affinity };
}

/** The lists of a table that was read back, by the number of the even one. */
export type FoundLists = ReadonlyMap<number, ReadonlyMap<string, number>>;

/** Reads which endpoint has which place in which list. */
export function findLists(contents: TableContents): FoundLists {
  const lists = new Map<number, Map<string, number>>();
  for (const [key, endpoint] of contents.get("affinity-endpoints") ?? []) {
    const number = toNumber(key);
    if (number === undefined) continue;
    const list = toEvenList(number);
    lists.set(list, (lists.get(list) ?? new Map<string, number>()).set(endpoint, number % 2 ** affinityPlaceBits));
  }
  return lists;
}

/** The place that a port has in a table that was read back. */
export function placeInTable(port: ServicePort, contents: TableContents, lists: FoundLists): FormerPlace {
  const at = frontendKey(port, port.clusterIp);
  const outside = [...port.externalIps, ...port.loadBalancerIps].map((address) => frontendKey(port, address))[0];
  const nodePort = nodePortKeyOf(port);
  const outsideList = (service: ContainerName, node: ContainerName): readonly string[] =>
    outside === undefined ? listIn(contents, node, nodePort) : listIn(contents, service, outside);
  const found = [at, outside].map((key) => contents.get("affinity-lists")?.get(key ?? "")).find((value) => value !== undefined);
  const number = toNumber(found ?? contents.get("affinity-node-port-lists")?.get(nodePort) ?? "");
  const list = number === undefined ? undefined : toEvenList(number);
  return {
    internal: listIn(contents, "endpoints", at),
    external: outsideList("endpoints", "node-port-endpoints"),
    inside: outsideList("inside-endpoints", "inside-node-port-endpoints"),
    affinity: list === undefined ? undefined : { list, places: lists.get(list) ?? new Map() },
  };
}

/**
 * A place for each endpoint, the one it had if it had one. Places that were just given up are not given out: clients are still remembered
 * by them, and would come to an endpoint that they never chose.
 */
function stickyPlaces(endpoints: ReadonlySet<string>, before: ReadonlyMap<string, number> = new Map()): ReadonlyMap<string, number> {
  const taken = new Set(before.values());
  const places = new Map([...before].filter(([endpoint]) => endpoints.has(endpoint)));
  let next = 1;
  for (const endpoint of endpoints) {
    if (places.has(endpoint)) continue;
    while (taken.has(next)) next += 1;
    if (next > maxStickyEndpoints) break;
    places.set(endpoint, next);
    next += 1;
  }
  return places;
}

/**
 * The endpoints, each where it was, with the others in the places left over: one that comes or goes moves at most one other.
 */
function arrange(endpoints: readonly Endpoint[], before: readonly string[]): readonly Endpoint[] {
  if (before.length === 0) return endpoints;
  const homeless = new Map(endpoints.map((endpoint) => [endpointValue(endpoint), endpoint]));
  const places = before.slice(0, endpoints.length).map((value) => {
    const endpoint = homeless.get(value);
    homeless.delete(value);
    return endpoint;
  });
  const rest = homeless.values();
  return Array.from({ length: endpoints.length }, (_, index) => places[index] ?? nextOf(rest));
}

function nextOf(rest: Iterator<Endpoint>): Endpoint {
  const next = rest.next();
  if (next.done === true) throw new Error("a Service port has an endpoint twice");
  return next.value;
}

function listIn(contents: TableContents, container: ContainerName, key: string): readonly string[] {
  const elements = contents.get(container);
  const list: string[] = [];
  for (;;) {
    const value = elements?.get(`${key} . ${priorityText(list.length)}`);
    if (value === undefined) return list;
    list.push(value);
  }
}

function toNumber(text: string): number | undefined {
  const match = /^([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(text);
  if (match === null) return undefined;
  return Number.parseInt(match[1] ?? "", 16) * 2 ** majorBits + Number.parseInt(match[2] ?? "", 16);
}

function toEvenList(number: number): number {
  const list = Math.floor(number / 2 ** affinityPlaceBits);
  return list - (list % listStep);
}
