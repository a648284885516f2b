import { describe, expect, it } from "vitest";
import type { FailedFrontend, FrontendGroup, SocketsView } from "#agent/dataplane/dataplane.ts";
import { MetricRegistry } from "#agent/service-proxy/metrics.ts";
import { describeFailed, observeSockets } from "#agent/service-proxy/socket-report.ts";

function makeGroup(changes: Partial<FrontendGroup> = {}): FrontendGroup {
  return {
    family: "IPv4",
    kind: "localhostNodePort",
    protocol: "TCP",
    states: { listening: 2, closed: 1, failed: 0 },
    bindFailures: 3,
    counts: { connections: 10, active: 4, bytesFromClients: 500, bytesToClients: 700, refused: 5, failovers: 6 },
    ...changes,
  };
}

const failed: FailedFrontend = {
  family: "IPv6",
  kind: "localhostNodePort",
  protocol: "TCP",
  address: "::1",
  port: 30_080,
  service: "shop/web:http",
  reason: "another program listens",
};

function render(view: Partial<Record<"groups" | "failed", readonly unknown[]>>): readonly string[] {
  const registry = new MetricRegistry();
  observeSockets(registry, makeView(view));
  return registry
    .render()
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
}

function makeView({ groups = [], failed: list = [] }: Partial<Record<"groups" | "failed", readonly unknown[]>>): SocketsView {
  return { groups: () => groups as readonly FrontendGroup[], failed: () => list as readonly FailedFrontend[] };
}

describe("the metrics of sockets", () => {
  it("tell localhost node ports by kube-proxy's names", () => {
    const udp = makeGroup({ family: "IPv6", protocol: "UDP", states: { listening: 1, closed: 0, failed: 1 }, bindFailures: 7 });
    const lines = render({ groups: [makeGroup(), udp, makeGroup({ kind: "nodePort" })] });
    expect(lines.filter((line) => line.startsWith("kubeproxy_"))).toEqual([
      "kubeproxy_iptables_localhost_nodeports_accepted_packets_total 20",
      'kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total{ip_family="IPv4"} 3',
      'kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total{ip_family="IPv6"} 7',
      'kubeproxy_nftables_localhost_nodeport_listeners{ip_family="IPv4"} 2',
      'kubeproxy_nftables_localhost_nodeport_listeners{ip_family="IPv6"} 1',
    ]);
  });

  it("tell each kind of frontend by its state, and what it has done", () => {
    const lines = render({ groups: [makeGroup({ kind: "clusterIp" })] });
    const labels = 'ip_family="IPv4",kind="clusterIp",protocol="TCP"';
    expect(lines.filter((line) => line.startsWith("sallyport_"))).toEqual([
      `sallyport_sockets_active_connections{${labels}} 4`,
      `sallyport_sockets_bind_failures_total{${labels}} 3`,
      `sallyport_sockets_connections_total{${labels}} 10`,
      `sallyport_sockets_failovers_total{${labels}} 6`,
      `sallyport_sockets_frontends{${labels},state="listening"} 2`,
      `sallyport_sockets_frontends{${labels},state="closed"} 1`,
      `sallyport_sockets_frontends{${labels},state="failed"} 0`,
      `sallyport_sockets_received_bytes_total{${labels}} 500`,
      `sallyport_sockets_refused_total{${labels}} 5`,
      `sallyport_sockets_sent_bytes_total{${labels}} 700`,
    ]);
  });

  it("name the frontends that cannot be opened, a hundred at most", () => {
    const lines = render({ failed: Array.from({ length: 5_000 }, (_, port) => ({ ...failed, port, reason: 'a "b"\nc' })) });
    const named = lines.filter((line) => line.startsWith("sallyport_sockets_frontend_failed"));
    expect(named).toHaveLength(100);
    expect(named[7]).toBe(
      'sallyport_sockets_frontend_failed{ip_family="IPv6",kind="localhostNodePort",protocol="TCP",address="::1",port="7",service="shop/web:http",reason="a \\"b\\"\\nc"} 1',
    );
  });
});

describe("what is not served", () => {
  it("is said with the first reason, and how many there are", () => {
    const groups = [makeGroup({ states: { listening: 2, closed: 1, failed: 2 } }), makeGroup({ kind: "clusterIp" })];
    expect(describeFailed(makeView({ groups, failed: [failed, failed] }))).toBe(
      "2 of 8 frontends are not served: TCP [::1]:30080 of shop/web:http: another program listens; and 1 more",
    );
    expect(describeFailed(makeView({ groups }))).toBeUndefined();
  });
});
