import { describe, expect, it } from "vitest";
import { defaultKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import type { KubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import { resolvePlanOptions } from "#agent/service-proxy/plan-options.ts";
import { FollowingPlanner } from "#agent/service-proxy/replanning.ts";
import { makeNode, makeTable } from "./makers.ts";
import type { ChangedServices, PlanOptions } from "#agent/dataplane/node-plan.ts";

const machine = ["127.0.0.1", "::1", "10.1.0.1", "192.168.7.1", "fd00::1", "fe80::1"];

function resolve(fields: Partial<KubeProxyConfiguration>, node = makeNode()): PlanOptions {
  return resolvePlanOptions({ configuration: { ...defaultKubeProxyConfiguration, ...fields }, externalIps: "serve" }, node, machine);
}

describe("where node ports are served", () => {
  it.each([
    ["all", {}, { type: "all" }, { type: "all" }],
    [
      "primary",
      { internalIps: ["10.1.0.1", "10.1.0.2", "fd00::1"] },
      { type: "only", addresses: ["10.1.0.1"] },
      { type: "only", addresses: ["fd00::1"] },
    ],
    ["primary", { internalIps: ["10.1.0.1"] }, { type: "only", addresses: ["10.1.0.1"] }, { type: "all" }],
  ] as const)("%s with %j is %j and %j", (type, node, IPv4, IPv6) => {
    expect(resolve({ nodePorts: { type } }, makeNode(node)).nodePortAddresses).toEqual({ IPv4, IPv6 });
  });

  it.each([
    [["10.0.0.0/8", "127.0.0.0/8"], { type: "only", addresses: ["10.1.0.1", "127.0.0.1"] }, { type: "all" }],
    [["0.0.0.0/0", "fd00::/64"], { type: "all" }, { type: "only", addresses: ["fd00::1"] }],
    [["172.16.0.0/12"], { type: "only", addresses: [] }, { type: "all" }],
  ] as const)("in the ranges %j is %j and %j", (cidrs, IPv4, IPv6) => {
    expect(resolve({ nodePorts: { type: "cidrs", cidrs } }).nodePortAddresses).toEqual({ IPv4, IPv6 });
  });

  it("is the given node address before those of the Node", () => {
    expect(resolve({ nodeAddress: "192.168.7.1" }).nodePortAddresses.IPv4).toEqual({ type: "only", addresses: ["192.168.7.1"] });
  });
});

describe("a node's own traffic", () => {
  it("is that of its pod ranges where the configuration says so", () => {
    expect(resolve({ localTraffic: { type: "nodeCidrs" } }, makeNode({ podCidrs: ["10.4.0.0/24"] })).localDetection).toEqual({
      type: "cidrs",
      cidrs: ["10.4.0.0/24"],
    });
    expect(resolve({ localTraffic: { type: "bridge", interface: "cbr0" } }).localDetection).toEqual({ type: "bridge", interface: "cbr0" });
  });
});

describe("a planner that follows its node", () => {
  it("plans changes with the same planner, and everything with a new one when the node's addresses change", () => {
    const made: PlanOptions[] = [];
    const plans: ChangedServices[] = [];
    const planner = new FollowingPlanner({
      settings: { configuration: defaultKubeProxyConfiguration, externalIps: "ignore" },
      view: undefined,
      createPlanner: (options) => {
        made.push(options);
        return {
          plan: (_objects, changed) => {
            plans.push(changed);
            return { IPv4: { table: makeTable(), healthChecks: [] }, IPv6: { table: makeTable("IPv6"), healthChecks: [] } };
          },
        };
      },
      machineAddresses: () => machine,
    });
    const objects = { services: new Map(), slices: new Map(), node: makeNode(), serviceCidrs: [] };
    const changed = new Set(["shop/web"]);
    planner.plan(objects, changed);
    planner.plan({ ...objects, node: makeNode({ isEligible: false }) }, changed);
    planner.plan({ ...objects, node: makeNode({ internalIps: ["10.1.0.9"] }) }, changed);
    expect([made.map((options) => options.nodePortAddresses.IPv4), plans]).toEqual([
      [
        { type: "only", addresses: ["10.1.0.1"] },
        { type: "only", addresses: ["10.1.0.9"] },
      ],
      ["all", changed, "all"],
    ]);
    expect(planner.planOptions?.externalIps).toBe("ignore");
  });
});
