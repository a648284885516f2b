import { describe, expect, it } from "vitest";
import { ObjectStore } from "#agent/service-proxy/object-store.ts";
import { makeNode, makeService, makeSlice } from "./makers.ts";

describe("the objects that are planned from", () => {
  it("name a Service whose slices have changed, and forget it once it was taken", () => {
    const store = new ObjectStore("node-1");
    store.applySlices([{ type: "set", key: "shop/web-1", value: makeSlice({ triggeredAtMs: 5 }), previous: undefined }]);
    expect(store.pending).toEqual({ services: 0, endpoints: 1 });
    expect(store.takeChanges()).toEqual({
      services: new Set(["shop/web"]),
      serviceChanges: 0,
      endpointChanges: 1,
      triggers: [{ family: "IPv4", atMs: 5 }],
    });
    expect(store.takeChanges()).toMatchObject({ services: new Set(), endpointChanges: 0, triggers: [] });
  });

  it("move a slice whose label names another Service, and name both", () => {
    const store = new ObjectStore("node-1");
    const [before, after] = [makeSlice(), makeSlice({ service: "api" })];
    store.applySlices([{ type: "set", key: "shop/web-1", value: before, previous: undefined }]);
    store.takeChanges();
    store.applySlices([{ type: "set", key: "shop/web-1", value: after, previous: before }]);
    expect(store.takeChanges().services).toEqual(new Set(["shop/web", "shop/api"]));
    expect([...store.objects.slices.keys()]).toEqual(["shop/api"]);
  });

  it("forget a Service's slices with the last of them", () => {
    const store = new ObjectStore("node-1");
    const slice = makeSlice();
    store.applySlices([{ type: "set", key: "shop/web-1", value: slice, previous: undefined }]);
    store.applySlices([{ type: "removed", key: "shop/web-1", previous: slice }]);
    expect([store.objects.slices.size, store.sliceCount]).toEqual([0, 0]);
  });

  it("have a node that load balancers stay away from until the cluster has it", () => {
    const store = new ObjectStore("node-1");
    const node = makeNode();
    expect([store.node, store.objects.node]).toEqual([
      undefined,
      expect.objectContaining({ name: "node-1", internalIps: [], isEligible: false }),
    ]);
    store.applyNode([{ type: "set", key: "node-1", value: node, previous: undefined }]);
    expect([store.objects.node, store.node]).toEqual([node, node]);
  });

  it("keep the addresses of a node that loses them or is gone", () => {
    const store = new ObjectStore("node-1");
    const node = makeNode();
    store.applyNode([{ type: "set", key: "node-1", value: node, previous: undefined }]);
    store.applyNode([{ type: "set", key: "node-1", value: makeNode({ internalIps: [], zone: "b" }), previous: node }]);
    expect(store.objects.node).toEqual({ ...node, zone: "b" });
    store.applyNode([{ type: "removed", key: "node-1", previous: node }]);
    expect(store.objects.node).toEqual({ ...node, zone: "b", isEligible: false });
  });

  it("have the ranges of all ServiceCIDRs, each once", () => {
    const store = new ObjectStore("node-1");
    const [one, two] = [["10.96.0.0/16", "fd00::/108"], ["10.96.0.0/16"]];
    store.applyServiceCidrs([
      { type: "set", key: "a", value: one, previous: undefined },
      { type: "set", key: "b", value: two, previous: undefined },
    ]);
    expect(store.objects.serviceCidrs).toEqual(["10.96.0.0/16", "fd00::/108"]);
    store.applyServiceCidrs([{ type: "removed", key: "a", previous: one }]);
    expect(store.objects.serviceCidrs).toEqual(["10.96.0.0/16"]);
  });

  it("count changes of Services", () => {
    const store = new ObjectStore("node-1");
    store.applyServices([{ type: "set", key: "shop/web", value: makeService(), previous: undefined }]);
    expect([store.objects.services.size, store.pending.services]).toEqual([1, 1]);
  });
});
