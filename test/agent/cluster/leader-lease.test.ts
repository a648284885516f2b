import { describe, expect, it } from "vitest";
import { LeaderLease } from "#agent/cluster/leader-lease.ts";
import { leaderLeaseSeconds, leaderRenewDeadlineMs, leaderRetryMs, ownRequestTimeoutMs } from "#agent/cluster/limits.ts";
import { objectField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { ObservedClock } from "../observed-clock.ts";
import { makeApi } from "./scripted-api.ts";
import type { ApiCall, ScriptedAnswer } from "./scripted-api.ts";

/** One Lease for all replicas of a test. */
class LeaseServer {
  stored: JsonObject | undefined;
  override: (call: ApiCall) => ScriptedAnswer = () => undefined;
  #version = 0;

  answer(call: ApiCall): ScriptedAnswer {
    const answer = this.override(call);
    if (answer !== undefined) return answer;
    if (call.method === "GET")
      return this.stored === undefined ? { status: 404, object: { reason: "NotFound" } } : { status: 200, object: this.stored };
    if (call.method === "POST" && this.stored !== undefined) return { status: 409, object: { reason: "AlreadyExists" } };
    if (call.method === "PUT" && objectField(call.object ?? {}, "metadata")["resourceVersion"] !== String(this.#version))
      return { status: 409, object: { reason: "Conflict" } };
    this.#version += 1;
    this.stored = { ...call.object, metadata: { ...objectField(call.object ?? {}, "metadata"), resourceVersion: String(this.#version) } };
    return { status: 200, object: this.stored };
  }

  get holder(): unknown {
    return objectField(this.stored ?? {}, "spec")["holderIdentity"];
  }

  get spec(): JsonObject {
    return objectField(this.stored ?? {}, "spec");
  }
}

/** A replica that has looked once. */
async function startReplica(server: LeaseServer, identity: string, clockAheadMs = 0) {
  const clock = new ObservedClock();
  clock.advance(clockAheadMs);
  const told: string[] = [];
  const { api, calls } = makeApi((call) => server.answer(call));
  const lease = new LeaderLease({
    api,
    namespace: "sallyport-load-balancer",
    name: "sallyport-load-balancer",
    identity,
    clock,
    random: () => 0,
    onLeading: () => told.push("leading"),
    onLost: () => told.push("lost"),
    onTrouble: (what) => told.push(what ?? "fine"),
  });
  lease.start();
  await clock.whenSetTo(leaderRetryMs);
  return {
    lease,
    clock,
    told,
    calls,
    /** Time passes, in steps between which it comes to rest. */
    pass: async (ms: number) => {
      for (let left = ms; left > 0; left -= leaderRetryMs) {
        clock.lastWaitMs = 0;
        clock.advance(Math.min(left, leaderRetryMs));
        if (left >= leaderRetryMs && !told.includes("lost")) await clock.whenSetTo(leaderRetryMs);
      }
    },
  };
}

describe("a Lease", () => {
  it("that nobody has is taken and renewed", async () => {
    const server = new LeaseServer();
    const { lease, told, pass, clock } = await startReplica(server, "a");
    expect([lease.isHeld, told]).toEqual([true, ["leading"]]);
    const { acquireTime, renewTime } = server.spec;
    expect(server.spec).toMatchObject({ holderIdentity: "a", leaseDurationSeconds: leaderLeaseSeconds, leaseTransitions: 0 });
    await pass(60_000);
    expect([lease.isHeld, server.spec["acquireTime"], server.spec["renewTime"] === renewTime]).toEqual([true, acquireTime, false]);
    expect(server.spec["renewTime"]).toBe(new Date(clock.now()).toISOString().replace("Z", "000Z"));
  });

  it("of another is left to it while it renews, whatever its clock says", async () => {
    const server = new LeaseServer();
    const first = await startReplica(server, "a");
    const second = await startReplica(server, "b", 3_600_000);
    for (let round = 0; round < 20; round += 1) {
      await first.pass(leaderRetryMs);
      await second.pass(leaderRetryMs);
    }
    expect([first.lease.isHeld, second.lease.isHeld, server.holder]).toEqual([true, false, "a"]);
  });

  it("that is renewed no more is taken after its whole time, and not before", async () => {
    const server = new LeaseServer();
    await startReplica(server, "a");
    const second = await startReplica(server, "b");
    await second.pass(leaderLeaseSeconds * 1000 - leaderRetryMs);
    expect(server.holder).toBe("a");
    await second.pass(leaderRetryMs);
    expect([server.holder, second.told, server.spec["leaseTransitions"]]).toEqual(["b", ["leading"], 1]);
  });

  it("that cannot be renewed is lost before another may have it, and a last write is over by then", async () => {
    const server = new LeaseServer();
    const { lease, told, clock, pass } = await startReplica(server, "a");
    server.override = () => new Error("unreachable");
    await pass(leaderRenewDeadlineMs - 1);
    expect(lease.isHeld).toBe(true);
    clock.advance(1);
    expect([lease.isHeld, told.at(-1)]).toEqual([false, "lost"]);
    expect(leaderRenewDeadlineMs + ownRequestTimeoutMs).toBeLessThan(leaderLeaseSeconds * 1000);
  });

  it("counts from before the renewal was sent: an answer that comes late is worth less", async () => {
    const server = new LeaseServer();
    const { lease, clock, told } = await startReplica(server, "a");
    const late = Promise.withResolvers<void>();
    server.override = () => undefined;
    const answer = server.answer.bind(server);
    server.answer = (call) => {
      if (call.method === "PUT") {
        clock.advance(6_000);
        late.resolve();
      }
      return answer(call);
    };
    clock.lastWaitMs = 0;
    clock.advance(leaderRetryMs);
    await late.promise;
    await clock.whenSetTo(leaderRetryMs);
    server.override = () => undefined;
    server.answer = () => new Error("unreachable");
    clock.advance(leaderRenewDeadlineMs - 6_000 - 1);
    expect(lease.isHeld).toBe(true);
    clock.advance(1);
    expect([lease.isHeld, told.includes("lost")]).toEqual([false, true]);
  });

  it("is not believed any more after a standstill, even before a timer says so", async () => {
    const server = new LeaseServer();
    const { lease, clock } = await startReplica(server, "a");
    const now = clock.now.bind(clock);
    clock.now = () => now() + leaderRenewDeadlineMs;
    expect(lease.isHeld).toBe(false);
  });

  it("that another has taken is lost at once", async () => {
    const server = new LeaseServer();
    const { lease, told, clock } = await startReplica(server, "a");
    server.stored = { ...server.stored, spec: { ...server.spec, holderIdentity: "b" } };
    const lost = new Promise<void>((resolve) => {
      const push = told.push.bind(told);
      told.push = (...items) => {
        resolve();
        return push(...items);
      };
    });
    clock.advance(leaderRetryMs);
    await lost;
    expect([lease.isHeld, ...told]).toEqual([false, "leading", "lost"]);
  });

  it("of two that ask at the same moment is one's", async () => {
    const server = new LeaseServer();
    const [first, second] = await Promise.all([startReplica(server, "a"), startReplica(server, "b")]);
    expect([first.lease.isHeld, second.lease.isHeld].filter(Boolean)).toHaveLength(1);
  });

  it("is given back at the end, so that the next need not wait", async () => {
    const server = new LeaseServer();
    const first = await startReplica(server, "a");
    const second = await startReplica(server, "b");
    await first.lease.stop();
    expect([first.lease.isHeld, server.holder]).toEqual([false, ""]);
    await second.pass(leaderRetryMs);
    expect([second.lease.isHeld, server.holder]).toEqual([true, "b"]);
  });

  it("that is refused is told once, and that it is there again too", async () => {
    const server = new LeaseServer();
    server.override = () => ({ status: 403, object: { reason: "Forbidden" } });
    const { told, pass } = await startReplica(server, "a");
    await pass(3 * leaderRetryMs);
    expect(told).toEqual(["the apiserver shows no Lease (403 Forbidden)"]);
    server.override = () => undefined;
    await pass(leaderRetryMs);
    expect(told.slice(1)).toEqual(["leading", "fine"]);
  });
});
