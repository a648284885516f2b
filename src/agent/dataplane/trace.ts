/** What a packet to a Service meets on one node, and why, as text for people: `sallyport trace service`. Pure, from what was read and planned. */
import type { ConnectionCount, CountedAddress } from "./conntrack/connections.ts";
import type { IpFamily, NodePortAddresses, Outcome, ServicePort, ServiceTable } from "./dataplane.ts";
import { type EndpointExplanation, explainService, type PortExplanation } from "./explanation.ts";
import type { ClusterObjects, NodeObject, ServiceObject, ServiceObjectPort, TrafficPolicy } from "./objects.ts";
import type { IgnoredAddress } from "./strict-view.ts";
import type { TopologyDecision } from "./topology.ts";

/** Endpoints whose connections are told apart in one line. */
const maxCountedEndpoints = 20;

/** Which Service, and which of its ports: by name or number, or all. */
export interface TraceTarget {
  readonly namespace: string;
  readonly name: string;
  readonly port: string | undefined;
}

export interface TraceInput {
  readonly target: TraceTarget;
  readonly objects: ClusterObjects;
  /** What was planned for this node, one for each family. */
  readonly tables: readonly ServiceTable[];
  /** What strict mode left out of the Service in these objects. */
  readonly ignored: readonly IgnoredAddress[];
  /** The connections of this machine, by `connectionKey`; empty where they were not asked for. */
  readonly connections: ReadonlyMap<string, ConnectionCount>;
}

/** What an address's connections are found by in a trace. */
export function connectionKey({ protocol, address = "", port, family }: CountedAddress): string {
  return `${family} ${protocol} ${address} ${port}`;
}

/** The addresses of a traced Service that connections may go to. */
export function tracedAddresses(target: TraceTarget, tables: readonly ServiceTable[]): readonly CountedAddress[] {
  return tables.flatMap(({ ports, nodePortAddresses }) =>
    ports
      .filter(({ namespace, name }) => namespace === target.namespace && name === target.name)
      .filter(({ portName, port }) => isWanted({ name: portName, port }, target.port))
      .flatMap((port) => frontendsOf(port, nodePortAddresses)),
  );
}

function frontendsOf(planned: ServicePort, nodePortAddresses: NodePortAddresses): readonly CountedAddress[] {
  const { family, protocol, clusterIp, loadBalancerIps, externalIps, port, nodePort } = planned;
  const here = nodePortAddresses.type === "all" ? [undefined] : nodePortAddresses.addresses;
  return [
    ...[clusterIp, ...loadBalancerIps, ...externalIps].map((address) => ({ family, protocol, address, port })),
    ...(nodePort === undefined ? [] : here.map((address) => ({ family, protocol, address, port: nodePort }))),
  ];
}

/** Reads `namespace/name`, or `namespace/name:port` with a port's name or number. */
export function parseTraceTarget(text: string): TraceTarget | undefined {
  const match = /^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)\/([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)(?::([a-z0-9-]{1,15}))?$/.exec(text);
  const [, namespace, , name, , port] = match ?? [];
  return namespace === undefined || name === undefined ? undefined : { namespace, name, port };
}

/** The explanation, with a line feed at its end. */
export function traceService({ target, objects, tables, ignored, connections }: TraceInput): string {
  const key = `${target.namespace}/${target.name}`;
  const service = objects.services.get(key);
  if (service === undefined)
    return `${key}: nothing is done for it. There is no such Service, or it is headless, of type ExternalName, or another proxy's by its labels\n`;
  const { node } = objects;
  const zone = node.zone === undefined ? "no zone" : `zone ${node.zone}`;
  const ports = tables.flatMap((table) => tracePorts(service, target.port, { objects, table, connections }));
  const body = ports.length > 0 ? ports : [`  ${nothingText(service, target.port)}`];
  const left = ignored.map(({ kind, address, reason }) => `  ${kind} ${address}: ignored in strict mode, because ${reason}`);
  const lines = [`Service ${key} (${service.type}), on node ${node.name} (${zone})`, ...left, ...body];
  return `${lines.map(toPlain).join("\n")}\n`;
}

function nothingText({ ports }: ServiceObject, wanted: string | undefined): string {
  return wanted === undefined || ports.some((port) => isWanted(port, wanted))
    ? "it has no cluster IP of a family that this node serves"
    : `it has no port ${wanted}: ${ports.map(portText).join(", ")}`;
}

interface Place {
  readonly objects: ClusterObjects;
  readonly table: ServiceTable;
  readonly connections: TraceInput["connections"];
}

function tracePorts(service: ServiceObject, wanted: string | undefined, { objects, table, connections }: Place): readonly string[] {
  const { family } = table;
  const slices = [...(objects.slices.get(`${service.namespace}/${service.name}`)?.values() ?? [])];
  const explanations = explainService(service, slices, objects.node, family);
  return service.ports.flatMap((port, index) => {
    const explanation = explanations[index];
    const planned = table.ports.find((other) => isPortOf(other, service, port));
    if (explanation === undefined || planned === undefined || !isWanted(port, wanted)) return [];
    return [
      "",
      `port ${portText(port)}, ${family}`,
      ...frontendLines(planned, service, table.nodePortAddresses),
      ...lostLines(planned, service),
      ...frontendsOf(planned, table.nodePortAddresses).flatMap((address) => connectionLines(address, connections)),
      ...(planned.affinitySeconds === undefined ? [] : [`  affinity: a client stays with its endpoint for ${planned.affinitySeconds} s`]),
      ...topologyLines(explanation),
      ...endpointLines(explanation, objects.node),
      ...explanation.strangePorts.map((name) => `  the EndpointSlices have a port "${name}", which the Service has not`),
    ];
  });
}

function isPortOf(planned: ServicePort, service: ServiceObject, port: ServiceObjectPort): boolean {
  const isSameService = planned.namespace === service.namespace && planned.name === service.name;
  return isSameService && planned.portName === port.name && planned.protocol === port.protocol;
}

/** What goes on now: where it leads may be an endpoint that takes nothing new any more. */
function connectionLines(counted: CountedAddress, connections: TraceInput["connections"]): readonly string[] {
  const count = connections.get(connectionKey(counted));
  if (count === undefined) return [];
  const { address = "any address", port } = counted;
  if (count.type === "failed") return [`  connections to ${at(address, port)}: not counted; ${count.message}`];
  const total = count.endpoints.reduce((sum, { connections: number }) => sum + number, 0);
  const parts = count.endpoints
    .slice(0, maxCountedEndpoints)
    .map((endpoint) => `${endpoint.connections} to ${at(endpoint.address, endpoint.port)}`);
  const more = count.endpoints.length > maxCountedEndpoints ? ["…"] : [];
  return [`  connections to ${at(address, port)} now: ${total}${total === 0 ? "" : ` (${[...parts, ...more].join(", ")})`}`];
}

function isWanted(port: Pick<ServiceObjectPort, "name" | "port">, wanted: string | undefined): boolean {
  return wanted === undefined || port.name === wanted || String(port.port) === wanted;
}

function portText({ name, port, protocol }: ServiceObjectPort): string {
  return name === "" ? `${port}/${protocol}` : `${name} (${port}/${protocol})`;
}

function frontendLines(planned: ServicePort, service: ServiceObject, nodePortAddresses: NodePortAddresses): readonly string[] {
  const { clusterIp, port, nodePort, externalIps, loadBalancerIps, sourceRanges } = planned;
  const outside = outsideText(planned, service.externalTrafficPolicy);
  const ranges = sourceRanges === undefined ? "" : `; only from ${sourceRanges.join(" ") || "nowhere"}, all others are dropped`;
  return [
    `  cluster IP ${at(clusterIp, port)}: ${outcomeText(planned.internal, service.internalTrafficPolicy, "internal")}`,
    ...loadBalancerIps.map((address) => `  load balancer IP ${at(address, port)}: ${outside}${ranges}`),
    ...externalIps.map((address) => `  external IP ${at(address, port)}: ${outside}`),
    ...(nodePort === undefined ? [] : [`  node port ${nodePort} at ${nodePortText(nodePortAddresses)}: ${outside}`]),
  ];
}

function nodePortText(addresses: NodePortAddresses): string {
  switch (addresses.type) {
    case "all":
      return "every address of the node";
    case "only":
      return addresses.addresses.join(" ") || "no address";
  }
}

function outsideText({ external, externalFromInside }: ServicePort, policy: TrafficPolicy): string {
  const outside = outcomeText(external, policy, "external");
  const inside = outcomeText(externalFromInside, "Cluster", "external");
  return outside === inside ? outside : `from outside ${outside}; from this node and its pods ${inside}`;
}

function outcomeText(outcome: Outcome, policy: TrafficPolicy, kind: "internal" | "external"): string {
  switch (outcome.type) {
    case "balance":
      return `to ${outcome.endpoints.map(({ address, port }) => at(address, port)).join(" ")}`;
    case "drop":
      return policy === "Local" ? `dropped, because ${kind}TrafficPolicy is Local and no endpoint is on this node` : "dropped";
    case "reject":
      return "refused, because there is no endpoint that could take it anywhere";
  }
}

/** Addresses that the Service has and that are not served for it here. */
function lostLines({ family, externalIps, loadBalancerIps }: ServicePort, service: ServiceObject): readonly string[] {
  const lost = (kind: string, address: string): string =>
    `  ${kind} ${address}: not served; another Service has it on this port, or this node is told to ignore it`;
  const proxied = service.ingress.filter(({ ip, mode }) => familyOf(ip) === family && mode === "Proxy");
  const virtual = service.ingress.filter(({ ip, mode }) => familyOf(ip) === family && mode === "VIP");
  return [
    ...(externalIps.length > 0 ? [] : service.externalIps.filter((ip) => familyOf(ip) === family).map((ip) => lost("external IP", ip))),
    ...(loadBalancerIps.length > 0 ? [] : virtual.map(({ ip }) => lost("load balancer IP", ip))),
    ...proxied.map(({ ip }) => `  load balancer IP ${ip}: left to the load balancer, because its ipMode is Proxy`),
  ];
}

function topologyLines({ topology, trafficDistribution }: PortExplanation): readonly string[] {
  if (topology.scope !== "everywhere") return [`  hints: traffic stays in this ${topology.scope}`];
  if (trafficDistribution === undefined) return [];
  return [`  ${trafficDistribution} is asked for, and not followed: ${topology.ignored.map(ignoredText).join("; ")}`];
}

function ignoredText({ kind, reason, endpoints }: TopologyDecision["ignored"][number]): string {
  return `${kind}: ${reason}${endpoints.length === 0 ? "" : ` (${endpoints.join(" ")})`}`;
}

function endpointLines({ endpoints }: PortExplanation, node: NodeObject): readonly string[] {
  if (endpoints.length === 0) return ["  endpoints: none"];
  const rows = endpoints.map((state) => [
    at(state.endpoint.address, state.endpoint.port),
    stateText(state, node),
    state.cluster,
    state.local,
  ]);
  return alignColumns([["endpoint", "state", "policy Cluster", "policy Local"], ...rows]).map((line) => `  ${line}`);
}

function stateText({ endpoint, ready, serving, terminating, zone }: EndpointExplanation, node: NodeObject): string {
  const health = ready ? "ready" : serving ? "serves" : "does not serve";
  const place = endpoint.isLocal ? "here" : zone === undefined || zone === node.zone ? "elsewhere" : `in zone ${zone}`;
  return [health, ...(terminating ? ["terminates"] : []), place].join(", ");
}

function alignColumns(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function familyOf(address: string): IpFamily {
  return address.includes(":") ? "IPv6" : "IPv4";
}

function at(address: string, port: number): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** What comes from the cluster may hold control characters, which a terminal would obey. */
function toPlain(line: string): string {
  return line.replaceAll(/\p{Cc}/gu, "?");
}
