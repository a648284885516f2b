import { describe, expect, it } from "vitest";
import { taintRetryMs } from "#agent/cluster/limits.ts";
import { planRemoval, StartupTaint } from "#agent/cluster/startup-taint.ts";
import { makeApi } from "./scripted-api.ts";
import type { ScriptedAnswer } from "./scripted-api.ts";

const ours = { key: "sallyport.dev/not-ready", effect: "NoSchedule" };
const other = { key: "example.com/other", effect: "NoSchedule" };

function makeTaint(answer: (index: number) => ScriptedAnswer) {
  const failures: string[] = [];
  const made = makeApi((_call, index) => answer(index));
  const taint = new StartupTaint({
    api: made.api,
    node: "node-1",
    key: ours.key,
    clock: made.clock,
    onFailure: (what) => failures.push(what),
  });
  return { ...made, taint, failures };
}

describe("a startup taint", () => {
  it("is removed by its place, and only if it is still there", async () => {
    const { taint, calls } = makeTaint((index) =>
      index === 0 ? { status: 200, object: { spec: { taints: [other, ours] } } } : { status: 200 },
    );
    expect(await taint.remove()).toBe(true);
    expect(calls[1]).toMatchObject({
      method: "PATCH",
      target: "/api/v1/nodes/node-1",
      object: [
        { op: "test", path: "/spec/taints/1", value: ours },
        { op: "remove", path: "/spec/taints/1" },
      ],
    });
  });

  it("with two effects goes from the last to the first", () => {
    const twice = { spec: { taints: [ours, other, { ...ours, effect: "NoExecute" }] } };
    expect(planRemoval(twice, ours.key).map((operation) => operation["path"])).toEqual([
      "/spec/taints/2",
      "/spec/taints/2",
      "/spec/taints/0",
      "/spec/taints/0",
    ]);
  });

  it("that is not there is left alone", async () => {
    const { taint, calls } = makeTaint(() => ({ status: 200, object: { spec: { taints: [other] } } }));
    expect([await taint.remove(), calls.length]).toEqual([true, 1]);
  });

  it("that somebody else changes at the same moment is looked at again", async () => {
    const lookedAgain = Promise.withResolvers<undefined>();
    const { taint, clock, failures } = makeTaint((index) => {
      if (index === 2) lookedAgain.resolve(undefined);
      return index === 1 ? { status: 422, object: { reason: "Invalid" } } : { status: 200, object: { spec: { taints: [ours] } } };
    });
    expect(await taint.remove()).toBe(false);
    expect(failures).toEqual([
      "the taint sallyport.dev/not-ready of the node node-1 could not be removed: the apiserver refuses the change with 422 Invalid",
    ]);
    clock.advance(taintRetryMs);
    await lookedAgain.promise;
    taint.stop();
  });

  it("is not tried again once the agent stops", async () => {
    const { taint, clock } = makeTaint(() => ({ status: 403 }));
    await taint.remove();
    taint.stop();
    expect(clock.waiting).toBe(0);
  });
});
