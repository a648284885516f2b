/** The same histories for Kubernetes' own service controller and for ours: the same events, finalizers and addresses, step by step. */
import { beforeAll, expect, test } from "vitest";
import { ProviderError } from "#agent/load-balancer/driver.ts";
import type { LoadBalancerDriver } from "#agent/load-balancer/driver.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { rawNode, rawService, testClass } from "#test/agent/load-balancer/makers.ts";
import { World } from "#test/agent/load-balancer/world.ts";
import { askServiceController, buildServiceController } from "./service-controller.ts";
import type { Step, StepReport } from "./service-controller.ts";

const buildMs = 600_000;

let program: string;

beforeAll(async () => {
  program = await buildServiceController();
}, buildMs);

/** A provider of one address, as the other controller's. */
class OneAddressDriver implements LoadBalancerDriver {
  readonly name = "one-address";
  failure = "";
  readonly #has = new Set<string>();

  async observe(owner: { readonly clusterId: string; readonly serviceUid: string }) {
    return this.#has.has(owner.serviceUid) ? { owner, id: owner.serviceUid } : undefined;
  }

  async ensure({ owner }: { readonly owner: { readonly serviceUid: string } }) {
    this.#mayFail();
    this.#has.add(owner.serviceUid);
    return { type: "ensured", ingress: [{ ip: "192.0.2.1", ipMode: "VIP" }], note: undefined } as const;
  }

  async delete({ serviceUid }: { readonly serviceUid: string }) {
    this.#mayFail();
    this.#has.delete(serviceUid);
  }

  async list() {
    return [];
  }

  follow() {
    return [];
  }

  #mayFail(): void {
    if (this.failure !== "") throw new ProviderError(this.failure);
  }
}

/** What ours does in each step; its own finalizer and condition are left out, which the other has not. */
async function askOurs(steps: readonly Step[]): Promise<readonly StepReport[]> {
  const world = new World();
  const driver = new OneAddressDriver();
  const { controller } = world.start({ driver: () => driver, classes: { loadBalancerClass: testClass, takesUnclassed: true } });
  const patches: string[] = [];
  let [finalizers, addresses] = ["", ""];
  const look = () => {
    const nowFinalizers = world
      .finalizers("web")
      .filter((name) => name !== testClass)
      .join(" ");
    const nowAddresses = world
      .addresses("web")
      .map((address) => `${address} VIP`)
      .join(" ");
    const isThere = world.service("web") !== undefined;
    if (nowFinalizers !== finalizers) patches.push(`finalizers [${nowFinalizers}]`);
    else if (nowAddresses !== addresses && isThere) patches.push(`status [${nowAddresses}]`);
    [finalizers, addresses] = [nowFinalizers, nowAddresses];
  };
  world.onPatched = look;
  const reports: StepReport[] = [];
  for (const step of steps) {
    const from = world.journal.length;
    apply(world, driver, step);
    // What the apiserver wiped by itself is no patch.
    addresses = world
      .addresses("web")
      .map((address) => `${address} VIP`)
      .join(" ");
    await controller.whenIdle();
    const events = world.journal.slice(from).filter((line) => !line.startsWith("patch "));
    reports.push({ events: events.map((line) => line.split(" ", 1)[0] ?? ""), patches: patches.splice(0) });
  }
  return reports;
}

function apply(world: World, driver: OneAddressDriver, step: Step): void {
  switch (step.op) {
    case "putService":
      return world.put("services", step.object);
    case "editService":
      return world.edit(step.name, step.object);
    case "removeService":
      return world.remove("services", `shop/${step.name}`);
    case "putNode":
      return world.put("nodes", step.object);
    case "removeNode":
      return world.remove("nodes", step.name);
    case "fail":
      driver.failure = step.message;
  }
}

const service: Step = { op: "putService", object: rawService({ spec: { loadBalancerClass: undefined } }) };
const node = (index: number): Step => ({ op: "putNode", object: rawNode(index) });
const changedNode = (object: JsonObject): Step => ({ op: "putNode", object, message: "syncs" });
const edit = (spec: JsonObject): Step => ({ op: "editService", name: "web", object: { spec } });
const annotate = (value: string): Step => ({
  op: "editService",
  name: "web",
  object: { metadata: { annotations: { "example.com/a": value } } },
});
const remove: Step = { op: "removeService", name: "web" };
const fail = (message: string): Step => ({ op: "fail", message });
const excluded = (value: string) =>
  rawNode(2, { metadata: { labels: { "node.kubernetes.io/exclude-from-external-load-balancers": value } } });

const histories: Readonly<Record<string, readonly Step[]>> = {
  "a Service that is made, changed and deleted": [
    node(1),
    service,
    edit({ ports: [{ name: "dns", protocol: "UDP", port: 53, nodePort: 30_053, targetPort: 53 }] }),
    edit({ loadBalancerSourceRanges: ["192.0.2.0/24"] }),
    edit({ externalTrafficPolicy: "Local", healthCheckNodePort: 31_000 }),
    annotate("1"),
    { op: "editService", name: "web", object: { metadata: { labels: { app: "web" } } } },
    remove,
  ],
  "no nodes, then some, then none": [service, node(1), { op: "removeNode", name: "node-1" }],
  "a type that changes and comes back": [node(1), service, edit({ type: "ClusterIP" }), edit({ type: "LoadBalancer" }), remove],
  "a Service of a class": [
    node(1),
    { op: "putService", object: rawService({ spec: { loadBalancerClass: "example.com/other" } }) },
    annotate("1"),
  ],
  "a provider that fails at first": [node(1), fail("quota"), service, fail(""), annotate("1"), remove],
  "a provider that will not delete": [node(1), service, fail("in use"), remove, fail(""), annotate("1")],
  "nodes that are added, excluded, included and removed": [
    node(1),
    service,
    node(2),
    changedNode(excluded("")),
    changedNode(excluded("false")),
    changedNode(rawNode(2, { spec: { providerID: "test://9" } })),
    { op: "removeNode", name: "node-2" },
  ],
  "nodes that are cordoned, not ready or tainted": [
    node(1),
    node(2),
    service,
    { op: "putNode", object: rawNode(2, { spec: { providerID: "test://2", unschedulable: true } }) },
    { op: "putNode", object: rawNode(2, { status: { conditions: [{ type: "Ready", status: "False" }] } }) },
    {
      op: "putNode",
      object: rawNode(2, { spec: { providerID: "test://2", taints: [{ key: "ToBeDeletedByClusterAutoscaler", effect: "NoSchedule" }] } }),
    },
    node(3),
  ],
  "a provider that fails for new nodes": [node(1), service, fail("quota"), node(2), fail(""), annotate("1")],
};

test.each(Object.entries(histories))("%s", async (_what, steps) => {
  const [theirs, ours] = [await askServiceController(program, steps), await askOurs(steps)];
  expect(ours).toEqual(theirs);
});
