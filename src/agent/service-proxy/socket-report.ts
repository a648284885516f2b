/** What the sockets of a dataplane tell: metrics, and a sentence for the node's state. */
import type { FailedFrontend, FrontendGroup, SocketsView } from "#agent/dataplane/dataplane.ts";
import type { MetricRegistry, Sample } from "./metrics.ts";

/** Frontends that are named one by one in the metrics: a machine where nothing can be opened has thousands. */
const maxNamed = 100;

/** Adds the metrics. Those of node ports at localhost have kube-proxy's names (KEP-6032, and its iptables mode's). */
export function observeSockets(registry: MetricRegistry, sockets: SocketsView): void {
  const groups = (read: (group: FrontendGroup) => number): (() => readonly Sample[]) => {
    return () => sockets.groups().map((group) => ({ labels: labelsOf(group), value: read(group) }));
  };
  const counter = (name: string, help: string, read: (group: FrontendGroup) => number): void =>
    registry.sampled({ name: `sallyport_sockets_${name}`, help, type: "counter", read: groups(read) });
  registry.sampled({
    name: "sallyport_sockets_frontends",
    help: "Addresses and ports that sockets serve, by state",
    type: "gauge",
    read: () => sockets.groups().flatMap(stateSamples),
  });
  registry.sampled({
    name: "sallyport_sockets_frontend_failed",
    help: `1 for each of the first ${maxNamed} frontends that cannot be opened, with the reason`,
    type: "gauge",
    read: () => sockets.failed().slice(0, maxNamed).map(failedSample),
  });
  registry.sampled({
    name: "sallyport_sockets_active_connections",
    help: "TCP connections and UDP flows that go on",
    type: "gauge",
    read: groups(({ counts }) => counts.active),
  });
  counter("connections_total", "Cumulative TCP connections and UDP flows that reached an endpoint", ({ counts }) => counts.connections);
  counter("refused_total", "Cumulative clients that were turned away; of UDP, datagrams", ({ counts }) => counts.refused);
  counter(
    "failovers_total",
    "Cumulative endpoints that did not take a connection, after which another was asked",
    ({ counts }) => counts.failovers,
  );
  counter("received_bytes_total", "Cumulative bytes from clients", ({ counts }) => counts.bytesFromClients);
  counter("sent_bytes_total", "Cumulative bytes to clients", ({ counts }) => counts.bytesToClients);
  counter("bind_failures_total", "Cumulative failures to open a socket", ({ bindFailures }) => bindFailures);
  observeLocalhost(registry, sockets);
}

/** What is not served although the table is applied; undefined when all is. */
export function describeFailed(sockets: SocketsView): string | undefined {
  const failed = sockets.failed();
  const [first] = failed;
  if (first === undefined) return undefined;
  const { protocol, address, port, service, reason } = first;
  const more = failed.length > 1 ? `; and ${failed.length - 1} more` : "";
  const at = address.includes(":") ? `[${address}]` : address;
  return `${failed.length} of ${countFrontends(sockets.groups())} frontends are not served: ${protocol} ${at}:${port} of ${service}: ${reason}${more}`;
}

function observeLocalhost(registry: MetricRegistry, sockets: SocketsView): void {
  const localhost = (): readonly FrontendGroup[] => sockets.groups().filter(({ kind }) => kind === "localhostNodePort");
  const byFamily = (read: (group: FrontendGroup) => number): readonly Sample[] =>
    (["IPv4", "IPv6"] as const).map((family) => ({
      labels: { ip_family: family },
      value: sum(
        localhost().filter((group) => group.family === family),
        read,
      ),
    }));
  registry.sampled({
    name: "kubeproxy_nftables_localhost_nodeport_listeners",
    help: "Number of active localhost NodePort listeners",
    type: "gauge",
    read: () => byFamily(({ states }) => states.listening),
  });
  registry.sampled({
    name: "kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total",
    help: "Cumulative failures to create a localhost NodePort listener",
    type: "counter",
    read: () => byFamily(({ bindFailures }) => bindFailures),
  });
  // kube-proxy counts in a chain that only a connection's first packet meets: connections, then.
  registry.observed({
    name: "kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
    help: "Number of packets accepted on nodeports of loopback interface",
    type: "counter",
    read: () => sum(localhost(), ({ counts }) => counts.connections),
  });
}

function stateSamples(group: FrontendGroup): readonly Sample[] {
  return Object.entries(group.states).map(([state, value]) => ({ labels: { ...labelsOf(group), state }, value }));
}

function failedSample({ address, port, service, reason, ...group }: FailedFrontend): Sample {
  return { labels: { ...labelsOf(group), address, port: String(port), service, reason }, value: 1 };
}

function labelsOf({ family, kind, protocol }: Pick<FrontendGroup, "family" | "kind" | "protocol">) {
  return { ip_family: family, kind, protocol };
}

function countFrontends(groups: readonly FrontendGroup[]): number {
  return sum(groups, ({ states }) => states.listening + states.closed + states.failed);
}

function sum(groups: readonly FrontendGroup[], read: (group: FrontendGroup) => number): number {
  return groups.reduce((total, group) => total + read(group), 0);
}
