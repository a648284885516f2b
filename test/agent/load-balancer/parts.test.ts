/** The parts that only compute, or only wait. */
import { describe, expect, it } from "vitest";
import { isReserved, parsePortRanges } from "#agent/load-balancer/drivers/node-ip-options.ts";
import { LeaseLost, ProviderGate } from "#agent/load-balancer/gate.ts";
import { matchesLabels, parseLabelSelector } from "#agent/load-balancer/label-selector.ts";
import { describePlan } from "#agent/load-balancer/description.ts";
import { isIncluded } from "#agent/load-balancer/nodes.ts";
import { findOrphans } from "#agent/load-balancer/orphans.ts";
import { planLoadBalancer } from "#agent/load-balancer/plan.ts";
import { TokenBucket } from "#agent/load-balancer/token-bucket.ts";
import { WorkQueue } from "#agent/load-balancer/work-queue.ts";
import type { WorkOutcome } from "#agent/load-balancer/work-queue.ts";
import { ManualClock } from "../manual-clock.ts";
import { classes, makeStore, rawNode, rawService, readService } from "./makers.ts";
import { TestCloud, TestCloudDriver } from "./test-cloud.ts";

describe("a label selector", () => {
  const labels = { pool: "edge", "example.com/zone": "a", empty: "" };
  it.each([
    ["", true],
    ["pool", true],
    ["!pool", false],
    ["pool=edge", true],
    ["pool == edge", true],
    ["pool!=edge", false],
    ["absent!=x", true],
    ["pool in (core, edge)", true],
    ["pool notin (core,edge)", false],
    ["example.com/zone=a, pool=edge", true],
    ["example.com/zone=a,pool=core", false],
    ["empty=", true],
    ["constructor", false],
  ])("%j says %j", (text, wanted) => {
    const selector = parseLabelSelector(text);
    expect(selector !== undefined && matchesLabels(selector, labels)).toBe(wanted);
  });

  it.each(["a b", "=x", "pool=a=b", "pool in a", "pool in (a", "pool in (a b)", ",", "pool,", "(a)", "-x", "a".repeat(1_025)])(
    "%j is none",
    (text) => expect(parseLabelSelector(text)).toBeUndefined(),
  );
});

describe("ports that are kept", () => {
  it.each([
    ["22/TCP", 22, "TCP", true],
    ["22/TCP", 22, "UDP", false],
    ["22", 22, "UDP", true],
    ["100-200/UDP, 22", 150, "UDP", true],
    ["100-200", 201, "TCP", false],
    ["", 22, "TCP", false],
  ] as const)("%j holds %i/%s: %j", (text, port, protocol, wanted) => {
    const options = { nodeSelector: [], addresses: "all", reservedPorts: parsePortRanges(text) ?? [] } as const;
    expect(isReserved(options, port, protocol)).toBe(wanted);
  });

  it.each(["x", "0", "1-", "9-1", "70000", "22/tcp", "22,,23"])("%j is no list of them", (text) => {
    expect(parsePortRanges(text)).toBeUndefined();
  });
});

describe("the exclusion label", () => {
  it.each([
    ["true", false],
    ["", false],
    ["yes", false],
    ["false", true],
    ["0", true],
    ["F", true],
  ])("of value %j includes the node: %j", (value, wanted) => {
    const labels = { "node.kubernetes.io/exclude-from-external-load-balancers": value };
    expect(isIncluded({ labels })).toBe(wanted);
  });
});

describe("a load balancer's health check", () => {
  it.each([
    ["Cluster", undefined, 10_256],
    ["Local", 31_000, 31_000],
    ["Local", undefined, 10_256],
  ])("with the policy %s and the port %j asks %i", (externalTrafficPolicy, healthCheckNodePort, port) => {
    const service = readService(rawService({ spec: { externalTrafficPolicy, healthCheckNodePort } }));
    expect(planLoadBalancer(service, { clusterId: "c", nodes: [] }).healthCheck).toEqual({ path: "/healthz", port });
  });
});

describe("a token bucket", () => {
  /** How many of some calls have begun. */
  async function begun(bucket: TokenBucket, count: number) {
    let calls = 0;
    for (let index = 0; index < count; index += 1) void bucket.take().then(() => (calls += 1));
    await settle();
    return () => calls;
  }

  it("lets some calls through at once, and then so many in a second", async () => {
    const clock = new ManualClock();
    const calls = await begun(new TokenBucket({ clock, perSecond: 10, burst: 5 }), 20);
    expect(calls()).toBe(5);
    clock.advance(1_000);
    await settle();
    expect(calls()).toBe(15);
    clock.advance(60_000);
    await settle();
    expect(calls()).toBe(20);
  });

  it("is not fuller after a long rest", async () => {
    const clock = new ManualClock();
    const bucket = new TokenBucket({ clock, perSecond: 10, burst: 5 });
    clock.advance(3_600_000);
    expect((await begun(bucket, 20))()).toBe(5);
  });

  it("pauses no longer than ten minutes, whatever a provider asks", async () => {
    const clock = new ManualClock();
    const bucket = new TokenBucket({ clock, perSecond: 10, burst: 5 });
    bucket.pause(86_400_000);
    const calls = await begun(bucket, 1);
    clock.advance(599_999);
    await settle();
    expect(calls()).toBe(0);
    clock.advance(1);
    await settle();
    expect(calls()).toBe(1);
  });
});

describe("the gate to a provider", () => {
  it("gives up the calls that wait when it is closed, and lets none through after", async () => {
    const bucket = new TokenBucket({ clock: new ManualClock(), perSecond: 10, burst: 5 });
    const gate = new ProviderGate({ bucket, isLeading: () => true });
    bucket.pause(60_000);
    let calls = 0;
    const call = async () => void (calls += 1);
    const waiting = gate.pass(call);
    gate.close();
    await expect(waiting).rejects.toBeInstanceOf(LeaseLost);
    await expect(gate.pass(call)).rejects.toBeInstanceOf(LeaseLost);
    expect(calls).toBe(0);
  });
});

describe("a queue", () => {
  function makeQueue(workers: number) {
    const clock = new ManualClock();
    const running: { readonly key: string; readonly end: (outcome: WorkOutcome) => void }[] = [];
    const work = (key: string) => new Promise<WorkOutcome>((end) => void running.push({ key, end }));
    const queue = new WorkQueue({ clock, random: () => 1, workers, work });
    const end = async (outcome: WorkOutcome) => {
      running.shift()?.end(outcome);
      await settle();
    };
    return { clock, queue, end, keys: () => running.map(({ key }) => key) };
  }

  it("has no more at work than there are workers, and none twice", async () => {
    const { queue, end, keys } = makeQueue(2);
    for (const key of ["a", "b", "c", "a", "c"]) queue.add(key);
    expect(keys()).toEqual(["a", "b"]);
    await end({ type: "done" });
    expect(keys()).toEqual(["b", "c"]);
    await end({ type: "done" });
    // What was added while it was worked on is worked on again.
    expect(keys()).toEqual(["c", "a"]);
  });

  it("waits longer after each failure, spread by a tenth, and begins anew after a success", async () => {
    const { queue, clock, end, keys } = makeQueue(1);
    queue.add("a");
    for (const waitMs of [5_500, 11_000, 22_000]) {
      await end({ type: "failed", atLeastMs: 0 });
      clock.advance(waitMs - 1);
      expect(keys()).toEqual([]);
      clock.advance(1);
      expect(keys()).toEqual(["a"]);
    }
    await end({ type: "done" });
    queue.add("a");
    await end({ type: "failed", atLeastMs: 0 });
    clock.advance(5_500);
    expect(keys()).toEqual(["a"]);
  });

  it("waits at least as long as it is asked to", async () => {
    const { queue, clock, end, keys } = makeQueue(1);
    queue.add("a");
    await end({ type: "failed", atLeastMs: 60_000 });
    clock.advance(59_999);
    expect(keys()).toEqual([]);
    clock.advance(1);
    expect(keys()).toEqual(["a"]);
  });

  it("does not wait when there is something new", async () => {
    const { queue, end, keys } = makeQueue(1);
    queue.add("a");
    await end({ type: "failed", atLeastMs: 0 });
    queue.add("a");
    expect(keys()).toEqual(["a"]);
  });

  it("begins nothing after its end", async () => {
    const { queue, end, keys } = makeQueue(1);
    for (const key of ["a", "b"]) queue.add(key);
    const stopped = queue.stop();
    await end({ type: "done" });
    await stopped;
    expect(keys()).toEqual([]);
  });
});

describe("orphans", () => {
  it("are what is listed of this cluster and of no Service of ours, whatever else a driver lists", () => {
    const store = makeStore([rawService(), rawService({ name: "other", spec: { loadBalancerClass: "example.com/other" } })], []);
    const listed = [
      ["c", "uid-web"],
      ["c", "uid-gone"],
      ["c", "uid-other"],
      ["elsewhere", "uid-gone"],
    ].map(([clusterId = "", serviceUid = ""]) => ({ id: `${clusterId} ${serviceUid}`, owner: { clusterId, serviceUid } }));
    expect(findOrphans(listed, store, { clusterId: "c", classes }).map(({ id }) => id)).toEqual(["c uid-gone", "c uid-other"]);
  });
});

describe("a plan for people", () => {
  it("names what would be made, kept, removed and refused, and orphans; and changes nothing", async () => {
    const cloud = new TestCloud();
    cloud.create({ clusterId: "c", serviceUid: "uid-gone" });
    const removed = { finalizers: [classes.loadBalancerClass], deletionTimestamp: "2026-01-02T00:00:00Z" };
    const status = { loadBalancer: { ingress: [{ hostname: "lb-2.cloud.example" }] } };
    const store = makeStore(
      [
        rawService({ name: "bad", metadata: { annotations: { "sallyport.dev/test-size": "huge" } } }),
        rawService({ name: "kept", status }),
        rawService({ name: "new" }),
        rawService({ name: "old", metadata: removed, status }),
        rawService({ name: "other", spec: { loadBalancerClass: "example.com/other" } }),
      ],
      [rawNode(1)],
    );
    const driver = new TestCloudDriver(cloud, { pass: (call) => call() });
    const text = await describePlan({ view: store, driver, classes, readiness: "ignore", clusterId: "c" });
    expect(text.split("\n")).toEqual([
      "test-cloud: 1 of 1 nodes",
      "shop/bad: pending, the annotation sallyport.dev/test-size is small or large",
      "shop/kept: keep lb-2.cloud.example",
      "shop/new: change nothing to lb-3.cloud.example",
      "shop/old: remove lb-2.cloud.example",
      "orphan: lb-1 of the Service with UID uid-gone, which is gone",
    ]);
  });
});

/** Lets everything run that waits for nothing but its turn. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}
