import { describe, expect, it } from "vitest";
import type { ApplyOutcome, IpFamily } from "#agent/dataplane/dataplane.ts";
import { HealthCheckPorts } from "#agent/service-proxy/health-check-ports.ts";
import { ProxyHealth } from "#agent/service-proxy/health.ts";
import { ProxyMetrics } from "#agent/service-proxy/proxy-metrics.ts";
import { SyncReporter } from "#agent/service-proxy/reporting.ts";
import type { LogEvent } from "#agent/service-proxy/reporting.ts";
import { ManualClock } from "../manual-clock.ts";
import { makeTable } from "./makers.ts";

const noChanges = { services: new Set<string>(), serviceChanges: 0, endpointChanges: 0, triggers: [] };
const failed: ApplyOutcome = { type: "failed", message: "nft: no" };

function makeReporter() {
  const clock = new ManualClock();
  const log: LogEvent[] = [];
  const open = new Set<string>();
  const appliedFamilies: IpFamily[] = [];
  const health = new ProxyHealth({ families: ["IPv4", "IPv6"], clock, timeoutMs: 60_000 });
  const metrics = new ProxyMetrics({ startMs: clock.now(), pending: () => ({ services: 0, endpoints: 0 }) });
  const healthCheckPorts = new HealthCheckPorts({
    listen: async ({ host, port }) => {
      open.add(`${host} ${port}`);
      return { close: async () => void open.delete(`${host} ${port}`) };
    },
    addresses: () => ({ type: "all" }),
    isProxyHealthy: () => health.isHealthy,
    onFailure: () => undefined,
    clock,
  });
  const reporter = new SyncReporter({
    health,
    metrics,
    healthCheckPorts,
    clock,
    log: (event) => log.push(event),
    onApplied: (family) => appliedFamilies.push(family),
  });
  const apply = (family: IpFamily, outcome: ApplyOutcome) =>
    reporter.applied({ family, kind: "full", durationMs: 1, outcome, table: makeTable(family) }, noChanges);
  return { clock, log, open, appliedFamilies, health, reporter, apply };
}

describe("what is told of runs", () => {
  it("is a failure once while it stays the same, and its end", () => {
    const { log, apply } = makeReporter();
    for (const outcome of [
      failed,
      failed,
      { ...failed, message: "nft: other" },
      { type: "applied", changes: 1 },
      { type: "applied", changes: 1 },
    ] as const)
      apply("IPv4", outcome);
    expect(log).toEqual([
      { event: "sync-failed", family: "IPv4", message: "nft: no" },
      { event: "sync-failed", family: "IPv4", message: "nft: other" },
      { event: "sync-recovered", family: "IPv4" },
    ]);
  });

  it("keeps the health bad until the family that waits is applied", () => {
    const { clock, health, reporter, apply, appliedFamilies } = makeReporter();
    reporter.queued(["IPv4", "IPv6"]);
    apply("IPv4", { type: "applied", changes: 1 });
    apply("IPv6", failed);
    clock.advance(60_000);
    expect([health.isHealthy, appliedFamilies]).toEqual([false, ["IPv4"]]);
    apply("IPv6", { type: "applied", changes: 1 });
    expect(health.isHealthy).toBe(true);
  });

  it("tells of flows that could not be ended", () => {
    const { log, reporter } = makeReporter();
    reporter.reconciled("IPv4", { type: "failed", message: "EINTR" });
    reporter.reconciled("IPv4", { type: "ended", count: 0, durationMs: 1 });
    expect(log.map(({ event }) => event)).toEqual(["flows-failed", "flows-recovered"]);
  });

  it("leaves a family's health check ports open while the other's change", async () => {
    const { open, reporter } = makeReporter();
    const check = { namespace: "shop", name: "web", port: 32_000, localReadyEndpoints: 1 };
    reporter.healthChecks("IPv4", [check]);
    reporter.healthChecks("IPv6", [{ ...check, name: "api", port: 32_001 }]);
    reporter.healthChecks("IPv6", []);
    // Nothing in it waits for more than promises that are settled already.
    await new Promise((resolve) => setImmediate(resolve));
    expect([...open]).toEqual(["0.0.0.0 32000"]);
  });
});
