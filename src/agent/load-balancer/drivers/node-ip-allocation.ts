/**
 * Who has which port of which node: a pure computation over all Services.
 *
 * Every service proxy sends what comes to an address and port in a Service's status to that Service. So no address and port may ever be in
 * the status of two: who has it keeps it, also against an older Service that asks for it later, and what is free goes to the Service
 * that was created first. What was given is in the statuses themselves (`ports` of each address), so a controller that starts anew knows it.
 */
import { isIPv4 } from "node:net";
import { maxNamedNodes } from "#agent/load-balancer/limits.ts";
import { matchesLabels, parseLabelSelector } from "#agent/load-balancer/label-selector.ts";
import type { LabelSelector } from "#agent/load-balancer/label-selector.ts";
import type { ClusterView, Ingress, IpFamily, LoadBalancerNode, LoadBalancerService } from "#agent/load-balancer/objects.ts";
import { toKey } from "#agent/load-balancer/objects.ts";
import { decideService } from "#agent/load-balancer/plan.ts";
import type { ServedClasses } from "#agent/load-balancer/plan.ts";
import { isReserved } from "./node-ip-options.ts";
import type { NodeIpOptions } from "./node-ip-options.ts";

/** A Service's annotation: a label selector of the nodes that it is to have. */
export const nodeSelectorAnnotation = "sallyport.dev/load-balancer-node-selector";

/** What a Service gets. */
export interface Allocation {
  readonly uid: string;
  readonly ingress: readonly Ingress[];
  /** Why it gets less than it asks for: all of it where `ingress` is empty. */
  readonly shortage: Shortage | undefined;
}

export interface Shortage {
  readonly reason: "InvalidAnnotation" | "ReservedPort" | "NoNodes" | "PortConflict";
  readonly message: string;
}

export interface AllocationInput {
  readonly view: ClusterView;
  /** The nodes that load balancers may use now. */
  readonly nodes: readonly LoadBalancerNode[];
  readonly classes: ServedClasses;
  readonly options: NodeIpOptions;
  /** By UID: what may be in a Service's status although the view does not show it yet. */
  readonly granted: ReadonlyMap<string, readonly Ingress[]>;
}

/** An address and port, and the Service (UID and name) that has it. */
type Holders = Map<string, { readonly uid: string; readonly service: string }>;

/** What each wanted Service gets, by `namespace/name`. */
export function allocate(input: AllocationInput): ReadonlyMap<string, Allocation> {
  const { view, classes, granted } = input;
  const services = [...view.services.values()].filter(({ isLoadBalancer }) => isLoadBalancer).toSorted(byCreation);
  const holders: Holders = new Map();
  for (const service of services) hold(holders, service, granted.get(service.uid) ?? []);
  for (const service of services) hold(holders, service, service.status.ingress);
  const wanted = services.filter((service) => decideService(service, classes) === "wanted");
  return new Map(wanted.map((service) => [toKey(service), allocateOne(service, holders, input)]));
}

function hold(holders: Holders, service: LoadBalancerService, ingress: readonly Ingress[]): void {
  for (const entry of ingress) for (const place of placesOf(entry, service)) take(holders, place, service);
}

function take(holders: Holders, place: string, service: LoadBalancerService): void {
  if (!holders.has(place)) holders.set(place, { uid: service.uid, service: toKey(service) });
}

/** Other controllers may not say which ports an address has: then it has all of its Service. */
function placesOf({ ip, ports }: Ingress, { spec }: LoadBalancerService): readonly string[] {
  if (ip === undefined) return [];
  return (ports ?? spec.ports).map(({ protocol, port }) => `${ip} ${protocol} ${port}`);
}

function allocateOne(service: LoadBalancerService, holders: Holders, input: AllocationInput): Allocation {
  const { uid, spec } = service;
  const nothing = (reason: Shortage["reason"], message: string): Allocation => ({ uid, ingress: [], shortage: { reason, message } });
  const text = spec.annotations[nodeSelectorAnnotation];
  const selector = parseLabelSelector(text ?? "");
  if (selector === undefined)
    return nothing("InvalidAnnotation", `the annotation ${nodeSelectorAnnotation} is no label selector, such as pool=edge`);
  const reserved = spec.ports.find(({ port, protocol }) => isReserved(input.options, port, protocol));
  if (reserved !== undefined)
    return nothing("ReservedPort", `port ${reserved.port}/${reserved.protocol} is kept for the nodes themselves (--reserved-ports)`);
  const places = findPlaces(service, selector, input);
  if (places.length === 0) return nothing("NoNodes", describeNoNodes(service));
  const [ingress, conflicts]: [Ingress[], string[]] = [[], []];
  const ports = spec.ports.map(({ port, protocol }) => ({ port, protocol }));
  for (const { node, addresses } of places) {
    const entries = addresses.map((ip): Ingress => ({ ip, ipMode: "VIP", ports }));
    const conflict = findConflict(service, entries, holders);
    if (conflict !== undefined) {
      conflicts.push(`${conflict} at ${node.name}`);
      continue;
    }
    hold(holders, service, entries);
    ingress.push(...entries);
  }
  if (conflicts.length === 0) return { uid, ingress, shortage: undefined };
  const more = conflicts.length > maxNamedNodes ? [`and ${conflicts.length - maxNamedNodes} more`] : [];
  const message = `port conflict: ${[...conflicts.slice(0, maxNamedNodes), ...more].join("; ")}`;
  return { uid, ingress, shortage: { reason: "PortConflict", message } };
}

function findConflict(service: LoadBalancerService, entries: readonly Ingress[], holders: Holders): string | undefined {
  for (const entry of entries) {
    for (const { port, protocol } of entry.ports ?? []) {
      const holder = holders.get(`${entry.ip ?? ""} ${protocol} ${port}`);
      if (holder !== undefined && holder.uid !== service.uid) return `${port}/${protocol} is ${holder.service}'s`;
    }
  }
  return undefined;
}

interface Place {
  readonly node: LoadBalancerNode;
  readonly addresses: readonly string[];
}

function findPlaces(service: LoadBalancerService, selector: LabelSelector, { view, nodes, options }: AllocationInput): readonly Place[] {
  const { spec } = service;
  const isOpen = (node: LoadBalancerNode, family: IpFamily) =>
    spec.externalTrafficPolicy === "Cluster" || view.readyNodes(toKey(service), family).has(node.name);
  const isChosen = ({ labels }: LoadBalancerNode) => matchesLabels(options.nodeSelector, labels) && matchesLabels(selector, labels);
  return nodes
    .filter(isChosen)
    .map((node) => ({
      node,
      addresses: spec.ipFamilies.filter((family) => isOpen(node, family)).flatMap((family) => addressesOf(node, family, options)),
    }))
    .filter(({ addresses }) => addresses.length > 0);
}

function addressesOf({ externalIps, internalIps }: LoadBalancerNode, family: IpFamily, { addresses }: NodeIpOptions): readonly string[] {
  const isOfFamily = (ip: string) => isIPv4(ip) === (family === "IPv4");
  const [external, internal] = [externalIps.filter(isOfFamily), internalIps.filter(isOfFamily)];
  switch (addresses) {
    case "externalFirst":
      return external.length > 0 ? external : internal;
    case "internal":
      return internal;
    case "all":
      return [...new Set([...external, ...internal])];
  }
}

function describeNoNodes({ spec }: LoadBalancerService): string {
  const families = spec.ipFamilies.join(" or ");
  const local = spec.externalTrafficPolicy === "Local" ? " with a ready endpoint of the Service (externalTrafficPolicy: Local)" : "";
  const chosen = spec.annotations[nodeSelectorAnnotation] === undefined ? "" : ` that the annotation ${nodeSelectorAnnotation} selects`;
  return `there is no node${chosen} with an address of ${families}${local}`;
}

function byCreation(one: LoadBalancerService, other: LoadBalancerService): number {
  return one.createdAtMs - other.createdAtMs || (one.uid < other.uid ? -1 : 1);
}
