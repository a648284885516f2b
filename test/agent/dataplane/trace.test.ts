import { describe, expect, test } from "vitest";
import type { ConnectionCount } from "#agent/dataplane/conntrack/connections.ts";
import type { EndpointSliceObject, ServiceObject } from "#agent/dataplane/objects.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { StrictView } from "#agent/dataplane/strict-view.ts";
import { connectionKey, parseTraceTarget, tracedAddresses, traceService } from "#agent/dataplane/trace.ts";
import { here, makeEndpoint, makeObjects, makeService, makeSlice, planOptions } from "./makers.ts";

const target = { namespace: "default", name: "web", port: undefined };
const readyHere = makeEndpoint("10.244.1.1", { nodeName: here });
const readyThere = makeEndpoint("10.244.2.1", { zone: "zone-2" });

/** The trace of what a planner makes of some objects, for IPv4. */
function trace(services: readonly ServiceObject[], slices: readonly EndpointSliceObject[], port?: string): readonly string[] {
  const objects = makeObjects(services, slices);
  const plan = new Planner(planOptions).plan(objects, "all");
  return traceService({ target: { ...target, port }, objects, tables: [plan.IPv4.table], ignored: [], connections: new Map() }).split("\n");
}

describe("the target of a trace", () => {
  test.each([
    ["default/web", { namespace: "default", name: "web", port: undefined }],
    ["default/web:http", { namespace: "default", name: "web", port: "http" }],
    ["default/web:80", { namespace: "default", name: "web", port: "80" }],
    ["web", undefined],
    ["default/web:", undefined],
    ["default/web/http", undefined],
    ["Default/web", undefined],
    ["default/web:a b", undefined],
  ])("%s is read as %j", (text, wanted) => {
    expect(parseTraceTarget(text)).toEqual(wanted);
  });
});

describe("a trace", () => {
  test("tells the connections of each address, where they are counted, and why they could not be", () => {
    const port = { name: "http", protocol: "TCP", port: 80, nodePort: 30_080 } as const;
    const objects = makeObjects([makeService({ type: "NodePort", ports: [port] })], [makeSlice([readyHere])]);
    const tables = [new Planner(planOptions).plan(objects, "all").IPv4.table];
    const [clusterIp, nodePort, ...others] = tracedAddresses(target, tables);
    if (clusterIp === undefined || nodePort === undefined) throw new Error("the Service has two addresses");
    expect([others, tracedAddresses({ ...target, port: "443" }, tables)]).toEqual([[], []]);
    const endpoints = [
      { address: "10.244.1.1", port: 8080, connections: 7 },
      { address: "10.244.9.9", port: 8080, connections: 2 },
    ];
    const connections = new Map<string, ConnectionCount>([
      [connectionKey(clusterIp), { type: "counted", endpoints }],
      [connectionKey(nodePort), { type: "failed", message: "no right" }],
    ]);
    const lines = traceService({ target, objects, tables, ignored: [], connections }).split("\n");
    expect(lines.filter((line) => line.includes("connections"))).toEqual([
      "  connections to 10.96.0.10:80 now: 9 (7 to 10.244.1.1:8080, 2 to 10.244.9.9:8080)",
      "  connections to any address:30080: not counted; no right",
    ]);
    connections.set(connectionKey(nodePort), { type: "counted", endpoints: [] });
    expect(traceService({ target, objects, tables, ignored: [], connections })).toContain("  connections to any address:30080 now: 0\n");
  });

  test("says what strict mode leaves out, and plans without it", () => {
    const given = makeObjects([makeService({ externalIps: ["198.51.100.7"] })], [makeSlice([readyHere, makeEndpoint("127.0.0.1")])]);
    const view = new StrictView({ loadBalancerRanges: [], onIgnored: () => undefined });
    const { objects } = view.look(given, "all");
    const tables = [new Planner(planOptions).plan(objects, "all").IPv4.table];
    const lines = traceService({ target, objects, tables, ignored: view.ignoredOf("default/web"), connections: new Map() }).split("\n");
    expect(lines.slice(1, 6)).toEqual([
      "  external IP 198.51.100.7: ignored in strict mode, because anybody who may write a Service can name one",
      "  endpoint 127.0.0.1: ignored in strict mode, because it is a loopback, link-local, multicast or unspecified address",
      "",
      "port http (80/TCP), IPv4",
      "  cluster IP 10.96.0.10:80: to 10.244.1.1:8080",
    ]);
  });

  test("tells each address of a Service, where it leads, and what becomes of each endpoint", () => {
    const service = makeService({
      type: "LoadBalancer",
      ports: [{ name: "http", protocol: "TCP", port: 80, nodePort: 30_080 }],
      ingress: [
        { ip: "203.0.113.1", mode: "VIP" },
        { ip: "203.0.113.2", mode: "Proxy" },
      ],
      sourceRanges: ["198.51.100.0/24"],
      externalTrafficPolicy: "Local",
      affinitySeconds: 600,
      trafficDistribution: "PreferClose",
    });
    const all = "10.244.1.1:8080 10.244.2.1:8080";
    const outside = `from outside to 10.244.1.1:8080; from this node and its pods to ${all}`;
    expect(trace([service], [makeSlice([readyHere, readyThere])])).toEqual([
      "Service default/web (LoadBalancer), on node node-a (zone zone-1)",
      "",
      "port http (80/TCP), IPv4",
      `  cluster IP 10.96.0.10:80: to ${all}`,
      `  load balancer IP 203.0.113.1:80: ${outside}; only from 198.51.100.0/24, all others are dropped`,
      `  node port 30080 at every address of the node: ${outside}`,
      "  load balancer IP 203.0.113.2: left to the load balancer, because its ipMode is Proxy",
      "  affinity: a client stays with its endpoint for 600 s",
      `  PreferClose is asked for, and not followed: forNodes: an endpoint without hints (${all}); forZones: an endpoint without hints (${all})`,
      "  endpoint         state                  policy Cluster  policy Local",
      "  10.244.1.1:8080  ready, here            used            used",
      "  10.244.2.1:8080  ready, in zone zone-2  used            on another node",
      "",
    ]);
  });

  test.each([
    [
      "drops where the policy allows no endpoint here",
      [readyThere],
      "dropped, because internalTrafficPolicy is Local and no endpoint is on this node",
    ],
    ["refuses where there is no endpoint", [], "refused, because there is no endpoint that could take it anywhere"],
  ])("says why a node %s", (_what, endpoints, wanted) => {
    expect(trace([makeService({ internalTrafficPolicy: "Local" })], [makeSlice(endpoints)])).toContain(
      `  cluster IP 10.96.0.10:80: ${wanted}`,
    );
  });

  test("tells that traffic stays near, and which endpoint is out for that", () => {
    const slices = [
      makeSlice([makeEndpoint("10.244.2.1", { forZones: ["zone-1"] }), makeEndpoint("10.244.2.2", { forZones: ["zone-2"] })]),
    ];
    const lines = trace([makeService()], slices);
    expect(lines).toContain("  hints: traffic stays in this zone");
    expect(lines).toContain("  10.244.2.2:8080  ready, elsewhere  hinted for elsewhere  on another node");
  });

  test("tells an address that another Service won", () => {
    const first = makeService({ name: "a", clusterIps: ["10.96.0.11"], externalIps: ["198.51.100.1"] });
    const second = makeService({ externalIps: ["198.51.100.1"] });
    expect(trace([first, second], [makeSlice([readyHere])])).toContain(
      "  external IP 198.51.100.1: not served; another Service has it on this port, or this node is told to ignore it",
    );
  });

  test("tells a port of the slices that the Service has not", () => {
    const slice = makeSlice([readyHere], { ports: [{ name: "htpp", protocol: "TCP", port: 8080 }] });
    expect(trace([makeService()], [slice])).toEqual(
      expect.arrayContaining(["  endpoints: none", '  the EndpointSlices have a port "htpp", which the Service has not']),
    );
  });

  test("is of one port where one is asked for, and says which there are where it is not there", () => {
    const ports = ["http", "metrics"].map((name, index) => ({ name, protocol: "TCP" as const, port: 80 + index, nodePort: undefined }));
    const service = makeService({ ports });
    const portLines = (port: string) => trace([service], [], port).filter((line) => line.includes("port "));
    expect([portLines("metrics"), portLines("81"), portLines("nope")]).toEqual([
      ["port metrics (81/TCP), IPv4"],
      ["port metrics (81/TCP), IPv4"],
      ["  it has no port nope: http (80/TCP), metrics (81/TCP)"],
    ]);
  });

  test("says that a Service has no address of the family", () => {
    expect(trace([makeService({ clusterIps: ["fd00:96::a"] })], [])[1]).toBe("  it has no cluster IP of a family that this node serves");
  });

  test("says that nothing is done for a Service that is not there", () => {
    expect(trace([], [])[0]).toMatch(/^default\/web: nothing is done for it\./);
  });

  test("shows control characters of the cluster's text as question marks", () => {
    const service = makeService({ trafficDistribution: "\u001B[2JPreferClose\n" });
    expect(trace([service], [makeSlice([readyHere])]).join("\n")).toContain("  ?[2JPreferClose? is asked for");
  });
});
