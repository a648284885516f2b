/** What goes wrong: crashes, two controllers, a Lease that is lost, apiservers and providers that refuse. */
import { describe, expect, it } from "vitest";
import { ProviderError } from "#agent/load-balancer/driver.ts";
import type { ProviderGate } from "#agent/load-balancer/gate.ts";
import { cleanupFinalizer } from "#agent/load-balancer/plan.ts";
import { rawNode, rawService, testClass } from "./makers.ts";
import { TestCloud, TestCloudDriver } from "./test-cloud.ts";
import { World } from "./world.ts";

function makeWorld() {
  const world = new World();
  const cloud = new TestCloud();
  const driver = (gate: ProviderGate) => new TestCloudDriver(cloud, gate);
  world.put("nodes", rawNode(1));
  world.put("services", rawService());
  return { world, cloud, driver };
}

/** Every call of provider and apiserver, in their order, counted as one. */
function countCalls({ world, cloud }: ReturnType<typeof makeWorld>, onCall: (index: number) => void): void {
  let index = 0;
  const next = () => onCall(index++);
  cloud.fault = next;
  world.override = () => {
    next();
    return undefined;
  };
}

const steps = Array.from({ length: 10 }, (_, index) => index);

describe("a crash", () => {
  it.each(steps)("before call %i leaves nothing that the next process does not set right", async (step) => {
    const made = makeWorld();
    const { world, cloud, driver } = made;
    const first = world.start({ driver });
    countCalls(made, (index) => {
      if (index < step) return;
      first.crash();
      throw new Error("crash");
    });
    await first.controller.whenIdle();
    countCalls(made, () => undefined);
    const second = world.start({ driver });
    await second.controller.whenIdle();
    expect([world.addresses("web"), cloud.balancers.size, world.finalizers("web")]).toEqual([
      [[...cloud.balancers.values()].map(({ id }) => `${id}.cloud.example`)[0]],
      1,
      [cleanupFinalizer, testClass],
    ]);
  });

  it.each(steps)("before call %i of a deletion leaves nothing at all", async (step) => {
    const made = makeWorld();
    const { world, cloud, driver } = made;
    const first = world.start({ driver });
    await first.controller.whenIdle();
    countCalls(made, (index) => {
      if (index < step) return;
      first.crash();
      throw new Error("crash");
    });
    world.remove("services", "shop/web");
    await first.controller.whenIdle();
    countCalls(made, () => undefined);
    await world.start({ driver }).controller.whenIdle();
    expect([world.service("web"), cloud.balancers.size]).toEqual([undefined, 0]);
  });
});

/** What a new Service takes: two patches, and at the provider a look, and three calls that write. */
const ensureSteps = Array.from({ length: 6 }, (_, index) => index);

describe("the Lease", () => {
  it.each(ensureSteps)("that is lost with call %i is the end of all calls that write, and of events", async (step) => {
    const made = makeWorld();
    const { world, cloud, driver } = made;
    const process = world.start({ driver });
    let said = 0;
    const written = () => cloud.writes + world.patches;
    let atLoss = 0;
    countCalls(made, (index) => {
      if (index !== step) return;
      process.lease.isHeld = false;
      [said, atLoss] = [world.journal.filter((line) => !line.startsWith("patch")).length, written()];
    });
    await process.controller.whenIdle();
    expect([process.lease.isHeld, written()]).toEqual([false, atLoss]);
    world.put("nodes", rawNode(2));
    world.edit("web", { spec: { externalTrafficPolicy: "Local" } });
    await process.controller.whenIdle();
    expect([written(), world.journal.filter((line) => !line.startsWith("patch")).length]).toEqual([atLoss, said]);
  });

  it("that is lost between provider and status leaves the status alone", async () => {
    const { world, cloud, driver } = makeWorld();
    const process = world.start({ driver });
    cloud.fault = (call) => {
      if (call === "setTargets") process.lease.isHeld = false;
    };
    await process.controller.whenIdle();
    expect([world.journal, world.addresses("web")]).toEqual([["EnsuringLoadBalancer web", "patch finalizers"], []]);
  });

  it("that is lost while a Service is deleted leaves its finalizers", async () => {
    const { world, cloud, driver } = makeWorld();
    const process = world.start({ driver });
    await process.controller.whenIdle();
    cloud.fault = (call) => {
      if (call === "remove") process.lease.isHeld = false;
    };
    world.remove("services", "shop/web");
    await process.controller.whenIdle();
    expect(world.finalizers("web")).toEqual([cleanupFinalizer, testClass]);
  });
});

describe("two controllers at once", () => {
  it("of two classes touch each their own, also when both have the common finalizer", async () => {
    const { world, driver } = makeWorld();
    const ours = world.start({ driver });
    await ours.controller.whenIdle();
    const other = { loadBalancerClass: "example.com/other", takesUnclassed: true };
    const others = world.start({ driver, classes: other });
    await others.controller.whenIdle();
    world.edit("web", { spec: { type: "ClusterIP" } });
    await Promise.all([ours.controller.whenIdle(), others.controller.whenIdle()]);
    expect(world.journal.filter((line) => line === "DeletingLoadBalancer web")).toHaveLength(1);
  });

  it("of one class by mistake make one load balancer, and the later write is refused", async () => {
    const { world, cloud, driver } = makeWorld();
    const [first, second] = [world.start({ driver }), world.start({ driver })];
    await Promise.all([first.controller.whenIdle(), second.controller.whenIdle()]);
    world.clock.advance(1_000);
    await Promise.all([first.controller.whenIdle(), second.controller.whenIdle()]);
    expect([cloud.balancers.size, world.addresses("web")]).toEqual([1, ["lb-1.cloud.example"]]);
  });
});

describe("an apiserver", () => {
  it.each([
    ["too busy", { status: 429, object: { reason: "TooManyRequests" } }],
    ["broken", { status: 500, object: { reason: "InternalError" } }],
    ["unreachable", new Error("connection refused")],
  ])("that is %s is asked again, later and later", async (_what, answer) => {
    const { world, cloud, driver } = makeWorld();
    world.override = () => answer;
    const process = world.start({ driver });
    await process.controller.whenIdle();
    expect(cloud.writes).toBe(0);
    for (const waitMs of [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]) {
      const failures = process.failures.length;
      world.clock.advance(waitMs - 1);
      await process.controller.whenIdle();
      expect(process.failures.length).toBe(failures);
      world.clock.advance(1);
      await process.controller.whenIdle();
      expect(process.failures.length).toBe(failures + 1);
    }
    world.override = () => undefined;
    world.clock.advance(300_000);
    await process.controller.whenIdle();
    expect(world.addresses("web")).toEqual(["lb-1.cloud.example"]);
  });

  it("that asks for a longer wait gets it", async () => {
    const { world, driver } = makeWorld();
    world.override = () => ({ status: 429, object: { reason: "TooManyRequests" }, headers: [["Retry-After", "60"]] });
    const process = world.start({ driver });
    await process.controller.whenIdle();
    world.clock.advance(59_999);
    await process.controller.whenIdle();
    expect(process.failures).toHaveLength(1);
    world.clock.advance(1);
    await process.controller.whenIdle();
    expect(process.failures).toHaveLength(2);
  });

  it("that has a newer Service is asked again with that", async () => {
    const { world, driver } = makeWorld();
    const process = world.start({ driver });
    process.isBlind = true;
    world.edit("web", { metadata: { labels: { app: "web" } } });
    await process.controller.whenIdle();
    expect(world.finalizers("web")).toEqual([]);
    process.isBlind = false;
    world.put("nodes", rawNode(3));
    world.clock.advance(1_000);
    await process.controller.whenIdle();
    expect([world.addresses("web"), process.failures]).toEqual([["lb-1.cloud.example"], []]);
  });
});

describe("a provider", () => {
  it("that asks for a pause gets it, for every Service", async () => {
    const { world, cloud, driver } = makeWorld();
    cloud.fault = (call) => {
      if (call === "create") throw new ProviderError("too many requests", { retryAfterMs: 60_000 });
    };
    const process = world.start({ driver });
    await process.controller.whenIdle();
    expect(world.condition("web")).toBe("False SyncLoadBalancerFailed too many requests");
    cloud.fault = () => undefined;
    world.put("services", rawService({ name: "dns" }));
    const calls = cloud.calls.length;
    world.clock.advance(59_999);
    expect(cloud.calls.length).toBe(calls);
    world.clock.advance(1);
    await process.controller.whenIdle();
    expect([world.addresses("web").length, world.addresses("dns").length]).toEqual([1, 1]);
  });

  it("has load balancers that no Service has: they are told, and stay", async () => {
    const { world, cloud, driver } = makeWorld();
    cloud.create({ clusterId: "cluster-1", serviceUid: "uid-of-before" });
    cloud.create({ clusterId: "cluster-2", serviceUid: "uid-elsewhere" });
    const process = world.start({ driver });
    await process.controller.whenIdle();
    expect(process.orphans.map(({ owner }) => owner.serviceUid)).toEqual(["uid-of-before"]);
    expect(cloud.balancers.size).toBe(3);
  });
});
