/** kube-proxy's metrics by kube-proxy's names (pkg/proxy/metrics), so that its dashboards and alerts go on. */
import type { IpFamily, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { MetricRegistry } from "./metrics.ts";
import type { Counter, Histogram } from "./metrics.ts";
import type { TakenChanges } from "./object-store.ts";
import type { FamilyRun } from "./sync-loop.ts";

/** 1 ms to 16 s, each twice the last. */
const syncBuckets = Array.from({ length: 15 }, (_, index) => 0.001 * 2 ** index);

/** 0.25 s to 5 min, as the network programming SLO has them. */
const programmingBuckets = [
  ...[0.25, 0.5],
  ...Array.from({ length: 59 }, (_, index) => index + 1),
  ...Array.from({ length: 12 }, (_, index) => 60 + 5 * index),
  ...Array.from({ length: 7 }, (_, index) => 120 + 30 * index),
];

export interface ProxyMetricsOptions {
  /** When this process began: changes from before are not its latency. Milliseconds since the epoch. */
  readonly startMs: number;
  /** Changes that wait to be planned. */
  readonly pending: () => { readonly services: number; readonly endpoints: number };
}

export class ProxyMetrics {
  readonly registry = new MetricRegistry();
  readonly #startMs: number;
  readonly #duration = this.#syncHistogram("sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds");
  readonly #full = this.#syncHistogram("sync_full_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds for full resyncs");
  readonly #partial = this.#syncHistogram(
    "sync_partial_proxy_rules_duration_seconds",
    "SyncProxyRules latency in seconds for partial resyncs",
  );
  readonly #programming = this.registry.histogram({
    name: "kubeproxy_network_programming_duration_seconds",
    help: "In Cluster Network Programming Latency in seconds",
    buckets: programmingBuckets,
  });
  readonly #lastSync = this.#gauge("sync_proxy_rules_last_timestamp_seconds", "The last time proxy rules were successfully synced");
  readonly #lastQueued = this.#gauge("sync_proxy_rules_last_queued_timestamp_seconds", "The last time a sync of proxy rules was queued");
  readonly #noLocal = this.#gauge(
    "sync_proxy_rules_no_local_endpoints_total",
    "Number of services with a Local traffic policy and no endpoints",
  );
  readonly #services = this.#counter("sync_proxy_rules_service_changes_total", "Cumulative proxy rules Service changes");
  readonly #endpoints = this.#counter("sync_proxy_rules_endpoint_changes_total", "Cumulative proxy rules Endpoint changes");
  readonly #failures = this.#counter("sync_proxy_rules_nftables_sync_failures_total", "Cumulative proxy nftables sync failures");
  readonly #healthz = this.#counter("proxy_healthz_total", "Cumulative proxy healthz HTTP status");
  readonly #livez = this.#counter("proxy_livez_total", "Cumulative proxy livez HTTP status");
  readonly #reconcile = this.#syncHistogram(
    "conntrack_reconciler_sync_duration_seconds",
    "ReconcileConntrackFlowsLatency latency in seconds",
  );
  readonly #ended = this.#counter(
    "conntrack_reconciler_deleted_entries_total",
    "Cumulative conntrack flows deleted by conntrack reconciler",
  );

  constructor({ startMs, pending }: ProxyMetricsOptions) {
    this.#startMs = startMs;
    const observed = (name: string, help: string, read: () => number) =>
      this.registry.observed({ name: `kubeproxy_${name}`, help, type: "gauge", read });
    observed("sync_proxy_rules_service_changes_pending", "Pending proxy rules Service changes", () => pending().services);
    observed("sync_proxy_rules_endpoint_changes_pending", "Pending proxy rules Endpoint changes", () => pending().endpoints);
    // Counters without labels are there from the start.
    this.#services.add({}, 0);
    this.#endpoints.add({}, 0);
  }

  /** The process' own use of the machine, by the names that every Prometheus client gives them. */
  observeProcess(usage: () => { readonly cpuSeconds: number; readonly residentBytes: number }): void {
    const help = { cpu: "Total user and system CPU time spent in seconds.", memory: "Resident memory size in bytes." };
    this.registry.observed({ name: "process_cpu_seconds_total", help: help.cpu, type: "counter", read: () => usage().cpuSeconds });
    this.registry.observed({ name: "process_resident_memory_bytes", help: help.memory, type: "gauge", read: () => usage().residentBytes });
    const start = "Start time of the process since unix epoch in seconds.";
    this.registry.observed({ name: "process_start_time_seconds", help: start, type: "gauge", read: () => this.#startMs / 1000 });
  }

  queued(family: IpFamily, nowMs: number): void {
    this.#lastQueued.set(nowMs / 1000, labelsOf(family));
  }

  /** The changes that a run takes, once for all families. */
  took({ serviceChanges, endpointChanges }: TakenChanges): void {
    this.#services.add({}, serviceChanges);
    this.#endpoints.add({}, endpointChanges);
  }

  applied({ family, kind, durationMs, outcome, table }: FamilyRun, changes: TakenChanges, nowMs: number): void {
    const labels = labelsOf(family);
    this.#duration.observe(durationMs / 1000, labels);
    (kind === "full" ? this.#full : this.#partial).observe(durationMs / 1000, labels);
    if (outcome.type === "failed") {
      this.#failures.add(labels);
      return;
    }
    this.#lastSync.set(nowMs / 1000, labels);
    for (const { family: of, atMs } of changes.triggers)
      if (of === family && atMs >= this.#startMs) this.#programming.observe(Math.max(0, nowMs - atMs) / 1000, labels);
    this.#countNoLocal(table);
  }

  reconciled(family: IpFamily, durationMs: number, ended: number): void {
    this.#reconcile.observe(durationMs / 1000, labelsOf(family));
    this.#ended.add(labelsOf(family), ended);
  }

  asked(endpoint: "healthz" | "livez", status: number): void {
    (endpoint === "healthz" ? this.#healthz : this.#livez).add({ code: String(status) });
  }

  #countNoLocal({ ports, family }: ServiceTable): void {
    const internal = ports.filter((port) => port.internal.type === "drop").length;
    const external = ports.filter((port) => port.external.type === "drop").length;
    this.#noLocal.set(internal, { traffic_policy: "internal", ...labelsOf(family) });
    this.#noLocal.set(external, { traffic_policy: "external", ...labelsOf(family) });
  }

  #syncHistogram(name: string, help: string): Histogram {
    return this.registry.histogram({ name: `kubeproxy_${name}`, help, buckets: syncBuckets });
  }

  #counter(name: string, help: string): Counter {
    return this.registry.counter({ name: `kubeproxy_${name}`, help });
  }

  #gauge(name: string, help: string): Counter {
    return this.registry.gauge({ name: `kubeproxy_${name}`, help });
  }
}

function labelsOf(family: IpFamily): { readonly ip_family: IpFamily } {
  return { ip_family: family };
}
