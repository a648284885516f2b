import { describe, expect, it } from "vitest";
import type { ApplyOutcome, Dataplane, IpFamily, ServiceTable } from "#agent/dataplane/dataplane.ts";
import type { ChangedServices, Plan } from "#agent/dataplane/node-plan.ts";
import { ObjectStore } from "#agent/service-proxy/object-store.ts";
import { SyncLoop } from "#agent/service-proxy/sync-loop.ts";
import type { FamilyRun, FlowReconciler, SyncLoopOptions } from "#agent/service-proxy/sync-loop.ts";
import { ObservedClock } from "../observed-clock.ts";
import { makeService, makeTable } from "./makers.ts";

interface Call {
  readonly what: "apply" | "verify";
  readonly family: IpFamily;
  answer(outcome: ApplyOutcome | Error): void;
}

const applied: ApplyOutcome = { type: "applied", changes: 1 };
const failed: ApplyOutcome = { type: "failed", message: "nft: no" };

function quietFlows(): FlowReconciler {
  return { reconcile: async () => 0, stop: async () => undefined };
}

/** A loop with a dataplane that answers when the test says so. */
function makeLoop(options: Partial<SyncLoopOptions> = {}) {
  const clock = new ObservedClock();
  const store = new ObjectStore("node-1");
  const calls: Call[] = [];
  const waiting: ((call: Call) => void)[] = [];
  const planned: ChangedServices[] = [];
  const runs: FamilyRun[] = [];
  const notes: string[] = [];
  let closed = 0;
  let tables: Record<IpFamily, ServiceTable> = { IPv4: makeTable("IPv4"), IPv6: makeTable("IPv6") };
  const act = (what: Call["what"]) => (table: ServiceTable) =>
    new Promise<ApplyOutcome>((resolve, reject) => {
      const call: Call = {
        what,
        family: table.family,
        answer: (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome)),
      };
      const next = waiting.shift();
      if (next === undefined) calls.push(call);
      else next(call);
    });
  const dataplane: Dataplane = {
    name: "nftables",
    apply: act("apply"),
    verify: act("verify"),
    close: async () => {
      closed += 1;
    },
    cleanup: async () => undefined,
  };
  const plan = (): Plan => ({ IPv4: { table: tables.IPv4, healthChecks: [] }, IPv6: { table: tables.IPv6, healthChecks: [] } });
  const loop = new SyncLoop({
    families: ["IPv4"],
    dataplane,
    flows: quietFlows(),
    source: store,
    planner: {
      plan: (_objects, changed) => {
        planned.push(changed);
        return plan();
      },
    },
    observer: {
      queued: () => void notes.push("queued"),
      began: () => undefined,
      applied: (run) => void runs.push(run),
      reconciled: (_family, outcome) => void notes.push(outcome.type),
      planFailed: (message) => void notes.push(message),
      healthChecks: () => void notes.push("health"),
    },
    clock,
    minSyncMs: 1_000,
    retryMs: 30_000,
    verifyMs: 3_600_000,
    ...options,
  });
  return {
    loop,
    clock,
    store,
    planned,
    runs,
    notes,
    unseen: calls,
    closed: () => closed,
    setTable: (table: ServiceTable) => {
      tables = { ...tables, [table.family]: table };
    },
    next: (): Promise<Call> => {
      const call = calls.shift();
      return call === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(call);
    },
    /** Answers the next call, and resolves when the run is over and the loop rests. */
    run: async (outcome: ApplyOutcome | Error): Promise<Call["what"]> => {
      const call = calls.shift() ?? (await new Promise<Call>((resolve) => waiting.push(resolve)));
      const before = clock.waiting;
      call.answer(outcome);
      await clock.whenWaiting(before + 1);
      return call.what;
    },
  };
}

describe("the sync loop", () => {
  it("does nothing before the cluster is known, however much changes", async () => {
    const made = makeLoop();
    made.loop.trigger();
    made.loop.trigger();
    expect([made.unseen, made.planned]).toEqual([[], []]);
    made.loop.start();
    expect((await made.next()).what).toBe("apply");
  });

  it("plans with what has changed since the last plan", async () => {
    const made = makeLoop();
    made.store.applyServices([{ type: "set", key: "shop/web", value: makeService(), previous: undefined }]);
    made.loop.start();
    await made.run(applied);
    made.store.applyServices([{ type: "removed", key: "shop/old", previous: makeService() }]);
    made.loop.trigger();
    made.clock.advance(1_000);
    await made.run(applied);
    expect(made.planned).toEqual([new Set(["shop/web"]), new Set(["shop/old"])]);
  });

  it("takes many triggers for one, and leaves the least time between two runs", async () => {
    const made = makeLoop();
    made.loop.start();
    const first = await made.next();
    for (let count = 0; count < 5; count += 1) made.loop.trigger();
    first.answer(applied);
    await made.clock.whenWaiting(2);
    made.clock.advance(999);
    expect(made.planned).toHaveLength(1);
    made.clock.advance(1);
    await made.run(applied);
    made.clock.advance(10_000);
    expect(made.planned).toHaveLength(2);
  });

  it.each([
    [1, 20],
    [100, 100],
    [5_000, 1_000],
  ])("rests after a run of %i ms for %i ms where nobody says for how long", async (runMs, restMs) => {
    const made = makeLoop({ minSyncMs: undefined });
    made.loop.start();
    const first = await made.next();
    made.loop.trigger();
    made.clock.advance(runMs);
    first.answer(applied);
    await made.clock.whenWaiting(2);
    made.clock.advance(restMs - 1);
    expect(made.planned).toHaveLength(1);
    made.clock.advance(1);
    expect(made.planned).toHaveLength(2);
  });

  it("says that a change waits which came during a run, behind the run", async () => {
    const made = makeLoop();
    made.loop.start();
    const first = await made.next();
    made.loop.trigger();
    first.answer({ type: "applied", changes: 0 });
    await made.clock.whenWaiting(2);
    expect(made.notes).toEqual(["queued", "queued", "health", "ended", "queued"]);
  });

  it("runs one thing at a time", async () => {
    const made = makeLoop({ families: ["IPv4", "IPv6"] });
    made.loop.start();
    const first = await made.next();
    made.loop.trigger();
    made.clock.advance(60_000);
    expect([first.family, made.unseen]).toEqual(["IPv4", []]);
    first.answer(applied);
    expect((await made.next()).family).toBe("IPv6");
  });

  it.each([
    ["says so", failed],
    ["throws", new Error("nft: no")],
  ])("tries again after a while when the dataplane %s, from what the machine has", async (_how, outcome) => {
    const made = makeLoop();
    made.loop.start();
    await made.run(outcome);
    expect(made.loop.state).toMatchObject({ isSynced: false, generation: 0, lastError: "IPv4: nft: no", lastSyncMs: undefined });
    made.clock.advance(29_999);
    expect(made.planned).toHaveLength(1);
    made.clock.advance(1);
    expect(await made.run(applied)).toBe("verify");
    expect(made.loop.state).toMatchObject({ isSynced: true, generation: 1, lastError: undefined });
    made.clock.advance(60_000);
    expect(made.planned).toHaveLength(2);
  });

  it("tries a failed run again at once when something changes", async () => {
    const made = makeLoop();
    made.loop.start();
    await made.run(failed);
    made.loop.trigger();
    made.clock.advance(1_000);
    expect(await made.run(applied)).toBe("verify");
  });

  it("goes on with the other family when one fails, and repeats only what failed from the machine", async () => {
    const made = makeLoop({ families: ["IPv4", "IPv6"] });
    made.loop.start();
    (await made.next()).answer(failed);
    (await made.next()).answer(applied);
    await made.clock.whenWaiting(3);
    expect(made.notes).toEqual(["queued", "health", "ended"]);
    made.clock.advance(30_000);
    const again = [await made.next()];
    again[0]?.answer(applied);
    again.push(await made.next());
    expect(again.map(({ what, family }) => [family, what])).toEqual([
      ["IPv4", "verify"],
      ["IPv6", "apply"],
    ]);
  });

  it("looks every hour at what the machine really has", async () => {
    const made = makeLoop();
    made.loop.start();
    await made.run(applied);
    made.clock.advance(3_600_000);
    expect(await made.run(applied)).toBe("verify");
    made.clock.advance(3_600_000);
    expect(await made.run(applied)).toBe("verify");
    expect(made.runs.map(({ kind }) => kind)).toEqual(["full", "full", "full"]);
  });

  it("has stale flows ended after each table that was applied, and not after one that was not", async () => {
    const seen: IpFamily[] = [];
    const flows: FlowReconciler = {
      ...quietFlows(),
      reconcile: async ({ family }) => {
        seen.push(family);
        return 2;
      },
    };
    const made = makeLoop({ flows });
    made.loop.start();
    await made.run(failed);
    expect(seen).toEqual([]);
    made.clock.advance(30_000);
    await made.run(applied);
    expect([seen, made.notes.includes("ended")]).toEqual([["IPv4"], true]);
  });

  it("goes on when flows cannot be ended, and says so", async () => {
    const flows: FlowReconciler = {
      ...quietFlows(),
      reconcile: async () => {
        throw new Error("EINTR");
      },
    };
    const made = makeLoop({ flows });
    made.loop.start();
    await made.run(applied);
    expect([made.notes, made.loop.state.isSynced]).toEqual([["queued", "health", "failed"], true]);
  });

  it("plans everything anew after a plan that failed", async () => {
    const plans: ChangedServices[] = [];
    const made = makeLoop({
      planner: {
        plan: (_objects, changed) => {
          plans.push(changed);
          if (plans.length === 1) throw new Error("a fault");
          return { IPv4: { table: makeTable(), healthChecks: [] }, IPv6: { table: makeTable("IPv6"), healthChecks: [] } };
        },
      },
    });
    made.loop.start();
    await made.clock.whenWaiting(2);
    expect(made.loop.state).toMatchObject({ isSynced: false, lastError: "planning failed: a fault" });
    made.clock.advance(30_000);
    await made.run(applied);
    expect([plans[1], made.loop.state.isSynced]).toEqual(["all", true]);
  });

  it("stops after the running run, closes the dataplane, and leaves no timer", async () => {
    const made = makeLoop({ families: ["IPv4", "IPv6"] });
    made.loop.start();
    const running = await made.next();
    const stopped = made.loop.stop();
    expect(made.closed()).toBe(0);
    running.answer(applied);
    await stopped;
    made.loop.trigger();
    expect([made.closed(), made.unseen, made.clock.waiting]).toEqual([1, [], 0]);
  });
});
