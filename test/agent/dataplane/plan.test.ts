import { describe, expect, it } from "vitest";
import type { Outcome, ServicePort } from "#agent/dataplane/dataplane.ts";
import type { PlanOptions } from "#agent/dataplane/node-plan.ts";
import type { EndpointSliceObject, ServiceObject, SliceEndpoint } from "#agent/dataplane/objects.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import { elsewhere, here, makeEndpoint, makeNode, makeObjects, makeService, makeSlice, planOptions } from "./makers.ts";

const readyHere = makeEndpoint("10.244.1.1", { nodeName: here });
const readyThere = makeEndpoint("10.244.2.1");
const drainingHere = makeEndpoint("10.244.1.2", { nodeName: here, ready: false, terminating: true });
const drainingThere = makeEndpoint("10.244.2.2", { ready: false, terminating: true });
const deadHere = makeEndpoint("10.244.1.3", { nodeName: here, ready: false, serving: false, terminating: true });
const unreadyHere = makeEndpoint("10.244.1.4", { nodeName: here, ready: false, serving: false });

describe("endpoints for each traffic policy", () => {
  const local = makeService({ type: "NodePort", internalTrafficPolicy: "Local", externalTrafficPolicy: "Local" });
  const cluster = makeService({ type: "NodePort" });

  it.each<[string, readonly SliceEndpoint[], string, string]>([
    ["none", [], "reject", "reject"],
    ["ready on both nodes", [readyHere, readyThere], "10.244.1.1 10.244.2.1", "10.244.1.1"],
    ["ready only elsewhere", [readyThere], "10.244.2.1", "drop"],
    ["not ready", [unreadyHere], "reject", "reject"],
    ["terminating, no longer serving", [deadHere], "reject", "reject"],
    ["terminating beside ready", [readyThere, drainingHere], "10.244.2.1", "10.244.1.2"],
    ["only terminating", [drainingHere, drainingThere, deadHere], "10.244.1.2 10.244.2.2", "10.244.1.2"],
    ["terminating elsewhere", [drainingThere], "10.244.2.2", "drop"],
    ["terminating beside ready, both here", [readyHere, drainingHere], "10.244.1.1", "10.244.1.1"],
    ["ready although terminating (publishNotReadyAddresses)", [makeEndpoint("10.244.2.9", { terminating: true })], "10.244.2.9", "drop"],
  ])("%s", (_, endpoints, wantedCluster, wantedLocal) => {
    const clusterPort = portOf([cluster], [makeSlice(endpoints)]);
    const localPort = portOf([local], [makeSlice(endpoints)]);
    expect([clusterPort?.internal, clusterPort?.external, localPort?.externalFromInside].map(told)).toEqual(Array(3).fill(wantedCluster));
    expect([localPort?.internal, localPort?.external].map(told)).toEqual([wantedLocal, wantedLocal]);
    expect([clusterPort?.keepsClientAddress, localPort?.keepsClientAddress]).toEqual([false, true]);
  });

  it("externalTrafficPolicy Local means nothing to a Service that only has a cluster IP", () => {
    const port = portOf([makeService({ externalTrafficPolicy: "Local" })], [makeSlice([readyThere])]);
    expect(port).toMatchObject({ keepsClientAddress: false, external: { type: "balance" } });
  });
});

describe("EndpointSlices of one port", () => {
  it.each<[string, readonly EndpointSliceObject[], string]>([
    ["are put together", [slice("a", [readyHere]), slice("b", [readyThere])], "10.244.1.1:8080 10.244.2.1:8080"],
    [
      "of the other family are left out",
      [slice("a", [readyHere]), slice("b", [makeEndpoint("fd00::9")], { family: "IPv6" })],
      "10.244.1.1:8080",
    ],
    ["of another port name are left out", [slice("a", [readyHere], { ports: [{ name: "https", protocol: "TCP", port: 1 }] })], "reject"],
    ["of another protocol are left out", [slice("a", [readyHere], { ports: [{ name: "http", protocol: "UDP", port: 1 }] })], "reject"],
    [
      "may have different numbers",
      [slice("a", [readyHere]), slice("b", [readyThere], { ports: [{ name: "http", protocol: "TCP", port: 81 }] })],
      "10.244.1.1:8080 10.244.2.1:81",
    ],
    ["with one endpoint twice have it once", [slice("a", [readyHere]), slice("b", [readyHere])], "10.244.1.1:8080"],
    [
      "with a ready and an unready copy have the ready one",
      [slice("a", [{ ...readyHere, ready: false, serving: false }]), slice("b", [readyHere]), slice("c", [{ ...readyHere, ready: false }])],
      "10.244.1.1:8080",
    ],
    ["with something that is no address have the rest", [slice("a", [makeEndpoint("10.0.0.1 drop"), readyHere])], "10.244.1.1:8080"],
    ["with an address of the other family have the rest", [slice("a", [makeEndpoint("fd00::3"), readyHere])], "10.244.1.1:8080"],
  ])("%s", (_, slices, wanted) => {
    expect(toldWithPorts(portOf([makeService()], slices)?.internal)).toBe(wanted);
  });

  it("tell which endpoint runs here by the copy that says so", () => {
    const port = portOf([makeService()], [slice("a", [{ ...readyHere, nodeName: undefined }]), slice("b", [readyHere])]);
    expect(port?.internal).toEqual({ type: "balance", endpoints: [{ address: "10.244.1.1", port: 8080, isLocal: true }] });
  });

  it("name what serves for the flows that must not be cut", () => {
    const port = portOf([makeService()], [makeSlice([readyHere, drainingThere, deadHere, unreadyHere])]);
    expect(port?.serving.map(({ address }) => address)).toEqual(["10.244.1.1", "10.244.2.2"]);
  });
});

describe("topology hints", () => {
  const hinted = (address: string, hints: Partial<SliceEndpoint>): SliceEndpoint => makeEndpoint(address, hints);
  const zone1 = hinted("10.244.2.1", { forZones: ["zone-1"] });
  const zone2 = hinted("10.244.2.2", { forZones: ["zone-2"] });
  const onlyHere = hinted("10.244.1.1", { nodeName: here, forNodes: [here], forZones: ["zone-1"] });
  const onlyThere = hinted("10.244.2.3", { forNodes: [elsewhere], forZones: ["zone-1"] });

  it.each<[string, readonly SliceEndpoint[], string]>([
    ["for this zone narrow", [zone1, zone2], "10.244.2.1"],
    ["for another zone only are ignored", [zone2], "10.244.2.2"],
    ["that one endpoint lacks are ignored", [zone1, zone2, makeEndpoint("10.244.2.4")], "10.244.2.1 10.244.2.2 10.244.2.4"],
    ["that an empty list stands for are ignored", [zone1, hinted("10.244.2.4", { forZones: [] })], "10.244.2.1 10.244.2.4"],
    [
      "that only an unready endpoint lacks narrow",
      [zone1, zone2, makeEndpoint("10.244.2.4", { ready: false, serving: false })],
      "10.244.2.1",
    ],
    ["for this node narrow further", [onlyHere, onlyThere], "10.244.1.1"],
    [
      "for other nodes only fall back to the zone",
      [onlyThere, hinted("10.244.2.5", { forNodes: ["node-c"], forZones: ["zone-2"] })],
      "10.244.2.3",
    ],
    [
      "of terminating endpoints mean nothing",
      [
        { ...zone1, ready: false, terminating: true },
        { ...zone2, ready: false, terminating: true },
      ],
      "10.244.2.1 10.244.2.2",
    ],
  ])("%s", (_, endpoints, wanted) => {
    expect(told(portOf([makeService()], [makeSlice(endpoints)])?.internal)).toBe(wanted);
  });

  it("are ignored on a node without a zone", () => {
    const objects = makeObjects([makeService()], [makeSlice([zone1, zone2])], { node: makeNode({ zone: undefined }) });
    expect(told(new Planner(planOptions).plan(objects, "all").IPv4.table.ports[0]?.internal)).toBe("10.244.2.1 10.244.2.2");
  });

  it("do not narrow the endpoints of traffic policy Local", () => {
    const service = makeService({ internalTrafficPolicy: "Local" });
    const port = portOf([service], [makeSlice([{ ...zone2, nodeName: here }, zone1])]);
    expect([told(port?.internal), told(port?.externalFromInside)]).toEqual(["10.244.2.2", "10.244.2.1"]);
  });
});

describe("a Service's addresses", () => {
  const dual = makeService({
    type: "LoadBalancer",
    clusterIps: ["10.96.0.10", "fd00:96::a"],
    ports: [{ name: "http", protocol: "TCP", port: 80, nodePort: 30_080 }],
    externalIps: ["203.0.113.1", "2001:db8::1", "", "not an address"],
    ingress: [
      { ip: "198.51.100.1", mode: "VIP" },
      { ip: "198.51.100.2", mode: "Proxy" },
      { ip: "2001:db8::2", mode: "VIP" },
    ],
  });

  it("are split by family", () => {
    const { IPv4, IPv6 } = new Planner(planOptions).plan(makeObjects([dual], []), "all");
    expect(IPv4.table.ports).toMatchObject([
      { clusterIp: "10.96.0.10", nodePort: 30_080, externalIps: ["203.0.113.1"], loadBalancerIps: ["198.51.100.1"] },
    ]);
    expect(IPv6.table.ports).toMatchObject([{ clusterIp: "fd00:96::a", externalIps: ["2001:db8::1"], loadBalancerIps: ["2001:db8::2"] }]);
  });

  it("of a family that it has no cluster IP in are not served", () => {
    expect(new Planner(planOptions).plan(makeObjects([{ ...dual, clusterIps: ["10.96.0.10"] }], []), "all").IPv6.table.ports).toEqual([]);
  });

  it("leave external IPs out where they are switched off", () => {
    expect(portOf([dual], [], { ...planOptions, externalIps: "ignore" })).toMatchObject({
      externalIps: [],
      loadBalancerIps: ["198.51.100.1"],
    });
  });
});

describe("numbers that the API server would not let through", () => {
  const http = { name: "http", protocol: "TCP" as const };

  it.each<[string, ServiceObject, readonly EndpointSliceObject[], Partial<ServicePort> | undefined]>([
    ["a port of zero is not served", makeService({ ports: [{ ...http, port: 0, nodePort: undefined }] }), [], undefined],
    ["a port beyond all is not served", makeService({ ports: [{ ...http, port: 65_536, nodePort: undefined }] }), [], undefined],
    ["a node port of zero is none", makeService({ ports: [{ ...http, port: 80, nodePort: 0 }] }), [], { nodePort: undefined }],
    [
      "an endpoint's port of zero is no endpoint",
      makeService(),
      [makeSlice([readyHere], { ports: [{ ...http, port: 0 }] })],
      { internal: { type: "reject" } },
    ],
    ["a timeout of zero is a second", makeService({ affinitySeconds: 0 }), [], { affinitySeconds: 1 }],
    ["a timeout beyond all is a day", makeService({ affinitySeconds: 1e9 }), [], { affinitySeconds: 86_400 }],
  ])("%s", (_, service, slices, wanted) => {
    const [port] = new Planner(planOptions).plan(makeObjects([service], slices), "all").IPv4.table.ports;
    expect(port === undefined ? undefined : { ...port, ...wanted }).toEqual(port);
    expect(port === undefined).toBe(wanted === undefined);
  });
});

describe("source ranges", () => {
  it.each<[string, readonly string[], readonly string[] | undefined]>([
    ["none", [], undefined],
    ["of this family", [" 10.1.0.0/16 ", "10.2.3.4/24"], ["10.1.0.0/16", "10.2.3.0/24"]],
    ["everything", ["10.1.0.0/16", "0.0.0.0/0"], undefined],
    ["everything of the other family", ["10.1.0.0/16", "::/0"], ["10.1.0.0/16"]],
    ["only of the other family", ["fd00::/8"], undefined],
    ["unreadable", ["10.1.0.0/16x"], []],
    ["partly unreadable", ["10.1.0.0/16", "x"], ["10.1.0.0/16"]],
    ["within each other", ["10.0.0.0/8", "10.1.0.0/16"], ["10.0.0.0/8"]],
    ["with this node in them", ["192.168.0.0/24"], ["192.168.0.0/24", "198.51.100.1/32"]],
    ["with a neighbour of this node in them", ["192.168.0.2/32"], ["192.168.0.2/32"]],
  ])("%s", (_, sourceRanges, wanted) => {
    const service = makeService({ type: "LoadBalancer", ingress: [{ ip: "198.51.100.1", mode: "VIP" }], sourceRanges });
    expect(portOf([service], [])?.sourceRanges).toEqual(wanted);
  });
});

describe("an address that two Services want", () => {
  const inAlpha = makeService({ namespace: "alpha", name: "x", clusterIps: ["10.96.0.20"], externalIps: ["203.0.113.1"] });
  const inBeta = makeService({ namespace: "beta", name: "x", clusterIps: ["10.96.0.21"], externalIps: ["203.0.113.1"] });

  it.each<[string, readonly ServiceObject[], readonly string[]]>([
    ["external IP twice: the first name wins", [inBeta, inAlpha], ["alpha/x"]],
    [
      "external IP against a load balancer's: the load balancer wins",
      [inAlpha, { ...inBeta, externalIps: [], ingress: [{ ip: "203.0.113.1", mode: "VIP" }] }],
      ["beta/x"],
    ],
    [
      "external IP against a cluster IP: the cluster IP wins",
      [inAlpha, { ...inBeta, externalIps: [], clusterIps: ["203.0.113.1"] }],
      ["beta/x"],
    ],
    [
      "different ports: both",
      [inAlpha, { ...inBeta, ports: [{ name: "http", protocol: "TCP", port: 81, nodePort: undefined }] }],
      ["alpha/x", "beta/x"],
    ],
    [
      "different protocols: both",
      [inAlpha, { ...inBeta, ports: [{ name: "http", protocol: "UDP", port: 80, nodePort: undefined }] }],
      ["alpha/x", "beta/x"],
    ],
  ])("%s", (_, services, wanted) => {
    const { ports } = new Planner(planOptions).plan(makeObjects(services, []), "all").IPv4.table;
    expect(ports.filter((port) => addressesOf(port).includes("203.0.113.1")).map(({ namespace, name }) => `${namespace}/${name}`)).toEqual(
      wanted,
    );
  });

  it("goes to the other when the winner lets go of it", () => {
    const planner = new Planner(planOptions);
    planner.plan(makeObjects([inAlpha, inBeta], []), "all");
    const { ports } = planner.plan(makeObjects([{ ...inAlpha, externalIps: [] }, inBeta], []), new Set(["alpha/x"])).IPv4.table;
    expect(ports.map(({ externalIps }) => externalIps)).toEqual([[], ["203.0.113.1"]]);
  });

  it("is named once when one Service has it twice", () => {
    const service = { ...inAlpha, ingress: [{ ip: "203.0.113.1", mode: "VIP" as const }] };
    expect(portOf([service], [])).toMatchObject({ externalIps: [], loadBalancerIps: ["203.0.113.1"] });
  });
});

describe("health checks", () => {
  const balanced = makeService({ type: "LoadBalancer", externalTrafficPolicy: "Local", healthCheckNodePort: 32_000 });
  const twoPorts = {
    ports: [
      { name: "http", protocol: "TCP" as const, port: 8080 },
      { name: "http", protocol: "TCP" as const, port: 8081 },
    ],
  };

  it.each<[string, ServiceObject, readonly EndpointSliceObject[], readonly number[]]>([
    ["count addresses, not ports", balanced, [makeSlice([readyHere, readyThere], twoPorts)], [1]],
    ["do not count what terminates", balanced, [makeSlice([drainingHere])], [0]],
    ["are not for policy Cluster", { ...balanced, externalTrafficPolicy: "Cluster" }, [makeSlice([readyHere])], []],
    ["are not for a NodePort Service", { ...balanced, type: "NodePort" }, [makeSlice([readyHere])], []],
    ["need a port", { ...balanced, healthCheckNodePort: undefined }, [makeSlice([readyHere])], []],
  ])("%s", (_, service, slices, wanted) => {
    const { healthChecks } = new Planner(planOptions).plan(makeObjects([service], slices), "all").IPv4;
    expect(healthChecks.map(({ localReadyEndpoints }) => localReadyEndpoints)).toEqual(wanted);
  });
});

describe("a family's table", () => {
  it("has only that family's ranges", () => {
    const options: PlanOptions = { ...planOptions, localDetection: { type: "cidrs", cidrs: ["10.244.0.0/16", "fd00:244::/48"] } };
    const { IPv4, IPv6 } = new Planner(options).plan(
      makeObjects([], [], { serviceCidrs: ["10.96.0.0/16", "10.96.0.0/24", "fd00:96::/112"] }),
      "all",
    );
    expect(IPv4.table).toMatchObject({ serviceCidrs: ["10.96.0.0/16"], localDetection: { cidrs: ["10.244.0.0/16"] } });
    expect(IPv6.table).toMatchObject({ serviceCidrs: ["fd00:96::/112"], localDetection: { cidrs: ["fd00:244::/48"] } });
  });

  it("tells no sources apart without a range of its own", () => {
    expect(new Planner(planOptions).plan(makeObjects([], []), "all").IPv6.table.localDetection).toEqual({ type: "none" });
  });
});

function slice(name: string, endpoints: readonly SliceEndpoint[], changes: Partial<EndpointSliceObject> = {}): EndpointSliceObject {
  return makeSlice(endpoints, { name, ...changes });
}

function portOf(
  services: readonly ServiceObject[],
  slices: readonly EndpointSliceObject[],
  options = planOptions,
): ServicePort | undefined {
  return new Planner(options).plan(makeObjects(services, slices), "all").IPv4.table.ports[0];
}

function told(outcome: Outcome | undefined): string {
  return outcome?.type === "balance" ? outcome.endpoints.map(({ address }) => address).join(" ") : (outcome?.type ?? "nothing");
}

function toldWithPorts(outcome: Outcome | undefined): string {
  return outcome?.type === "balance"
    ? outcome.endpoints.map(({ address, port }) => `${address}:${port}`).join(" ")
    : (outcome?.type ?? "nothing");
}

function addressesOf({ clusterIp, externalIps, loadBalancerIps }: ServicePort): readonly string[] {
  return [clusterIp, ...externalIps, ...loadBalancerIps];
}
