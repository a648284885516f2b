/** The driver node-ip with its controller: which nodes' addresses a Service gets, and who gets a port that two ask for. */
import { describe, expect, it } from "vitest";
import { nodeSelectorAnnotation } from "#agent/load-balancer/drivers/node-ip-allocation.ts";
import { NodeIpDriver } from "#agent/load-balancer/drivers/node-ip.ts";
import { defaultReservedPorts, parsePortRanges } from "#agent/load-balancer/drivers/node-ip-options.ts";
import type { NodeIpOptions } from "#agent/load-balancer/drivers/node-ip-options.ts";
import { parseLabelSelector } from "#agent/load-balancer/label-selector.ts";
import { isObject, listField, objectField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { classes, rawNode, rawService, rawSlice } from "./makers.ts";
import { World } from "./world.ts";
import type { RunningController } from "./world.ts";

const http = { name: "http", protocol: "TCP", port: 80 };

const rest = async ({ controller }: RunningController) => controller.whenIdle();

interface Setting {
  readonly nodes?: readonly JsonObject[];
  readonly slices?: readonly JsonObject[];
  readonly options?: Partial<NodeIpOptions>;
}

/** Services in the order of their creation, on two nodes unless told. */
async function startWorld(services: readonly Parameters<typeof rawService>[0][], setting: Setting = {}) {
  const { nodes = [rawNode(1), rawNode(2)], slices = [], options = {} } = setting;
  const world = new World();
  for (const node of nodes) world.put("nodes", node);
  for (const slice of slices) world.put("slices", slice);
  for (const [index, service] of services.entries()) {
    const metadata = { creationTimestamp: `2026-01-01T00:00:0${index}Z`, ...service?.metadata };
    world.put("services", rawService({ ...service, metadata }));
  }
  const start = () =>
    world.start({
      readiness: "require",
      driver: () =>
        new NodeIpDriver({
          classes,
          readiness: "require",
          options: { nodeSelector: [], addresses: "externalFirst", reservedPorts: parsePortRanges(defaultReservedPorts) ?? [], ...options },
        }),
    });
  const process = start();
  await rest(process);
  return { world, process, start };
}

describe("a Service", () => {
  it("has the addresses of all nodes, as ones that packets come to, with its ports", async () => {
    const { world } = await startWorld([{}]);
    const ports = [{ port: 80, protocol: "TCP" }];
    expect(listField(objectField(objectField(world.service("web") ?? {}, "status"), "loadBalancer"), "ingress")).toEqual([
      { ip: "10.0.0.1", ipMode: "VIP", ports },
      { ip: "10.0.0.2", ipMode: "VIP", ports },
    ]);
    expect(world.condition("web")).toBe("True EnsuredLoadBalancer ");
  });

  it.each([
    ["externalFirst", ["192.0.2.1", "10.0.0.2"]],
    ["internal", ["10.0.0.1", "10.0.0.2"]],
    ["all", ["192.0.2.1", "10.0.0.1", "10.0.0.2"]],
  ] as const)("has the addresses that the admin wants: %s", async (addresses, wanted) => {
    const external = { type: "ExternalIP", address: "192.0.2.1" };
    const node = rawNode(1, { status: { addresses: [{ type: "InternalIP", address: "10.0.0.1" }, external] } });
    const { world } = await startWorld([{}], { nodes: [node, rawNode(2)], options: { addresses } });
    expect(world.addresses("web")).toEqual(wanted);
  });

  it.each([
    [["IPv4"], ["10.0.0.1"]],
    [["IPv6"], ["fd00::1"]],
    [
      ["IPv6", "IPv4"],
      ["fd00::1", "10.0.0.1"],
    ],
  ])("of %s has addresses of these families", async (ipFamilies, wanted) => {
    const addresses = ["10.0.0.1", "fd00::1"].map((address) => ({ type: "InternalIP", address }));
    const { world } = await startWorld([{ spec: { ipFamilies } }], { nodes: [rawNode(1, { status: { addresses } })] });
    expect(world.addresses("web")).toEqual(wanted);
  });

  it("for local endpoints alone has the nodes with a ready one, as they come and go", async () => {
    const spec = { externalTrafficPolicy: "Local", healthCheckNodePort: 31_000 };
    const { world, process } = await startWorld([{ spec }], { slices: [rawSlice("web", ["node-2"])] });
    expect(world.addresses("web")).toEqual(["10.0.0.2"]);
    world.put("slices", rawSlice("web", ["node-1", "node-2"]));
    await rest(process);
    expect(world.addresses("web")).toEqual(["10.0.0.1", "10.0.0.2"]);
    world.put("slices", rawSlice("web", []));
    await rest(process);
    expect([world.addresses("web"), world.condition("web")]).toEqual([
      [],
      "False NoNodes there is no node with an address of IPv4 with a ready endpoint of the Service (externalTrafficPolicy: Local)",
    ]);
  });

  it("with the policy Cluster has all nodes, wherever its endpoints are", async () => {
    const { world } = await startWorld([{}], { slices: [rawSlice("web", ["node-2"])] });
    expect(world.addresses("web")).toEqual(["10.0.0.1", "10.0.0.2"]);
  });

  it("has the nodes that its annotation and the admin both select", async () => {
    const labelled = (index: number, labels: JsonObject) => rawNode(index, { metadata: { labels } });
    const nodes = [labelled(1, { pool: "edge", zone: "a" }), labelled(2, { pool: "edge", zone: "b" }), labelled(3, { zone: "a" })];
    const metadata = { annotations: { [nodeSelectorAnnotation]: "zone in (a, c)" } };
    const options = { nodeSelector: parseLabelSelector("pool=edge") ?? [] };
    const { world, process } = await startWorld([{ metadata }], { nodes, options });
    expect(world.addresses("web")).toEqual(["10.0.0.1"]);
    world.put("nodes", labelled(3, { pool: "edge", zone: "c" }));
    await rest(process);
    expect(world.addresses("web")).toEqual(["10.0.0.1", "10.0.0.3"]);
  });

  it("follows nodes that are added, excluded, not ready, and deleted", async () => {
    const { world, process } = await startWorld([{}]);
    const after = async (change: () => void) => {
      change();
      await rest(process);
      return world
        .addresses("web")
        .map((address) => address.slice(-1))
        .join("");
    };
    expect([
      await after(() => world.put("nodes", rawNode(3))),
      await after(() =>
        world.put("nodes", rawNode(1, { metadata: { labels: { "node.kubernetes.io/exclude-from-external-load-balancers": "yes" } } })),
      ),
      await after(() => world.put("nodes", rawNode(2, { status: { conditions: [{ type: "Ready", status: "Unknown" }] } }))),
      await after(() => world.put("nodes", rawNode(2))),
      await after(() => world.remove("nodes", "node-3")),
    ]).toEqual(["123", "23", "3", "23", "2"]);
  });

  it.each([
    ["22/TCP, the node's SSH", { protocol: "TCP", port: 22 }],
    ["6443/TCP, the apiserver's", { protocol: "TCP", port: 6443 }],
    ["10250/TCP, the kubelet's", { protocol: "TCP", port: 10_250 }],
    ["30080/UDP, a node port", { protocol: "UDP", port: 30_080 }],
  ])("gets no address with port %s", async (_what, port) => {
    const { world } = await startWorld([{ spec: { ports: [http, { name: "own", ...port }] } }]);
    expect([world.addresses("web"), world.condition("web")]).toEqual([
      [],
      `False ReservedPort port ${port.port}/${port.protocol} is kept for the nodes themselves (--reserved-ports)`,
    ]);
  });
});

describe("a port that two Services ask for", () => {
  it("is the older one's; the other says why it waits, and gets it when it is free", async () => {
    const { world, process } = await startWorld([
      { name: "young", metadata: { creationTimestamp: "2026-01-01T00:00:09Z" } },
      { name: "old" },
    ]);
    expect([world.addresses("old"), world.addresses("young")]).toEqual([["10.0.0.1", "10.0.0.2"], []]);
    const why = "port conflict: 80/TCP is shop/old's at node-1; 80/TCP is shop/old's at node-2";
    expect(world.condition("young")).toBe(`False PortConflict ${why}`);
    expect(world.notes).toContain(`Error syncing load balancer: ${why}`);
    world.remove("services", "shop/old");
    await rest(process);
    expect([world.addresses("young"), world.condition("young")]).toEqual([["10.0.0.1", "10.0.0.2"], "True EnsuredLoadBalancer "]);
  });

  it("of different protocols is no conflict", async () => {
    const { world } = await startWorld([{ name: "tcp" }, { name: "udp", spec: { ports: [{ ...http, protocol: "UDP" }] } }]);
    expect([world.addresses("tcp").length, world.addresses("udp").length]).toEqual([2, 2]);
  });

  it("stays with who has it, whoever is older, also in the next process", async () => {
    const { world, process, start } = await startWorld([{ name: "old", spec: { ports: [{ ...http, port: 81 }] } }, { name: "young" }]);
    world.edit("old", { spec: { ports: [http] } });
    await rest(process);
    expect([world.addresses("old"), world.addresses("young").length]).toEqual([[], 2]);
    process.crash();
    await rest(start());
    expect([world.addresses("old"), world.addresses("young").length]).toEqual([[], 2]);
  });

  it("leaves the nodes where there is no conflict", async () => {
    const nodes = [rawNode(1, { metadata: { labels: { pool: "edge" } } }), rawNode(2)];
    const edge = { annotations: { [nodeSelectorAnnotation]: "pool=edge" } };
    const { world } = await startWorld([{ name: "edge", metadata: edge }, { name: "web" }], { nodes });
    expect([world.addresses("edge"), world.addresses("web")]).toEqual([["10.0.0.1"], ["10.0.0.2"]]);
    expect(world.condition("web")).toBe("True EnsuredLoadBalancer port conflict: 80/TCP is shop/edge's at node-1");
  });

  it("that another controller's Service has is that one's", async () => {
    const ingress = [{ ip: "10.0.0.1" }];
    const { world } = await startWorld([
      { name: "other", spec: { loadBalancerClass: "example.com/other" }, status: { loadBalancer: { ingress } } },
      { name: "web" },
    ]);
    expect([world.addresses("other"), world.addresses("web")]).toEqual([["10.0.0.1"], ["10.0.0.2"]]);
  });

  it("is in the statuses of two at no moment, however both change", async () => {
    const { world, process } = await startWorld([{ name: "one" }, { name: "two" }, { name: "three" }], {
      nodes: [rawNode(1, { metadata: { labels: { pool: "a" } } }), rawNode(2, { metadata: { labels: { pool: "b" } } })],
    });
    const held: string[] = [];
    world.onPatched = () => held.push(...findShared(world));
    for (const pool of ["a", "b", "none", "a"]) {
      world.edit("one", { metadata: { annotations: { [nodeSelectorAnnotation]: `pool=${pool}` } } });
      await rest(process);
    }
    world.remove("services", "shop/one");
    await rest(process);
    world.edit("two", { spec: { ports: [{ ...http, port: 81 }] } });
    await rest(process);
    expect([held, world.addresses("two").length, world.addresses("three").length]).toEqual([[], 2, 2]);
  });
});

describe("a status that was written and is not seen yet", () => {
  it("has its ports all the same", async () => {
    const inPool = (index: number, pool: string) => rawNode(index, { metadata: { labels: { pool } } });
    const selecting = (pool: string) => ({ annotations: { [nodeSelectorAnnotation]: `pool=${pool}` } });
    const services = [
      { name: "one", metadata: selecting("edge") },
      { name: "two", metadata: selecting("core") },
    ];
    const { world, process } = await startWorld(services, { nodes: [inPool(1, "edge"), inPool(2, "core")] });
    const held: string[] = [];
    world.onPatched = () => held.push(...findShared(world));
    process.isBlind = "services";
    world.put("nodes", inPool(3, "edge"));
    await rest(process);
    world.put("nodes", inPool(3, "core"));
    await rest(process);
    expect([held, world.addresses("one"), world.addresses("two")]).toEqual([[], ["10.0.0.1", "10.0.0.3"], ["10.0.0.2"]]);
    process.isBlind = false;
    world.put("nodes", inPool(3, "core"));
    world.clock.advance(1_000);
    await rest(process);
    expect([held, world.addresses("one"), world.addresses("two")]).toEqual([[], ["10.0.0.1"], ["10.0.0.2", "10.0.0.3"]]);
  });
});

/** Addresses and ports that are in two statuses. */
function findShared(world: World): readonly string[] {
  const places = ["one", "two", "three"].flatMap((name) => {
    const ingress = listField(objectField(objectField(world.service(name) ?? {}, "status"), "loadBalancer"), "ingress").filter(isObject);
    return ingress.flatMap((entry) => listField(entry, "ports").map((port) => JSON.stringify([entry["ip"], port])));
  });
  return places.filter((place, index) => places.indexOf(place) !== index);
}
