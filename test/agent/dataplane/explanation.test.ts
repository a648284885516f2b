import { describe, expect, it } from "vitest";
import { explainService } from "#agent/dataplane/explanation.ts";
import type { SliceEndpoint } from "#agent/dataplane/objects.ts";
import { here, makeEndpoint, makeNode, makeService, makeSlice } from "./makers.ts";

const readyHere = makeEndpoint("10.244.1.1", { nodeName: here });
const readyThere = makeEndpoint("10.244.2.1");
const draining = makeEndpoint("10.244.1.2", { nodeName: here, ready: false, terminating: true });

describe("why an endpoint is used or not", () => {
  it.each<[string, readonly SliceEndpoint[], readonly string[]]>([
    ["ready", [readyHere, readyThere], ["10.244.1.1: used, used", "10.244.2.1: used, on another node"]],
    [
      "terminating beside ready",
      [readyHere, draining],
      ["10.244.1.1: used, used", "10.244.1.2: terminates while others are ready, terminates while others are ready"],
    ],
    ["only terminating", [draining], ["10.244.1.2: used while it terminates, used while it terminates"]],
    ["not ready", [makeEndpoint("10.244.1.3", { nodeName: here, ready: false, serving: false })], ["10.244.1.3: not ready, not ready"]],
    [
      "hinted for elsewhere",
      [makeEndpoint("10.244.2.1", { forZones: ["zone-1"] }), makeEndpoint("10.244.2.2", { forZones: ["zone-2"] })],
      ["10.244.2.1: used, on another node", "10.244.2.2: hinted for elsewhere, on another node"],
    ],
  ])("%s", (_, endpoints, wanted) => {
    const [port] = explainService(makeService(), [makeSlice(endpoints)], makeNode(), "IPv4");
    expect(port?.endpoints.map(({ endpoint, cluster, local }) => `${endpoint.address}: ${cluster}, ${local}`)).toEqual(wanted);
  });
});

describe("why hints are ignored", () => {
  const hinted = makeEndpoint("10.244.2.1", { forZones: ["zone-1"] });

  it.each<[string, readonly SliceEndpoint[], string | undefined, readonly string[]]>([
    ["hints that count", [hinted], "zone-1", ["forNodes: an endpoint without hints (10.244.2.1:8080)"]],
    [
      "one without",
      [hinted, readyHere],
      "zone-1",
      ["forNodes: an endpoint without hints (10.244.1.1:8080 10.244.2.1:8080)", "forZones: an endpoint without hints (10.244.1.1:8080)"],
    ],
    [
      "a node without a zone",
      [hinted],
      undefined,
      ["forNodes: an endpoint without hints (10.244.2.1:8080)", "forZones: node without a zone ()"],
    ],
    [
      "another zone",
      [hinted],
      "zone-9",
      ["forNodes: an endpoint without hints (10.244.2.1:8080)", "forZones: no endpoint for this zone ()"],
    ],
    ["other nodes", [{ ...hinted, forNodes: ["node-z"] }], "zone-1", ["forNodes: no endpoint for this node ()"]],
    ["nothing ready", [draining], "zone-1", ["forNodes: no ready endpoint ()", "forZones: no ready endpoint ()"]],
  ])("%s", (_, endpoints, zone, wanted) => {
    const [port] = explainService(makeService(), [makeSlice(endpoints)], makeNode({ zone }), "IPv4");
    expect(port?.topology.ignored.map(({ kind, reason, endpoints: names }) => `${kind}: ${reason} (${names.join(" ")})`)).toEqual(wanted);
  });
});

describe("a port that slices offer and the Service lacks", () => {
  it("is named", () => {
    const slice = makeSlice([readyHere], { ports: [{ name: "htpp", protocol: "TCP", port: 8080 }] });
    const [port] = explainService(makeService(), [slice], makeNode(), "IPv4");
    expect(port).toMatchObject({ strangePorts: ["htpp"], internal: { type: "reject" } });
  });
});
