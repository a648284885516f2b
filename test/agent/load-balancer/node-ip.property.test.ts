/** Whatever happens in whatever order: no address and port is ever in two statuses, and in the end everybody has what is free. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { NodeIpDriver } from "#agent/load-balancer/drivers/node-ip.ts";
import { nodeSelectorAnnotation } from "#agent/load-balancer/drivers/node-ip-allocation.ts";
import { isObject, listField, objectField } from "#core/json-fields.ts";
import { classes, rawNode, rawService, rawSlice } from "./makers.ts";
import { World } from "./world.ts";

const names = ["a", "b", "c", "d"];
const name = fc.constantFrom(...names);
const node = fc.integer({ min: 1, max: 3 });
const ports = fc.uniqueArray(fc.constantFrom("TCP 80", "TCP 81", "UDP 80"), { minLength: 1, maxLength: 2 });

const change = fc.oneof(
  fc.record({ type: fc.constant("create" as const), name, ports }),
  fc.record({ type: fc.constant("ports" as const), name, ports }),
  fc.record({ type: fc.constant("select" as const), name, zone: fc.constantFrom("zone=a", "zone=b", "") }),
  fc.record({ type: fc.constant("policy" as const), name, policy: fc.constantFrom("Local", "Cluster") }),
  fc.record({ type: fc.constant("endpoints" as const), name, nodes: fc.uniqueArray(node, { maxLength: 3 }) }),
  fc.record({ type: fc.constant("remove" as const), name }),
  fc.record({ type: fc.constant("node" as const), node, zone: fc.constantFrom("a", "b"), ready: fc.boolean() }),
  fc.record({ type: fc.constant("removeNode" as const), node }),
  fc.record({ type: fc.constant("blind" as const), isBlind: fc.boolean() }),
  fc.record({ type: fc.constant("refuse" as const), refuses: fc.boolean() }),
  fc.record({ type: fc.constant("restart" as const) }),
);

type Change = typeof change extends fc.Arbitrary<infer Value> ? Value : never;

function toPorts(texts: readonly string[]) {
  return texts.map((text) => {
    const [protocol = "", port = ""] = text.split(" ");
    return { name: text.toLowerCase().replace(" ", "-"), protocol, port: Number(port) };
  });
}

function apply(world: World, step: Change): void {
  switch (step.type) {
    case "create":
      if (world.service(step.name) === undefined)
        world.put(
          "services",
          rawService({ name: step.name, uid: `${step.name}-${world.clock.now()}`, spec: { ports: toPorts(step.ports) } }),
        );
      return;
    case "ports":
      if (world.service(step.name) !== undefined) world.edit(step.name, { spec: { ports: toPorts(step.ports) } });
      return;
    case "select":
      if (world.service(step.name) !== undefined)
        world.edit(step.name, { metadata: { annotations: { [nodeSelectorAnnotation]: step.zone } } });
      return;
    case "policy":
      if (world.service(step.name) !== undefined) world.edit(step.name, { spec: { externalTrafficPolicy: step.policy } });
      return;
    case "endpoints":
      return world.put(
        "slices",
        rawSlice(
          step.name,
          step.nodes.map((index) => `node-${index}`),
        ),
      );
    case "remove":
      return world.remove("services", `shop/${step.name}`);
    case "node":
      return world.put(
        "nodes",
        rawNode(step.node, {
          metadata: { labels: { zone: step.zone } },
          status: {
            addresses: [{ type: "InternalIP", address: `10.0.0.${step.node}` }],
            conditions: [{ type: "Ready", status: step.ready ? "True" : "False" }],
          },
        }),
      );
    case "removeNode":
      return world.remove("nodes", `node-${step.node}`);
    case "blind":
    case "restart":
      return;
    case "refuse":
      world.override = step.refuses ? () => ({ status: 500, object: {} }) : () => undefined;
  }
}

function places(world: World, service: string): readonly string[] {
  const ingress = listField(objectField(objectField(world.service(service) ?? {}, "status"), "loadBalancer"), "ingress").filter(isObject);
  return ingress.flatMap((entry) =>
    listField(entry, "ports")
      .filter(isObject)
      .map((port) => JSON.stringify([entry["ip"], port["protocol"], port["port"]])),
  );
}

const start = (world: World) =>
  world.start({
    readiness: "require",
    driver: () =>
      new NodeIpDriver({ classes, readiness: "require", options: { nodeSelector: [], addresses: "internal", reservedPorts: [] } }),
  });

it("no address and port is in two statuses, and at rest the next process has nothing to do", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 5, maxLength: 40 }), async (steps) => {
      const world = new World();
      for (const index of [1, 2, 3]) world.put("nodes", rawNode(index, { metadata: { labels: { zone: index === 1 ? "a" : "b" } } }));
      let process = start(world);
      world.onPatched = () => {
        const all = names.flatMap((service) => places(world, service));
        expect(all.length).toBe(new Set(all).size);
      };
      const settle = async () => {
        for (let round = 0; round < 3; round += 1) {
          await process.controller.whenIdle();
          world.clock.advance(400_000);
        }
        await process.controller.whenIdle();
      };
      for (const step of steps) {
        world.clock.advance(1);
        apply(world, step);
        if (step.type === "blind") process.isBlind = step.isBlind;
        if (step.type === "restart") {
          await process.controller.whenIdle();
          process.crash();
          process = start(world);
        }
        await process.controller.whenIdle();
      }
      apply(world, { type: "refuse", refuses: false });
      process.isBlind = false;
      apply(world, { type: "node", node: 1, zone: "a", ready: true });
      await settle();
      // What is free is had: everybody who lacks a node knows whose its port is.
      for (const service of names) {
        if (world.service(service) === undefined) continue;
        expect(world.condition(service)).toMatch(/^(True EnsuredLoadBalancer|False NoNodes|False PortConflict) /);
      }
      const before = world.patches;
      process.crash();
      process = start(world);
      await settle();
      expect(world.patches).toBe(before);
    }),
    { numRuns: 150 },
  );
});
