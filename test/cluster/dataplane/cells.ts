/** The cells of the differential test: who connects to what, and what comes of it. */
import type { ProbeOutcome, ProbeTarget } from "./peer.ts";
import { externalIp, loadBalancerIp, type ServiceCase, serviceCases } from "./services.ts";
import { addresses, type Family, type Place, servicePort, type World } from "./world.ts";

export type ClientKind = "pod here" | "pod elsewhere" | "outside" | "other outside" | "node" | "endpoint itself";
export type AddressKind =
  | "cluster IP"
  | "node port"
  | "node port at another address"
  | "external IP"
  | "load balancer IP"
  | "undefined port"
  | "unallocated cluster IP";

export interface Cell {
  readonly name: string;
  readonly service: ServiceCase | undefined;
  readonly client: ClientKind;
  readonly address: AddressKind;
  readonly family: Family;
  readonly place: Place;
  readonly target: ProbeTarget;
}

/** What the API server gave to a Service. */
export interface Assigned {
  readonly clusterIps: Readonly<Record<Family, string>>;
  readonly nodePorts: Readonly<Record<"TCP" | "UDP", number>>;
}

/** All that was seen in one cell: `refused`, `dropped`, or each endpoint with the client's address that it saw. */
export type Seen = ReadonlySet<string>;

const clients: Readonly<Record<ClientKind, { readonly place: Place; readonly source: Readonly<Record<Family, string>> | undefined }>> = {
  "pod here": { place: "client", source: addresses.clientPod },
  "pod elsewhere": { place: "farclient", source: addresses.remotePod },
  outside: { place: "outside", source: addresses.outside },
  "other outside": { place: "outside", source: addresses.otherOutside },
  node: { place: "node", source: undefined },
  "endpoint itself": { place: "pods", source: addresses.localEndpoints[0] },
};
const families: readonly Family[] = ["IPv4", "IPv6"];
const protocols = ["TCP", "UDP"] as const;
const unallocated = { IPv4: "10.96.250.250", IPv6: "fd00:96::fafa" } as const;
const undefinedPort = 81;
/** The kernel does not send a refusal while it is sending another one on the same processor; three times in a row is no chance. */
const silentRounds = 3;
/** Less than a listening socket's queue, and few enough that a finding ends a search soon. */
const maxOpen = 400;

/** Every client to every address of every Service, and to addresses and ports that no Service has. */
export function makeCells(assigned: ReadonlyMap<string, Assigned>): readonly Cell[] {
  return serviceCases.flatMap((service) => {
    const given = assigned.get(service.name);
    if (given === undefined) throw new Error(`${service.name} was not made`);
    return families.flatMap((family) =>
      protocols.flatMap((protocol) =>
        targetsOf(service, given, family, protocol).flatMap(({ kind, address, port }) =>
          clientsOf(service, kind).map((client) => toCell({ service, client, kind, family, target: { protocol, address, port } })),
        ),
      ),
    );
  });
}

/** What an outcome is in a table. */
export function toText(outcome: ProbeOutcome): string {
  switch (outcome.type) {
    case "answered":
      return `${outcome.endpoint} saw ${outcome.client}`;
    case "failed":
      return outcome.code;
    case "refused":
    case "dropped":
      return outcome.type;
  }
}

/** One connection in each cell, as many at once as no server's queue overflows with. */
export async function probeAll(world: World, cells: readonly Cell[]): Promise<readonly string[]> {
  const seen: string[] = [];
  for (let start = 0; start < cells.length; start += maxOpen) {
    const outcomes = cells.slice(start, start + maxOpen).map(({ place, target }) => world.peer(place).probe(target));
    await Promise.race([world.overtake(), Promise.all(outcomes)]);
    for (const peer of world.peers) await peer.giveUp();
    seen.push(...(await Promise.all(outcomes)).map(toText));
  }
  return seen;
}

/**
 * TCP connections, each until its client's kernel gives it up, after the second SYN: a refusal that is there before connect() returns, as on
 * a way without any length, is only kept as a soft error while the socket is in use, and is told then. Datagrams have their time meanwhile.
 */
export async function probeToTheEnd(world: World, cells: readonly Cell[]): Promise<readonly string[]> {
  const outcomes = cells.map(({ place, target }) => world.peer(place).probe(target));
  await Promise.all(outcomes.filter((_, index) => cells[index]?.target.protocol === "TCP"));
  await world.overtake();
  for (const peer of world.peers) await peer.giveUp();
  return (await Promise.all(outcomes)).map(toText);
}

/** The families in which a connection in any of the cells ends otherwise than `seen` says it may. */
export async function familiesThatDiffer(world: World, cells: readonly Cell[], seen: (cell: Cell) => Seen): Promise<ReadonlySet<Family>> {
  const found = new Set<Family>();
  let silent: Cell[] = [];
  for (let start = 0; start < cells.length && found.size < families.length; start += maxOpen) {
    const some = cells.slice(start, start + maxOpen);
    for (const [index, outcome] of (await probeAll(world, some)).entries()) {
      const cell = some[index];
      if (cell === undefined || seen(cell).has(outcome)) continue;
      if (outcome === "dropped" && (cell.target.protocol === "TCP" || seen(cell).has("refused"))) silent.push(cell);
      else found.add(cell.family);
    }
  }
  // Silence may be a refusal that got lost; not each time.
  for (let round = 0; round < silentRounds; round++) {
    silent = silent.filter(({ family }) => !found.has(family));
    const outcomes = await probeToTheEnd(world, silent);
    silent = silent.filter((cell, index) => !seen(cell).has(outcomes[index] ?? ""));
  }
  for (const { family } of silent) found.add(family);
  return found;
}

interface Target {
  readonly kind: AddressKind;
  readonly address: string;
  readonly port: number;
}

function targetsOf(service: ServiceCase, given: Assigned, family: Family, protocol: "TCP" | "UDP"): readonly Target[] {
  const nodePort = given.nodePorts[protocol];
  const rest: readonly Target[] = [
    { kind: "undefined port", address: given.clusterIps[family], port: undefinedPort },
    { kind: "unallocated cluster IP", address: unallocated[family], port: servicePort },
    { kind: "node port at another address", address: addresses.bridge[family], port: nodePort },
  ];
  return [
    { kind: "cluster IP", address: given.clusterIps[family], port: servicePort },
    { kind: "node port", address: addresses.node[family], port: nodePort },
    { kind: "external IP", address: externalIp(service, family), port: servicePort },
    { kind: "load balancer IP", address: loadBalancerIp(service, family), port: servicePort },
    // Once is enough for what does not depend on the Service.
    ...(service.number === 0 ? rest : []),
  ];
}

function clientsOf(service: ServiceCase, kind: AddressKind): readonly ClientKind[] {
  const all: readonly ClientKind[] = ["pod here", "pod elsewhere", "outside", "node"];
  if (service.sourceRanges !== undefined && kind !== "cluster IP") return [...all, "other outside"];
  // Its own endpoint is the only one, so the connection must come back.
  if (service.state === "localOnly" && service.affinitySeconds === undefined) return [...all, "endpoint itself"];
  return all;
}

function toCell(given: {
  readonly service: ServiceCase;
  readonly client: ClientKind;
  readonly kind: AddressKind;
  readonly family: Family;
  readonly target: Omit<ProbeTarget, "source">;
}): Cell {
  const { service, client, kind, family, target } = given;
  const { place, source } = clients[client];
  return {
    name: `${client} → ${kind} of ${service.name} (${family}, ${target.protocol})`,
    service,
    client,
    address: kind,
    family,
    place,
    target: { ...target, source: source?.[family] },
  };
}
