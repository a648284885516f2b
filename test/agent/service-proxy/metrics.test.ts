import { describe, expect, it } from "vitest";
import { MetricRegistry } from "#agent/service-proxy/metrics.ts";
import { ProxyMetrics } from "#agent/service-proxy/proxy-metrics.ts";
import { makePort, makeTable } from "./makers.ts";

describe("metrics in Prometheus' text format", () => {
  it("are sorted, with their help and type, and those without a value are left out", () => {
    const registry = new MetricRegistry();
    registry.counter({ name: "z_total", help: "Last\nline\\." }).add({ code: "200" }, 2);
    registry.gauge({ name: "never_set", help: "" });
    registry.gauge({ name: "a", help: "First." }).set(-1.5);
    registry.observed({ name: "m", help: "Read.", type: "gauge", read: () => 7 });
    expect(registry.render()).toBe(
      '# HELP a First.\n# TYPE a gauge\na -1.5\n# HELP m Read.\n# TYPE m gauge\nm 7\n# HELP z_total Last\\nline\\\\.\n# TYPE z_total counter\nz_total{code="200"} 2\n',
    );
  });

  it("cannot be broken by a label's value", () => {
    const registry = new MetricRegistry();
    registry.counter({ name: "a", help: "h" }).add({ name: 'x"} 1\n\\' });
    expect(registry.render().split("\n")[2]).toBe('a{name="x\\"} 1\\n\\\\"} 1');
  });

  it("count a value in its bucket and all above, at the bound too", () => {
    const registry = new MetricRegistry();
    const histogram = registry.histogram({ name: "h", help: "h", buckets: [0.5, 1, 2] });
    for (const value of [0.5, 0.7, 9]) histogram.observe(value, { f: "IPv4" });
    expect(registry.render().split("\n").slice(2, -1)).toEqual([
      'h_bucket{f="IPv4",le="0.5"} 1',
      'h_bucket{f="IPv4",le="1"} 2',
      'h_bucket{f="IPv4",le="2"} 2',
      'h_bucket{f="IPv4",le="+Inf"} 3',
      'h_sum{f="IPv4"} 10.2',
      'h_count{f="IPv4"} 3',
    ]);
  });
});

describe("kube-proxy's metrics", () => {
  const none = { services: new Set<string>(), serviceChanges: 0, endpointChanges: 0, triggers: [] };

  it("tell of runs, changes, flows and questions", () => {
    const metrics = new ProxyMetrics({ startMs: 10_000, pending: () => ({ services: 3, endpoints: 4 }) });
    metrics.queued("IPv4", 12_000);
    metrics.took({ ...none, serviceChanges: 2, endpointChanges: 5 });
    const table = makeTable("IPv4", {
      ports: [makePort({ internal: { type: "drop" } }), makePort({ external: { type: "drop" } }), makePort({ external: { type: "drop" } })],
    });
    const triggers = [
      { family: "IPv4", atMs: 12_500 },
      { family: "IPv6", atMs: 12_500 },
      { family: "IPv4", atMs: 9_999 },
    ] as const;
    metrics.applied(
      { family: "IPv4", kind: "full", durationMs: 3, outcome: { type: "applied", changes: 1 }, table },
      { ...none, triggers },
      13_000,
    );
    metrics.applied(
      { family: "IPv6", kind: "partial", durationMs: 3, outcome: { type: "failed", message: "no" }, table: makeTable("IPv6") },
      none,
      13_000,
    );
    metrics.reconciled("IPv4", 2, 6);
    metrics.asked("healthz", 503);
    const lines = metrics.registry.render().split("\n");
    for (const line of [
      'kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.004"} 1',
      'kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1',
      'kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family="IPv6"} 1',
      'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 13',
      'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"} 12',
      'kubeproxy_network_programming_duration_seconds_bucket{ip_family="IPv4",le="0.5"} 1',
      'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 1',
      "kubeproxy_sync_proxy_rules_service_changes_pending 3",
      "kubeproxy_sync_proxy_rules_endpoint_changes_pending 4",
      "kubeproxy_sync_proxy_rules_service_changes_total 2",
      "kubeproxy_sync_proxy_rules_endpoint_changes_total 5",
      'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="internal",ip_family="IPv4"} 1',
      'kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external",ip_family="IPv4"} 2',
      'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv6"} 1',
      'kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 6',
      'kubeproxy_proxy_healthz_total{code="503"} 1',
    ])
      expect(lines).toContain(line);
    expect(lines).not.toContain('kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv6"} 13');
  });
});
