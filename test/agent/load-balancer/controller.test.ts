/** The service controller's contract, with a provider of small steps. */
import { describe, expect, it } from "vitest";
import { ProviderError } from "#agent/load-balancer/driver.ts";
import type { ProviderGate } from "#agent/load-balancer/gate.ts";
import { cleanupFinalizer } from "#agent/load-balancer/plan.ts";
import { rawNode, rawService, testClass } from "./makers.ts";
import { sizeAnnotation, TestCloud, TestCloudDriver } from "./test-cloud.ts";
import { World } from "./world.ts";
import type { ControllerOptions, RunningController } from "./world.ts";

const udp = { name: "dns", protocol: "UDP", port: 53, nodePort: 30053, targetPort: 53 };

/** A Service and two nodes, and a process that has come to rest. */
async function startWorld(options: Partial<ControllerOptions> & { readonly service?: Parameters<typeof rawService>[0] } = {}) {
  const world = new World();
  const cloud = new TestCloud();
  const driver = (gate: ProviderGate) => new TestCloudDriver(cloud, gate);
  world.put("nodes", rawNode(1));
  world.put("nodes", rawNode(2));
  world.put("services", rawService(options.service));
  const start = (more: Partial<ControllerOptions> = {}) => world.start({ driver, ...options, ...more });
  const process = start();
  await process.controller.whenIdle();
  const balancer = () => [...cloud.balancers.values()][0];
  /** What the journal holds from now on. */
  const since = () => {
    const from = world.journal.length;
    return () => world.journal.slice(from);
  };
  return { world, cloud, driver, process, start, balancer, since };
}

const rest = async ({ controller }: RunningController) => controller.whenIdle();

describe("a new Service", () => {
  it("gets finalizers before anything is made, then its load balancer, then its status", async () => {
    const { world, cloud, balancer } = await startWorld();
    expect(world.journal).toEqual(["EnsuringLoadBalancer web", "patch finalizers", "EnsuredLoadBalancer web", "patch status"]);
    expect(world.finalizers("web")).toEqual([cleanupFinalizer, testClass]);
    expect(world.addresses("web")).toEqual(["lb-1.cloud.example"]);
    expect(world.condition("web")).toBe("True EnsuredLoadBalancer ");
    expect([[...(balancer()?.listeners ?? [])], balancer()?.targets, cloud.balancers.size]).toEqual([["TCP/80"], "test://1 test://2", 1]);
  });

  it.each([
    ["another class", { loadBalancerClass: "example.com/other" }],
    ["no class", { loadBalancerClass: undefined }],
    ["another type", { type: "NodePort", loadBalancerClass: undefined }],
  ])("of %s is left alone", async (_what, spec) => {
    const { world, cloud } = await startWorld({ service: { spec } });
    expect([world.journal, cloud.writes]).toEqual([[], 0]);
  });

  it("without a class is served by who is told so", async () => {
    const classes = { loadBalancerClass: testClass, takesUnclassed: true };
    const { world } = await startWorld({ service: { spec: { loadBalancerClass: undefined } }, classes });
    expect(world.addresses("web")).toEqual(["lb-1.cloud.example"]);
  });

  it("without a node is told so, and has its load balancer", async () => {
    const world = new World();
    const cloud = new TestCloud();
    world.put("services", rawService());
    await rest(world.start({ driver: (gate) => new TestCloudDriver(cloud, gate) }));
    expect(world.journal).toEqual([
      "EnsuringLoadBalancer web",
      "patch finalizers",
      "UnAvailableLoadBalancer web",
      "EnsuredLoadBalancer web",
      "patch status",
    ]);
    expect(world.condition("web")).toBe("False UnAvailableLoadBalancer There are no available nodes for LoadBalancer");
  });

  it("whose annotation is not understood says why, and asks the provider for nothing", async () => {
    const { world, cloud, process } = await startWorld({ service: { metadata: { annotations: { [sizeAnnotation]: "huge" } } } });
    const why = `the annotation ${sizeAnnotation} is small or large`;
    expect([cloud.writes, world.condition("web")]).toEqual([0, `False InvalidAnnotation ${why}`]);
    expect(world.notes.at(-1)).toBe(`Error syncing load balancer: ${why}`);
    world.edit("web", { metadata: { annotations: { [sizeAnnotation]: "large" } } });
    await rest(process);
    expect(world.condition("web")).toBe("True EnsuredLoadBalancer ");
  });
});

describe("a Service that has its load balancer", () => {
  it("is written to no more, neither by the same process nor by the next", async () => {
    const { world, cloud, process, start } = await startWorld();
    const before = [world.patches, cloud.writes];
    world.edit("web", { metadata: { labels: { app: "web" } } });
    await rest(process);
    process.crash();
    await rest(start());
    expect([world.patches, cloud.writes]).toEqual(before);
  });

  it.each([
    ["a port more", { spec: { ports: [udp, { name: "http", protocol: "TCP", port: 80 }] } }],
    ["another port", { spec: { ports: [udp] } }],
    ["the other protocol", { spec: { ports: [{ name: "http", protocol: "UDP", port: 80 }] } }],
    ["source ranges", { spec: { loadBalancerSourceRanges: ["192.0.2.0/24"] } }],
    ["an address wish", { spec: { loadBalancerIP: "192.0.2.1" } }],
    ["external IPs", { spec: { externalIPs: ["192.0.2.1"] } }],
    ["session affinity", { spec: { sessionAffinity: "ClientIP" } }],
    ["the other traffic policy", { spec: { externalTrafficPolicy: "Local" } }],
    ["a health check port", { spec: { healthCheckNodePort: 31_000 } }],
    ["a second family", { spec: { ipFamilies: ["IPv4", "IPv6"] } }],
    ["any annotation", { metadata: { annotations: { "example.com/anything": "at all" } } }],
  ])("is ensured again with %s", async (_what, change) => {
    const { world, process, since } = await startWorld();
    const journal = since();
    world.edit("web", change);
    await rest(process);
    expect(journal()).toEqual(["EnsuringLoadBalancer web", "EnsuredLoadBalancer web"]);
  });

  it("gets its ports as they change", async () => {
    const { world, process, balancer } = await startWorld();
    world.edit("web", { spec: { ports: [udp] } });
    await rest(process);
    expect([...(balancer()?.listeners ?? [])]).toEqual(["UDP/53"]);
  });

  it.each([["status", { loadBalancer: {} }]])("gets back a %s that somebody took away", async (_what, status) => {
    const { world, process } = await startWorld();
    world.put("services", { ...world.service("web"), status });
    await rest(process);
    expect(world.addresses("web")).toEqual(["lb-1.cloud.example"]);
  });

  it("gets back a finalizer that somebody took away", async () => {
    const { world, process } = await startWorld();
    world.edit("web", { metadata: { finalizers: [cleanupFinalizer] } });
    await rest(process);
    expect(world.finalizers("web")).toEqual([cleanupFinalizer, testClass]);
  });
});

describe("nodes", () => {
  it.each([
    ["added", (world: World) => world.put("nodes", rawNode(3)), "test://1 test://2 test://3"],
    ["deleted", (world: World) => world.remove("nodes", "node-2"), "test://1"],
    ["excluded", (world: World) => world.put("nodes", excluded("")), "test://1"],
    ["of another provider ID", (world: World) => world.put("nodes", rawNode(2, { spec: { providerID: "test://9" } })), "test://1 test://9"],
  ])("that are %s reach the load balancer", async (_what, change, targets) => {
    const { world, process, balancer, since } = await startWorld();
    const journal = since();
    change(world);
    await rest(process);
    expect([balancer()?.targets, journal()]).toEqual([targets, ["UpdatedLoadBalancer web"]]);
  });

  it.each([
    ["not ready", rawNode(2, { status: { conditions: [{ type: "Ready", status: "False" }] } })],
    ["cordoned", rawNode(2, { spec: { providerID: "test://2", unschedulable: true } })],
    ["tainted by the autoscaler", rawNode(2, { spec: { providerID: "test://2", taints: [{ key: "ToBeDeletedByClusterAutoscaler" }] } })],
    ["labelled as included", excluded("false")],
  ])("that are %s are no reason to call the provider", async (_what, node) => {
    const { world, cloud, process } = await startWorld();
    const before = cloud.calls.length;
    world.put("nodes", node);
    await rest(process);
    expect(cloud.calls.slice(before)).toEqual([]);
  });

  it("that are tainted by the autoscaler are left out with the next reason", async () => {
    const { world, process, balancer } = await startWorld();
    world.put("nodes", rawNode(2, { spec: { providerID: "test://2", taints: [{ key: "ToBeDeletedByClusterAutoscaler" }] } }));
    world.put("nodes", rawNode(3));
    await rest(process);
    expect(balancer()?.targets).toBe("test://1 test://3");
  });

  it("that are not ready are left out where that is asked for, unless none is ready", async () => {
    const { world, process, balancer } = await startWorld({ readiness: "require" });
    const unready = (index: number) => rawNode(index, { status: { conditions: [{ type: "Ready", status: "Unknown" }] } });
    world.put("nodes", unready(2));
    await rest(process);
    expect(balancer()?.targets).toBe("test://1");
    world.put("nodes", unready(1));
    await rest(process);
    expect(balancer()?.targets).toBe("test://1 test://2");
  });

  it("that are all gone are said to be", async () => {
    const { world, process, since } = await startWorld();
    world.remove("nodes", "node-1");
    await rest(process);
    const journal = since();
    world.remove("nodes", "node-2");
    await rest(process);
    expect(journal()).toEqual(["UnAvailableLoadBalancer web", "patch status"]);
  });

  it("that a provider does not take are told, and tried again as a whole", async () => {
    const { world, cloud, process, balancer, since } = await startWorld();
    cloud.fault = (call) => {
      if (call === "setTargets") throw new ProviderError("quota");
    };
    const journal = since();
    world.put("nodes", rawNode(3));
    await rest(process);
    expect(journal()).toEqual(["UpdateLoadBalancerFailed web", "patch status", "EnsuringLoadBalancer web", "SyncLoadBalancerFailed web"]);
    expect(world.condition("web")).toBe("False SyncLoadBalancerFailed quota");
    cloud.fault = () => undefined;
    world.clock.advance(5_500);
    await rest(process);
    expect([balancer()?.targets, journal().slice(4)]).toEqual([
      "test://1 test://2 test://3",
      ["EnsuringLoadBalancer web", "EnsuredLoadBalancer web", "patch status"],
    ]);
  });
});

function excluded(value: string) {
  return rawNode(2, { metadata: { labels: { "node.kubernetes.io/exclude-from-external-load-balancers": value } } });
}

describe("a Service that goes", () => {
  it("keeps its finalizers until the load balancer is gone", async () => {
    const { world, cloud, process, since } = await startWorld();
    const journal = since();
    world.remove("services", "shop/web");
    await rest(process);
    expect(journal()).toEqual(["DeletingLoadBalancer web", "patch finalizers", "DeletedLoadBalancer web"]);
    expect([world.service("web"), cloud.balancers.size]).toEqual([undefined, 0]);
  });

  it("and whose load balancer is half gone, loses the rest", async () => {
    const { world, cloud, process } = await startWorld();
    cloud.balancers.get("lb-1")?.listeners.clear();
    world.remove("services", "shop/web");
    await rest(process);
    expect([world.service("web"), cloud.balancers.size]).toEqual([undefined, 0]);
  });

  it("and whose load balancer somebody removed, goes all the same", async () => {
    const { world, cloud, process, since } = await startWorld();
    cloud.balancers.clear();
    const journal = since();
    world.remove("services", "shop/web");
    await rest(process);
    expect([world.service("web"), journal()]).toEqual([undefined, ["patch finalizers", "DeletedLoadBalancer web"]]);
  });

  it("stays while the provider refuses, and says so", async () => {
    const { world, cloud, process, since } = await startWorld();
    cloud.fault = (call) => {
      if (call === "remove") throw new ProviderError("the subnet is in use");
    };
    const journal = since();
    world.remove("services", "shop/web");
    await rest(process);
    expect(journal()).toEqual(["DeletingLoadBalancer web", "SyncLoadBalancerFailed web", "patch status"]);
    expect(world.finalizers("web")).toEqual([cleanupFinalizer, testClass]);
    expect(world.notes.at(-1)).toBe("Error syncing load balancer: the subnet is in use");
    cloud.fault = () => undefined;
    world.clock.advance(5_500);
    await rest(process);
    expect(world.service("web")).toBeUndefined();
  });

  it("by a changed type loses load balancer, finalizers and condition", async () => {
    const { world, cloud, process, since } = await startWorld();
    const journal = since();
    world.edit("web", { spec: { type: "ClusterIP" } });
    await rest(process);
    expect(journal()).toEqual(["DeletingLoadBalancer web", "patch finalizers", "DeletedLoadBalancer web", "patch status"]);
    expect([world.finalizers("web"), world.condition("web").trim(), cloud.balancers.size]).toEqual([[], "", 0]);
  });

  it("while no process runs is cleaned up by the next", async () => {
    const { world, cloud, process, start } = await startWorld();
    process.crash();
    world.remove("services", "shop/web");
    await rest(start());
    expect([world.service("web"), cloud.balancers.size]).toEqual([undefined, 0]);
  });

  it("because somebody took our finalizer, loses its load balancer too", async () => {
    const { world, cloud, process } = await startWorld();
    process.isBlind = true;
    world.edit("web", { metadata: { finalizers: [] } });
    world.remove("services", "shop/web");
    process.isBlind = false;
    world.put("nodes", rawNode(1));
    await rest(process);
    expect(cloud.balancers.size).toBe(0);
  });

  it.each([
    ["its type", { spec: { type: "ClusterIP" }, metadata: { finalizers: [] } }],
    ["its life", { metadata: { finalizers: ["example.com/other"], deletionTimestamp: "2026-01-02T00:00:00Z" } }],
  ])("together with our finalizer by the end of %s, loses its load balancer too", async (_what, change) => {
    const { world, cloud, process, since } = await startWorld();
    const journal = since();
    world.edit("web", change);
    await rest(process);
    expect([cloud.balancers.size, journal()]).toEqual([0, ["DeletingLoadBalancer web", "DeletedLoadBalancer web"]]);
  });

  it("and comes back under its name is another one", async () => {
    const { world, cloud, process } = await startWorld();
    process.isBlind = true;
    world.edit("web", { metadata: { finalizers: [] } });
    world.remove("services", "shop/web");
    process.isBlind = false;
    world.put("services", rawService({ uid: "uid-2" }));
    await rest(process);
    expect([...cloud.balancers.values()].map(({ owner }) => owner.serviceUid)).toEqual(["uid-2"]);
  });

  it("with another's finalizer of the common name is the other's", async () => {
    const metadata = { finalizers: [cleanupFinalizer], deletionTimestamp: "2026-01-02T00:00:00Z" };
    const { world, cloud } = await startWorld({ service: { metadata, spec: { loadBalancerClass: undefined } } });
    expect([world.journal, cloud.writes, world.finalizers("web")]).toEqual([[], 0, [cleanupFinalizer]]);
  });
});
