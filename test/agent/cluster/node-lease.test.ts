import { describe, expect, it } from "vitest";
import { nodeLeaseLookMs, nodeLeaseRefusedMs, nodeLeaseRenewMs, nodeLeaseRestMs, nodeLeaseRetryMs } from "#agent/cluster/limits.ts";
import { NodeLease, nodeLeasesTarget, readNodeLease } from "#agent/cluster/node-lease.ts";
import type { NodeLeaseContent } from "#agent/cluster/node-lease.ts";
import { objectField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { ObservedClock } from "../observed-clock.ts";
import { makeApi } from "./scripted-api.ts";
import type { ApiCall, ScriptedAnswer } from "./scripted-api.ts";

/** Keeps one Lease as an apiserver does; `override` answers first. */
function startLease(override: (call: ApiCall, index: number) => ScriptedAnswer = () => undefined) {
  let stored: JsonObject | undefined;
  let version = 0;
  const troubles: (string | undefined)[] = [];
  const made = makeApi((call, index): ScriptedAnswer => {
    const answer = override(call, index);
    if (answer !== undefined) return answer;
    if (call.method === "GET")
      return stored === undefined ? { status: 404, object: { reason: "NotFound" } } : { status: 200, object: stored };
    const given = objectField(call.object ?? {}, "metadata")["resourceVersion"];
    if (call.method === "PUT" && given !== String(version)) return { status: 409, object: { reason: "Conflict" } };
    version += 1;
    stored = { ...call.object, metadata: { ...(call.object?.["metadata"] as object), resourceVersion: String(version) } };
    return { status: 201, object: stored };
  });
  const clock = new ObservedClock();
  const content: { now: NodeLeaseContent } = { now: { state: "starting", generation: 0, lastError: undefined, nodeUid: "u1" } };
  const lease = new NodeLease({
    api: made.api,
    node: "node-1",
    clock,
    describe: () => content.now,
    onTrouble: (what) => troubles.push(what),
  });
  lease.start();
  return {
    ...made,
    lease,
    clock,
    content,
    troubles,
    stored: () => stored,
    interfere: () => {
      version += 1;
      stored = { ...stored, metadata: { ...(stored?.["metadata"] as object), resourceVersion: String(version) } };
    },
    remove: () => (stored = undefined),
    writes: () => made.calls.filter(({ method }) => method !== "GET").length,
    /** Time passes, in steps between which the lease comes to rest. */
    pass: async (ms: number) => {
      for (let left = ms; left > 0; left -= nodeLeaseLookMs) {
        clock.advance(nodeLeaseLookMs);
        await clock.whenWaiting();
      }
    },
  };
}

describe("a node's Lease", () => {
  it("is made with the state, owned by its Node", async () => {
    const made = startLease();
    made.content.now = { state: "failing", generation: 7, lastError: "IPv4: nft\nfailed", nodeUid: "u1" };
    await made.pass(nodeLeaseLookMs);
    expect(made.calls.map(({ method, target }) => `${method} ${target}`)).toEqual([
      `GET ${nodeLeasesTarget}/node-1`,
      `POST ${nodeLeasesTarget}`,
    ]);
    const now = new Date(made.clock.now()).toISOString();
    expect(made.stored()).toMatchObject({
      metadata: {
        name: "node-1",
        namespace: "sallyport-service-proxy",
        annotations: {
          "sallyport.dev/state": "failing",
          "sallyport.dev/since": now,
          "sallyport.dev/generation": "7",
          "sallyport.dev/last-error": "IPv4: nft failed",
        },
        ownerReferences: [{ apiVersion: "v1", kind: "Node", name: "node-1", uid: "u1" }],
      },
      spec: { holderIdentity: "node-1", leaseDurationSeconds: 180, renewTime: now.replace("Z", "000Z") },
    });
    made.lease.stop();
  });

  it("is read back as it was told", async () => {
    const made = startLease();
    made.content.now = { state: "failing", generation: 7, lastError: "no nft", nodeUid: "" };
    await made.pass(nodeLeaseLookMs);
    const since = new Date(made.clock.now()).toISOString();
    expect(readNodeLease(made.stored() ?? {})).toEqual({
      state: { node: "node-1", state: "failing", since, generation: 7, lastError: "no nft" },
      renewedMs: made.clock.now(),
    });
    made.lease.stop();
  });

  it("is renewed each minute while nothing changes, whatever the generation", async () => {
    const made = startLease();
    await made.pass(nodeLeaseLookMs);
    made.content.now = { ...made.content.now, generation: 5 };
    await made.pass(nodeLeaseRenewMs - nodeLeaseLookMs);
    expect(made.writes()).toBe(1);
    await made.pass(nodeLeaseLookMs);
    expect([made.writes(), made.stored()]).toEqual([2, expect.objectContaining({ kind: "Lease" })]);
    expect(readNodeLease(made.stored() ?? {})?.state.generation).toBe(5);
    made.lease.stop();
  });

  it("is written when the state changes, and no more often than it may", async () => {
    const made = startLease();
    for (let step = 0; step < 60_000 / nodeLeaseLookMs; step += 1) {
      made.content.now = { ...made.content.now, state: step % 2 === 0 ? "failing" : "synced", lastError: `error ${step}` };
      await made.pass(nodeLeaseLookMs);
    }
    expect(made.writes()).toBe(60_000 / nodeLeaseRestMs);
    made.lease.stop();
  });

  it("keeps the moment at which a state began", async () => {
    const made = startLease();
    await made.pass(nodeLeaseLookMs);
    const since = new Date(made.clock.now()).toISOString();
    await made.pass(3 * nodeLeaseRenewMs);
    expect(readNodeLease(made.stored() ?? {})?.state.since).toBe(since);
    made.lease.stop();
  });

  it.each([
    ["changed by somebody else", (made: ReturnType<typeof startLease>) => made.interfere()],
    ["removed by somebody else", (made: ReturnType<typeof startLease>) => made.remove()],
  ])("that was %s is written at the next look", async (_what, meddle) => {
    const made = startLease((call) => (call.method === "PUT" && made.stored() === undefined ? { status: 404 } : undefined));
    await made.pass(nodeLeaseLookMs);
    meddle(made);
    made.content.now = { ...made.content.now, state: "synced" };
    await made.pass(nodeLeaseRestMs + 2 * nodeLeaseLookMs);
    expect([readNodeLease(made.stored() ?? {})?.state.state, made.troubles]).toEqual(["synced", []]);
    made.lease.stop();
  });

  it.each([
    ["refused", { status: 403, object: { reason: "Forbidden" } }, nodeLeaseRefusedMs, "(403 Forbidden)"],
    ["answered wrongly", { status: 500, object: { reason: "InternalError" } }, nodeLeaseRetryMs, "(500 InternalError)"],
    ["not answered", new Error("no apiserver"), nodeLeaseRetryMs, "no apiserver"],
  ])("that is %s is told once and tried seldom", async (_what, answer, waitMs, said) => {
    let isBroken = true;
    const made = startLease(() => (isBroken ? answer : undefined));
    await made.pass(nodeLeaseLookMs);
    expect(made.troubles).toEqual([expect.stringContaining(said)]);
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      expect([made.calls.length, made.clock.lastWaitMs]).toEqual([attempt, waitMs]);
      await made.pass(waitMs);
    }
    expect(made.troubles).toHaveLength(1);
    isBroken = false;
    await made.pass(waitMs);
    expect(made.troubles).toEqual([expect.anything(), undefined]);
    made.lease.stop();
  });

  it("is left alone after a stop", async () => {
    const made = startLease();
    made.lease.stop();
    made.clock.advance(10 * nodeLeaseRenewMs);
    expect([made.calls, made.clock.waiting]).toEqual([[], 0]);
  });
});

describe("a Lease that is no node's", () => {
  const annotations = {
    "sallyport.dev/state": "synced",
    "sallyport.dev/since": "2026-11-28T10:00:00Z",
    "sallyport.dev/generation": "1",
  };
  const lease = { metadata: { name: "node-1", annotations }, spec: { renewTime: "2026-11-28T10:00:00.000000Z" } };

  it.each([
    ["without annotations", { ...lease, metadata: { name: "kube-scheduler" } }],
    ["without a renewal", { ...lease, spec: {} }],
    ["with an unknown state", { ...lease, metadata: { name: "n", annotations: { ...annotations, "sallyport.dev/state": "great" } } }],
    [
      "with a generation in words",
      { ...lease, metadata: { name: "n", annotations: { ...annotations, "sallyport.dev/generation": "1e9" } } },
    ],
    ["of another shape", { metadata: [], spec: 5 }],
  ])("%s is left out", (_what, object) => {
    expect(readNodeLease(lease)).toBeDefined();
    expect(readNodeLease(object as JsonObject)).toBeUndefined();
  });
});
