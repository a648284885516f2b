import { describe, expect, it } from "vitest";
import { nodeAddressMs, podCidrMs, StartGate } from "#agent/service-proxy/start-gate.ts";
import type { NodeObject } from "#agent/dataplane/objects.ts";
import { ManualClock } from "../manual-clock.ts";
import { makeNode } from "./makers.ts";

function makeGate(needsPodCidrs = false) {
  const clock = new ManualClock();
  const world: { isSynced: boolean; node: NodeObject | undefined } = { isSynced: false, node: undefined };
  const told: (string | undefined)[] = [];
  const gate = new StartGate({
    clock,
    needsPodCidrs,
    isSynced: () => world.isSynced,
    node: () => world.node,
    onOpen: (missing) => told.push(missing ?? "open"),
    onImpossible: (reason) => told.push(`impossible: ${reason}`),
  });
  const change = (fields: Partial<typeof world>) => {
    Object.assign(world, fields);
    gate.look();
  };
  return { clock, told, gate, change };
}

describe("the first rules", () => {
  it("wait for the whole of the cluster, however long", () => {
    const { clock, told, change } = makeGate();
    change({ node: makeNode() });
    clock.advance(3_600_000);
    expect(told).toEqual([]);
    change({ isSynced: true });
    change({});
    expect([told, clock.waiting]).toEqual([["open"], 0]);
  });

  it("wait for the Node's addresses, and come at once when they do", () => {
    const { clock, told, change } = makeGate();
    change({ isSynced: true });
    change({ node: makeNode({ internalIps: [] }) });
    clock.advance(nodeAddressMs - 1);
    expect(told).toEqual([]);
    change({ node: makeNode() });
    expect([told, clock.waiting]).toEqual([["open"], 0]);
  });

  it.each([
    [undefined, "the cluster has no Node of this name"],
    [makeNode({ internalIps: [] }), "the Node has no addresses"],
  ])("are made without %j in the end, which is said", (node, missing) => {
    const { clock, told, change } = makeGate();
    change({ isSynced: true, node });
    clock.advance(nodeAddressMs);
    expect(told).toEqual([missing]);
  });

  it("are never made without pod ranges where those tell what is local", () => {
    const { clock, told, change } = makeGate(true);
    change({ isSynced: true, node: makeNode() });
    clock.advance(podCidrMs - 1);
    expect(told).toEqual([]);
    clock.advance(1);
    change({});
    expect(told).toEqual(["impossible: the Node has no spec.podCIDRs, and detectLocalMode NodeCIDR needs them"]);
  });

  it("come when the pod ranges do", () => {
    const { told, change } = makeGate(true);
    change({ isSynced: true, node: makeNode() });
    change({ node: makeNode({ podCidrs: ["10.4.0.0/24"] }) });
    expect(told).toEqual(["open"]);
  });

  it("never come after it was closed", () => {
    const { clock, told, gate, change } = makeGate();
    change({ isSynced: true });
    gate.close();
    change({ node: makeNode() });
    expect([told, clock.waiting]).toEqual([[], 0]);
  });
});
