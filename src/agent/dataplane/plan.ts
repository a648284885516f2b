/**
 * From Kubernetes' objects to what this node does for Services, with kube-proxy's rules and without an effect. A planner remembers its last
 * plan: what a change does not touch stays the same object, so a dataplane finds the changes by identity, and one changed Service or
 * EndpointSlice costs the planning of that Service alone.
 */
import { mergeRanges, parseRange } from "./address.ts";
import { type ClaimKind, Claims, frontendName } from "./claims.ts";
import type { IpFamily, LocalDetection, Outcome, ServicePort, ServiceTable } from "./dataplane.ts";
import type { ChangedServices, FamilyPlan, HealthCheck, Plan, PlanOptions } from "./node-plan.ts";
import type { ClusterObjects, NodeObject, ServiceObject } from "./objects.ts";
import { keepsClientAddress, planServicePorts } from "./service-ports.ts";

/** Makes plan after plan for one node, each from the last. */
export class Planner {
  readonly #options: PlanOptions;
  readonly #families: Readonly<Record<IpFamily, FamilyPlanner>>;
  #node: NodeObject | undefined;
  #plan: Plan | undefined;

  constructor(options: PlanOptions) {
    this.#options = options;
    this.#families = { IPv4: new FamilyPlanner("IPv4", options), IPv6: new FamilyPlanner("IPv6", options) };
  }

  /** Plans what changed. The node's own changes are found here; they may touch every Service. */
  plan(objects: ClusterObjects, changed: ChangedServices): Plan {
    const { node } = objects;
    const changes = this.#node === undefined || !isSamePlace(this.#node, node) ? "all" : changed;
    this.#node = node;
    const previous = this.#plan;
    this.#plan = { IPv4: this.#planFamily("IPv4", objects, changes, previous), IPv6: this.#planFamily("IPv6", objects, changes, previous) };
    return this.#plan;
  }

  #planFamily(family: IpFamily, objects: ClusterObjects, changed: ChangedServices, previous: Plan | undefined): FamilyPlan {
    const { ports, healthChecks } = this.#families[family].plan(objects, changed);
    const table: ServiceTable = {
      family,
      ports,
      nodePortAddresses: this.#options.nodePortAddresses[family],
      localDetection: localDetectionOf(this.#options.localDetection, family),
      masqueradeAll: this.#options.masqueradeAll,
      serviceCidrs: cidrsOf(objects.serviceCidrs, family),
    };
    const last = previous?.[family];
    if (last === undefined) return { table, healthChecks };
    return { table: isSameTable(last.table, table) ? last.table : table, healthChecks };
  }
}

/** A Service as it is planned, with what it claims. */
interface PlannedService {
  /** As they would be alone. */
  readonly wanted: readonly ServicePort[];
  /** Without the addresses that other Services have won. */
  readonly ports: readonly ServicePort[];
  readonly healthCheck: HealthCheck | undefined;
}

interface Wish {
  readonly ports: readonly ServicePort[];
  readonly healthCheck: HealthCheck | undefined;
}

const unplanned: PlannedService = { wanted: [], ports: [], healthCheck: undefined };

interface FamilyResult {
  readonly ports: readonly ServicePort[];
  readonly healthChecks: readonly HealthCheck[];
}

class FamilyPlanner {
  readonly #family: IpFamily;
  readonly #options: PlanOptions;
  readonly #services = new Map<string, PlannedService>();
  readonly #claims = new Claims();
  #result: FamilyResult = { ports: [], healthChecks: [] };
  /** Whether `#result` is out of date. */
  #differs = false;

  constructor(family: IpFamily, options: PlanOptions) {
    this.#family = family;
    this.#options = options;
  }

  plan(objects: ClusterObjects, changed: ChangedServices): FamilyResult {
    const keys = changed === "all" ? new Set([...objects.services.keys(), ...this.#services.keys()]) : changed;
    const disputed = new Set<string>();
    for (const key of keys) this.#planService(key, objects, disputed);
    for (const key of new Set([...keys, ...disputed])) this.#settle(key);
    if (this.#differs) this.#result = this.#collect();
    this.#differs = false;
    return this.#result;
  }

  /** Plans one Service alone, and notes the others that its claims concern. */
  #planService(key: string, objects: ClusterObjects, disputed: Set<string>): void {
    const previous = this.#services.get(key) ?? unplanned;
    const wish = this.#wish(objects.services.get(key), objects);
    const wanted = reuse(previous.wanted, wish.ports);
    for (const port of previous.wanted) this.#withdraw(key, port, disputed);
    for (const port of wanted) this.#claim(key, port, disputed);
    const isSameHealth = isSameValue(previous.healthCheck, wish.healthCheck);
    this.#differs ||= !isSameHealth;
    this.#services.set(key, { wanted, ports: previous.ports, healthCheck: isSameHealth ? previous.healthCheck : wish.healthCheck });
  }

  #wish(service: ServiceObject | undefined, objects: ClusterObjects): Wish {
    if (service === undefined) return { ports: [], healthCheck: undefined };
    const slices = [...(objects.slices.get(`${service.namespace}/${service.name}`)?.values() ?? [])];
    const { externalIps } = this.#options;
    const { ports, localReadyEndpoints } = planServicePorts({ service, slices, node: objects.node, family: this.#family, externalIps });
    return { ports, healthCheck: ports.length === 0 ? undefined : healthCheckOf(service, localReadyEndpoints) };
  }

  #withdraw(key: string, port: ServicePort, disputed: Set<string>): void {
    for (const { frontend } of frontendsOf(port)) {
      this.#claims.remove(frontend, key);
      for (const other of this.#claims.claimants(frontend)) disputed.add(other);
    }
  }

  #claim(key: string, port: ServicePort, disputed: Set<string>): void {
    for (const { frontend, kind } of frontendsOf(port)) {
      for (const other of this.#claims.claimants(frontend)) disputed.add(other);
      this.#claims.add(frontend, { kind, service: key, portName: port.portName });
    }
  }

  /** Gives a Service the addresses that it has won. */
  #settle(key: string): void {
    const planned = this.#services.get(key);
    if (planned === undefined) return;
    const { wanted, healthCheck } = planned;
    const ports = reuse(
      planned.ports,
      wanted.map((port) => this.#won(key, port)).filter((port) => port !== undefined),
    );
    this.#differs ||= ports !== planned.ports;
    if (wanted.length === 0) this.#services.delete(key);
    else this.#services.set(key, { wanted, ports, healthCheck });
  }

  /** A port without what other Services have won of it; undefined if not even its cluster IP is its own. */
  #won(key: string, port: ServicePort): ServicePort | undefined {
    const isOwn = (address: string, number: number, kind: ClaimKind): boolean => {
      const winner = this.#claims.winner(frontendName(address, port.protocol, number));
      return winner?.service === key && winner.portName === port.portName && winner.kind === kind;
    };
    if (!isOwn(port.clusterIp, port.port, "assigned")) return undefined;
    const loadBalancerIps = port.loadBalancerIps.filter((ip) => isOwn(ip, port.port, "loadBalancer"));
    const externalIps = port.externalIps.filter((ip) => isOwn(ip, port.port, "external"));
    const nodePort = port.nodePort !== undefined && isOwn("", port.nodePort, "assigned") ? port.nodePort : undefined;
    const isWhole =
      loadBalancerIps.length === port.loadBalancerIps.length &&
      externalIps.length === port.externalIps.length &&
      nodePort === port.nodePort;
    return isWhole ? port : { ...port, loadBalancerIps, externalIps, nodePort };
  }

  #collect(): FamilyResult {
    const ports: ServicePort[] = [];
    const healthChecks: HealthCheck[] = [];
    for (const planned of this.#services.values()) {
      for (const port of planned.ports) ports.push(port);
      if (planned.healthCheck !== undefined) healthChecks.push(planned.healthCheck);
    }
    return { ports, healthChecks };
  }
}

function healthCheckOf(service: ServiceObject, localReadyEndpoints: number): HealthCheck | undefined {
  if (service.type !== "LoadBalancer" || service.healthCheckNodePort === undefined || !keepsClientAddress(service)) return undefined;
  return { namespace: service.namespace, name: service.name, port: service.healthCheckNodePort, localReadyEndpoints };
}

function frontendsOf(port: ServicePort): readonly { readonly frontend: string; readonly kind: ClaimKind }[] {
  const at = (kind: ClaimKind) => (address: string) => ({ frontend: frontendName(address, port.protocol, port.port), kind });
  return [
    at("assigned")(port.clusterIp),
    ...(port.nodePort === undefined ? [] : [{ frontend: frontendName("", port.protocol, port.nodePort), kind: "assigned" as const }]),
    ...port.loadBalancerIps.map(at("loadBalancer")),
    ...port.externalIps.map(at("external")),
  ];
}

/** The new ports, with the old object for each that is equal to it, and the old list if nothing differs. */
function reuse(old: readonly ServicePort[], now: readonly ServicePort[]): readonly ServicePort[] {
  const ports = now.map((port) => {
    const before = old.find(({ portName, protocol }) => portName === port.portName && protocol === port.protocol);
    return before !== undefined && isSamePort(before, port) ? before : port;
  });
  return ports.length === old.length && ports.every((port, index) => port === old[index]) ? old : ports;
}

function isSamePort(one: ServicePort, other: ServicePort): boolean {
  return (
    one.clusterIp === other.clusterIp &&
    one.port === other.port &&
    one.nodePort === other.nodePort &&
    one.keepsClientAddress === other.keepsClientAddress &&
    one.affinitySeconds === other.affinitySeconds &&
    isSameValue(one.externalIps, other.externalIps) &&
    isSameValue(one.loadBalancerIps, other.loadBalancerIps) &&
    isSameValue(one.sourceRanges, other.sourceRanges) &&
    isSameOutcome(one.internal, other.internal) &&
    isSameOutcome(one.external, other.external) &&
    isSameOutcome(one.externalFromInside, other.externalFromInside) &&
    isSameValue(one.serving, other.serving)
  );
}

function isSameOutcome(one: Outcome, other: Outcome): boolean {
  if (one.type !== "balance" || other.type !== "balance") return one.type === other.type;
  return isSameValue(one.endpoints, other.endpoints);
}

/** Whether two values of texts, numbers, lists and plain objects are equal; ours are small and built with their keys in one order. */
function isSameValue(one: unknown, other: unknown): boolean {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

/** Whether what matters to planning is the same: readiness to serve is for the health checks. */
function isSamePlace(one: NodeObject, other: NodeObject): boolean {
  return one.name === other.name && one.zone === other.zone && isSameValue(one.internalIps, other.internalIps);
}

function isSameTable(one: ServiceTable, other: ServiceTable): boolean {
  return one.ports === other.ports && isSameValue({ ...one, ports: [] }, { ...other, ports: [] });
}

function cidrsOf(cidrs: readonly string[], family: IpFamily): readonly string[] {
  const ranges = cidrs.map(parseRange).filter((range) => range !== undefined);
  return mergeRanges(ranges.filter((range) => range.family === family)).map(({ text }) => text);
}

/** Without a range of a family, that family's sources cannot be told apart, as in kube-proxy. */
function localDetectionOf(detection: LocalDetection, family: IpFamily): LocalDetection {
  if (detection.type !== "cidrs") return detection;
  const cidrs = cidrsOf(detection.cidrs, family);
  return cidrs.length === 0 ? { type: "none" } : { type: "cidrs", cidrs };
}
