/** The role's metrics: the service controller's by its names (k8s.io/cloud-provider), and our own. */
import { processUsage } from "./machine.ts";
import type { ReconcilerObserver } from "./load-balancer/reconciler.ts";
import { MetricRegistry } from "./service-proxy/metrics.ts";

/** 1 ms to 16 s, each twice the last. */
const buckets = Array.from({ length: 15 }, (_, index) => 0.001 * 2 ** index);

export interface LoadBalancerGauges {
  readonly queueDepth: () => number;
  readonly isLeading: () => boolean;
  readonly orphans: () => number;
  readonly lostEvents: () => number;
  /** Services that have what they ask for, and those that wait for it. */
  readonly services: () => { readonly ready: number; readonly pending: number };
}

export class LoadBalancerMetrics implements ReconcilerObserver {
  readonly registry = new MetricRegistry();
  readonly #log: (event: object) => void;
  readonly #syncs = this.#counter("service_controller_loadbalancer_sync_total", "Load balancer host updates");
  readonly #nodeErrors = this.#counter("service_controller_nodesync_error_total", "Load balancer host updates that failed");
  readonly #updates = this.#histogram("service_controller_update_loadbalancer_host_latency_seconds", "Latency of a host update");
  readonly #durations = this.#histogram("sallyport_load_balancer_sync_duration_seconds", "Time to work on a Service");
  readonly #failures = this.#counter("sallyport_load_balancer_failures_total", "Work on a Service that failed");

  constructor(gauges: LoadBalancerGauges, log: (event: object) => void) {
    this.#log = log;
    for (const counter of [this.#syncs, this.#nodeErrors, this.#failures]) counter.add({}, 0);
    const gauge = (name: string, help: string, read: () => number) =>
      this.registry.observed({ name: `sallyport_load_balancer_${name}`, help, type: "gauge", read });
    gauge("queue_depth", "Services that wait to be worked on", gauges.queueDepth);
    gauge("leader", "Whether this replica has the Lease", () => Number(gauges.isLeading()));
    gauge("orphans", "Load balancers of no Service, when it was last looked", gauges.orphans);
    gauge("events_lost", "Events that could not be written", gauges.lostEvents);
    this.registry.sampled({
      name: "sallyport_load_balancer_services",
      help: "Services by whether they have their load balancer",
      type: "gauge",
      read: () => Object.entries(gauges.services()).map(([state, value]) => ({ labels: { state }, value })),
    });
    const help = "Total user and system CPU time spent in seconds.";
    this.registry.observed({ name: "process_cpu_seconds_total", help, type: "counter", read: () => processUsage().cpuSeconds });
    const memory = { name: "process_resident_memory_bytes", help: "Resident memory size in bytes." };
    this.registry.observed({ ...memory, type: "gauge", read: () => processUsage().residentBytes });
  }

  synced(_service: string, kind: "ensure" | "look", durationMs: number, outcome: "done" | "later" | "failed"): void {
    this.#durations.observe(durationMs / 1000, { outcome });
    if (kind === "ensure") return;
    this.#syncs.add();
    this.#updates.observe(durationMs / 1000);
    if (outcome === "failed") this.#nodeErrors.add();
  }

  failed(service: string, message: string): void {
    this.#failures.add();
    this.#log({ event: "load-balancer-failed", service, message });
  }

  #counter(name: string, help: string) {
    return this.registry.counter({ name, help });
  }

  #histogram(name: string, help: string) {
    return this.registry.histogram({ name, help, buckets });
  }
}
