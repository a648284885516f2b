import { describe, expect, test } from "vitest";
import type { ClusterObjects } from "#agent/dataplane/objects.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { StrictView } from "#agent/dataplane/strict-view.ts";
import type { IgnoredAddress } from "#agent/dataplane/strict-view.ts";
import { makeEndpoint, makeObjects, makeService, makeSlice, planOptions } from "./makers.ts";

const good = makeEndpoint("10.244.2.1");

function makeView(loadBalancerRanges: readonly string[] = []) {
  const told: (readonly [service: string, ignored: readonly IgnoredAddress[]])[] = [];
  const view = new StrictView({ loadBalancerRanges, onIgnored: ({ name }, ignored) => told.push([name, ignored]) });
  return { view, told };
}

/** What a node in strict mode does, and what it leaves out of the Service web. */
function plan(objects: ClusterObjects, loadBalancerRanges: readonly string[] = []) {
  const { view } = makeView(loadBalancerRanges);
  const seen = view.look(objects, "all");
  const planned = new Planner(planOptions).plan(seen.objects, seen.changed);
  return { ports: [...planned.IPv4.table.ports, ...planned.IPv6.table.ports], ignored: view.ignoredOf("default/web") };
}

describe("strict mode", () => {
  test("serves no external IP, and no load balancer's address outside of the ranges that it is given", () => {
    const service = makeService({
      type: "LoadBalancer",
      externalIps: ["198.51.100.7"],
      ingress: [
        { ip: "203.0.113.1", mode: "VIP" },
        { ip: "192.0.2.1", mode: "VIP" },
        { ip: "192.0.2.2", mode: "Proxy" },
      ],
    });
    const objects = makeObjects([service], [makeSlice([good])]);
    expect(plan(objects).ports).toMatchObject([{ clusterIp: "10.96.0.10", externalIps: [], loadBalancerIps: [] }]);
    const { ports, ignored } = plan(objects, ["203.0.113.0/24", "2001:db8::/32"]);
    expect(ports).toMatchObject([{ externalIps: [], loadBalancerIps: ["203.0.113.1"], internal: { type: "balance" } }]);
    expect(ignored.map(({ kind, address }) => `${kind} ${address}`)).toEqual(["external IP 198.51.100.7", "load balancer IP 192.0.2.1"]);
  });

  test.each([
    ["loopback", "127.0.0.1"],
    ["another loopback", "127.9.9.9"],
    ["a cloud's metadata", "169.254.169.254"],
    ["multicast", "224.0.0.1"],
    ["broadcast", "255.255.255.255"],
    ["nowhere", "0.0.0.0"],
    ["another Service", "10.96.0.1"],
  ])("sends nothing to %s (%s), whoever writes the EndpointSlice", (_what, address) => {
    const { ports, ignored } = plan(makeObjects([makeService()], [makeSlice([makeEndpoint(address), good])]));
    expect(ports[0]).toMatchObject({ internal: { type: "balance", endpoints: [{ address: "10.244.2.1" }] } });
    expect(ports[0]?.serving).toHaveLength(1);
    expect(ignored).toMatchObject([{ kind: "endpoint", address }]);
    expect(plan(makeObjects([makeService()], [makeSlice([makeEndpoint(address)])])).ports).toMatchObject([
      { internal: { type: "reject" } },
    ]);
  });

  test.each([
    ["loopback", "::1"],
    ["link-local", "fe80::1"],
    ["multicast", "ff02::1"],
    ["IPv4 loopback in IPv6", "::ffff:127.0.0.1"],
    ["another Service", "fd00:96::1"],
  ])("sends nothing to %s (%s)", (_what, address) => {
    const service = makeService({ clusterIps: ["fd00:96::10"] });
    const slice = makeSlice([makeEndpoint(address), makeEndpoint("fd00:244::1")], { family: "IPv6" });
    const objects = makeObjects([service], [slice], { serviceCidrs: ["fd00:96::/112"] });
    expect(plan(objects).ports).toMatchObject([{ internal: { type: "balance", endpoints: [{ address: "fd00:244::1" }] } }]);
  });

  test("leaves nodes, pods and addresses outside alone", () => {
    const endpoints = ["192.168.0.1", "10.244.2.1", "203.0.113.9"].map((address) => makeEndpoint(address));
    const objects = makeObjects([makeService()], [makeSlice(endpoints)]);
    const { view, told } = makeView();
    const { objects: seen } = view.look(objects, "all");
    expect([seen.services.get("default/web"), seen.slices.get("default/web")]).toEqual([
      objects.services.get("default/web"),
      objects.slices.get("default/web"),
    ]);
    expect(told).toEqual([]);
  });
});

describe("the view of strict mode", () => {
  const bad = makeSlice([makeEndpoint("127.0.0.1"), good]);

  test("tells a change of what it leaves out once, and its end", () => {
    const { view, told } = makeView();
    const changed = new Set(["default/web"]);
    view.look(makeObjects([makeService()], [bad]), "all");
    view.look(makeObjects([makeService()], [bad]), changed);
    view.look(makeObjects([makeService()], [makeSlice([good])]), changed);
    expect(told.map(([name, ignored]) => [name, ignored.map(({ address }) => address)])).toEqual([
      ["web", ["127.0.0.1"]],
      ["web", []],
    ]);
  });

  test("forgets a Service that is gone", () => {
    const { view } = makeView();
    view.look(makeObjects([makeService()], [bad]), "all");
    const { objects } = view.look(makeObjects([], []), new Set(["default/web"]));
    expect([objects.services.size, objects.slices.size, view.ignoredOf("default/web")]).toEqual([0, 0, []]);
  });

  test("looks at every Service again when a range of cluster IPs comes", () => {
    const { view } = makeView();
    const slices = [makeSlice([makeEndpoint("10.97.0.1")])];
    view.look(makeObjects([makeService()], slices), "all");
    expect(view.ignoredOf("default/web")).toEqual([]);
    const { changed } = view.look(makeObjects([makeService()], slices, { serviceCidrs: ["10.96.0.0/16", "10.97.0.0/16"] }), new Set());
    expect([changed, view.ignoredOf("default/web").map(({ address }) => address)]).toEqual(["all", ["10.97.0.1"]]);
  });
});
