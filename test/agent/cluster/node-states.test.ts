import { describe, expect, it } from "vitest";
import { absentResourceMs, generationReportMs, maxLeasePages, nodeLeaseSeconds, nodeStatesIntervalMs } from "#agent/cluster/limits.ts";
import { nodeLeasesTarget } from "#agent/cluster/node-lease.ts";
import { NodeStates } from "#agent/cluster/node-states.ts";
import { ObservedClock } from "../observed-clock.ts";
import { makeApi } from "./scripted-api.ts";
import type { ApiCall, ScriptedAnswer } from "./scripted-api.ts";

const since = "2023-11-14T00:00:00.000Z";

interface Said {
  readonly state?: string;
  readonly generation?: number;
  readonly lastError?: string;
  readonly renewedMs: number;
}

function makeLease(node: string, { state = "synced", generation = 1, lastError = "", renewedMs }: Said) {
  const annotations = {
    "sallyport.dev/state": state,
    "sallyport.dev/since": since,
    "sallyport.dev/generation": String(generation),
    ...(lastError !== "" && { "sallyport.dev/last-error": lastError }),
  };
  return { metadata: { name: node, annotations }, spec: { renewTime: new Date(renewedMs).toISOString() } };
}

function makeStates(answer: (call: ApiCall, index: number) => ScriptedAnswer) {
  const made = makeApi(answer);
  const clock = new ObservedClock();
  const refusals: string[] = [];
  const states = new NodeStates({ api: made.api, clock, random: () => 0.5, onRefused: (what) => refusals.push(what) });
  /** The next look, once it is due. */
  const look = async (ms = nodeStatesIntervalMs) => {
    clock.advance(ms);
    await clock.whenWaiting();
  };
  return { ...made, clock, refusals, states, look };
}

const list = (items: readonly object[], next = ""): ScriptedAnswer => ({ status: 200, object: { metadata: { continue: next }, items } });

describe("the nodes' states", () => {
  it("are read from all pages", async () => {
    const made = makeStates(({ target }) => {
      const renewedMs = made.clock.now();
      return target.includes("continue=")
        ? list([makeLease("b", { renewedMs })])
        : list([makeLease("a", { state: "failing", lastError: "no nft", renewedMs })], "x&y");
    });
    await made.states.start();
    expect(made.calls.map(({ target }) => target)).toEqual([
      `${nodeLeasesTarget}?limit=500`,
      `${nodeLeasesTarget}?limit=500&continue=x%26y`,
    ]);
    expect(made.states.report()).toEqual({
      state: "degraded",
      nodes: 2,
      notSynced: 1,
      listed: [
        { node: "a", state: "failing", since, generation: 1, lastError: "no nft" },
        { node: "b", state: "synced", since, generation: 1 },
      ],
    });
    expect(made.clock.lastWaitMs).toBe(2 * nodeStatesIntervalMs);
    made.states.stop();
  });

  it("end at a bound, which is said", async () => {
    const made = makeStates((_call, index) => list([makeLease(`node-${index}`, { renewedMs: made.clock.now() })], "more"));
    await made.states.start();
    expect([made.calls.length, made.states.report()]).toEqual([
      maxLeasePages,
      expect.objectContaining({ nodes: maxLeasePages, lastError: `only the first ${maxLeasePages} nodes are read` }),
    ]);
    made.states.stop();
  });

  it.each([
    ["no service proxy is installed", { status: 403, object: { reason: "Forbidden" } }],
    ["the apiserver knows no Leases", { status: 404, object: { reason: "NotFound" } }],
  ])("are none where %s: that is said once, and looked at seldom", async (_what, answer) => {
    const made = makeStates(() => answer);
    await made.states.start();
    for (let look = 0; look < 3; look += 1) await made.look(absentResourceMs);
    expect([made.calls.length, made.refusals.length, made.states.report(), made.clock.lastWaitMs]).toEqual([
      4,
      1,
      undefined,
      absentResourceMs,
    ]);
    expect(made.refusals[0]).toContain(`(${answer.status} ${answer.object.reason})`);
    made.states.stop();
    expect(made.clock.waiting).toBe(0);
  });

  it("are none where the namespace has no Lease of a node", async () => {
    const made = makeStates(() => list([{ metadata: { name: "controller" }, spec: {} }, {}]));
    await made.states.start();
    expect([made.states.report(), made.refusals]).toEqual([undefined, []]);
    made.states.stop();
  });

  it("are unknown after a silence, since the last renewal", async () => {
    const made = makeStates(() => list([makeLease("a", { renewedMs: first })]));
    const first = made.clock.now();
    await made.states.start();
    made.clock.advance(nodeLeaseSeconds * 1000);
    expect(made.states.report()?.state).toBe("synced");
    made.clock.advance(1);
    expect(made.states.report()).toMatchObject({
      state: "degraded",
      notSynced: 1,
      listed: [{ node: "a", state: "unknown", since: new Date(first).toISOString() }],
    });
    made.states.stop();
  });

  it("are unknown from the start where a node was silent for long", async () => {
    const made = makeStates(() => list([makeLease("a", { renewedMs: made.clock.now() - 2 * nodeLeaseSeconds * 1000 })]));
    await made.states.start();
    expect(made.states.report()?.listed).toMatchObject([{ state: "unknown" }]);
    made.states.stop();
  });

  it.each([
    ["an hour behind", -3_600_000],
    ["an hour ahead", 3_600_000],
  ])("are known of a node whose clock is %s, as long as it renews", async (_what, offsetMs) => {
    const made = makeStates(() => list([makeLease("a", { renewedMs: made.clock.now() + offsetMs })]));
    await made.states.start();
    for (let looks = 0; looks < 20; looks += 1) await made.look();
    expect(made.states.report()?.listed).toMatchObject([{ state: "synced" }]);
    made.states.stop();
  });

  it("stay, with the reason beside them, while the apiserver does not answer; then nothing is known", async () => {
    const made = makeStates((_call, index) =>
      index === 0 ? list([makeLease("a", { renewedMs: made.clock.now() })]) : new Error("no way there"),
    );
    await made.states.start();
    await made.look();
    expect(made.states.report()).toMatchObject({
      listed: [{ state: "synced" }],
      lastError: "the nodes' Leases cannot be read: no way there",
    });
    for (let looks = 0; looks < 6; looks += 1) await made.look();
    expect(made.states.report()).toMatchObject({ listed: [{ state: "unknown" }] });
    made.states.stop();
  });

  it("are reported anew for a state at once, and for a generation now and then", async () => {
    let said: Omit<Said, "renewedMs"> = { generation: 1 };
    const made = makeStates(() => list([makeLease("a", { ...said, renewedMs: made.clock.now() })]));
    await made.states.start();
    const first = made.states.report();
    said = { generation: 2 };
    await made.look();
    expect(made.states.report()).toBe(first);
    said = { generation: 3, state: "failing" };
    await made.look();
    expect(made.states.report()).toMatchObject({ listed: [{ state: "failing", generation: 3 }] });
    said = { generation: 4, state: "failing" };
    for (let passedMs = 0; passedMs <= generationReportMs; passedMs += nodeStatesIntervalMs) await made.look();
    expect(made.states.report()).toMatchObject({ listed: [{ state: "failing", generation: 4 }] });
    made.states.stop();
  });
});
