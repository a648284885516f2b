import { describe, expect, test } from "vitest";
import type { ConntrackEntry } from "#agent/dataplane/conntrack/entry.ts";
import { maxDeletes, reconcilePeriodMs } from "#agent/dataplane/conntrack/limits.ts";
import { ConntrackReconciler, type ReconcileOutcome } from "#agent/dataplane/conntrack/reconciler.ts";
import { createConntrackTable, type RunConntrack, type ToolEnd } from "#agent/dataplane/conntrack/tool.ts";
import { ManualClock } from "../../manual-clock.ts";
import { endpoint, servicePort, serviceTable } from "../userspace/tables.ts";
import { flowLine } from "./flows.ts";

const live = endpoint(5353, "10.1.0.7");
const table = serviceTable([servicePort({ protocol: "UDP", clusterIp: "10.96.0.10", port: 53, endpoints: [live] })]);
const toLive: ConntrackEntry = { destination: "10.96.0.10", destinationPort: 53, replySource: live.address, replySourcePort: live.port };
const toDead: ConntrackEntry = { ...toLive, replySource: "10.1.0.8" };
const ok: ToolEnd = { type: "ended", code: 0, stderr: "" };

interface Scripted {
  readonly reconciler: ConntrackReconciler;
  readonly clock: ManualClock;
  /** Outcomes of runs by the clock. */
  readonly periodic: readonly ReconcileOutcome[];
  /** The arguments of every call, as one text. */
  readonly calls: readonly string[];
}

/** A reconciler whose tool prints `lines` for a listing, and ends as `ends` say, one after the other, then well. */
function createScripted(lines: readonly string[], ends: readonly ToolEnd[] = []): Scripted {
  const calls: string[] = [];
  const clock = new ManualClock();
  const run: RunConntrack = async (args, onLine) => {
    calls.push(args.join(" "));
    const end = ends[calls.length - 1] ?? ok;
    clock.advance(7);
    if (args[0] === "-L") for (const line of lines) onLine(line);
    else if (end === ok) onLine(lines[0] ?? "");
    return end;
  };
  const periodic: ReconcileOutcome[] = [];
  const reconciler = new ConntrackReconciler({
    table: createConntrackTable(run),
    clock,
    isLocalAddress: () => false,
    onPeriodic: (outcome) => periodic.push(outcome),
  });
  return { reconciler, clock, periodic, calls };
}

describe("conntrack reconciliation", () => {
  test("deletes what is stale, once for each destination and reply source, and nothing else", async () => {
    const lines = [
      "<conntrack>",
      flowLine(toDead),
      flowLine(toLive),
      flowLine(toDead, "ipv4", 40_001),
      "<flow>garbage</flow>",
      "</conntrack>",
    ];
    const { reconciler, calls } = createScripted(lines, []);
    expect(await reconciler.afterApply(table)).toEqual({ type: "reconciled", durationMs: 14, listed: 4, unreadable: 1, deleted: 0 });
    expect(calls).toEqual([
      "-L -f ipv4 -p udp -w 0 -o xml",
      "-D -f ipv4 -p udp -w 0 -o xml --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.1.0.8 --reply-port-src 5353",
    ]);
  });

  test("counts the entries that the tool says it deleted", async () => {
    const { reconciler } = createScripted([flowLine(toDead)]);
    expect(await reconciler.afterApply(table)).toMatchObject({ type: "reconciled", deleted: 1 });
  });

  test("runs after a table was applied only when UDP changed", async () => {
    const { reconciler, calls } = createScripted([]);
    expect(await reconciler.afterApply(table)).toMatchObject({ type: "reconciled" });
    expect(await reconciler.afterApply({ ...table })).toEqual({ type: "unchanged" });
    const next = serviceTable(table.ports.map((port) => ({ ...port, serving: [endpoint(5353, "10.1.0.9")] })));
    expect(await reconciler.afterApply(next)).toMatchObject({ type: "reconciled" });
    expect(calls).toHaveLength(2);
  });

  test("does not read the kernel's table where nothing can be stale", async () => {
    const { reconciler, calls } = createScripted([flowLine(toDead)]);
    await reconciler.afterApply(serviceTable([servicePort({ endpoints: [live] })]));
    expect(calls).toEqual([]);
  });

  test("asks again when a listing breaks off, and counts the last one", async () => {
    const interrupted: ToolEnd = { type: "ended", code: 1, stderr: "Operation failed: Interrupted system call" };
    const { reconciler, calls } = createScripted([flowLine(toDead)], [interrupted]);
    expect(await reconciler.afterApply(table)).toMatchObject({ type: "reconciled", listed: 1, deleted: 1 });
    expect(calls).toHaveLength(3);
  });

  test("uses what a listing told before it broke off for good, says so, and tries again after the next table", async () => {
    const interrupted: ToolEnd = { type: "ended", code: 1, stderr: "Operation failed: Interrupted system call" };
    const { reconciler } = createScripted([flowLine(toDead)], [interrupted, interrupted, interrupted]);
    expect(await reconciler.afterApply(table)).toMatchObject({
      type: "failed",
      deleted: 1,
      message: "conntrack could not list the UDP entries: Operation failed: Interrupted system call; it needs the capability NET_ADMIN",
    });
    expect(await reconciler.afterApply(table)).toMatchObject({ type: "reconciled" });
  });

  test("says that the tool is missing", async () => {
    const missing: ToolEnd = { type: "missing", message: "spawn conntrack ENOENT" };
    const { reconciler } = createScripted([], [missing, missing, missing]);
    expect(await reconciler.afterApply(table)).toMatchObject({
      type: "failed",
      deleted: 0,
      message:
        "the program conntrack, which is to list the UDP entries, could not be started: spawn conntrack ENOENT; install the package conntrack",
    });
  });

  test("takes it for done when an entry went by itself before it could be deleted", async () => {
    const gone: ToolEnd = { type: "ended", code: 1, stderr: "conntrack v1.4.7 (conntrack-tools): 0 flow entries have been deleted.\n" };
    const { reconciler } = createScripted([flowLine(toDead)], [ok, gone]);
    expect(await reconciler.afterApply(table)).toMatchObject({ type: "reconciled", deleted: 0 });
  });

  test("says what could not be deleted, and deletes the rest", async () => {
    const failed: ToolEnd = { type: "ended", code: 1, stderr: "Operation failed: Operation not permitted" };
    const other = { ...toDead, replySource: "10.1.0.9" };
    const { reconciler, calls } = createScripted([flowLine(toDead), flowLine(other)], [ok, failed]);
    expect(await reconciler.afterApply(table)).toMatchObject({ type: "failed", deleted: 1 });
    expect(calls).toHaveLength(3);
  });

  test("leaves what is too much for one run to the next", async () => {
    const lines = Array.from({ length: maxDeletes + 2 }, (_, index) => flowLine({ ...toDead, replySourcePort: index + 1 }));
    const { reconciler, calls } = createScripted(lines);
    expect(await reconciler.afterApply(table)).toMatchObject({
      type: "failed",
      deleted: maxDeletes,
      message: "2 more groups of stale entries wait for the next run",
    });
    expect(calls).toHaveLength(1 + maxDeletes);
  });

  test("runs by the clock too, for packets that were on their way while the rules changed, until it is stopped", async () => {
    const { reconciler, clock, periodic, calls } = createScripted([flowLine(toDead)]);
    await reconciler.afterApply(table);
    expect(calls).toHaveLength(2);
    clock.advance(reconcilePeriodMs);
    expect(await reconciler.afterApply(table)).toEqual({ type: "unchanged" });
    expect(periodic).toMatchObject([{ type: "reconciled", deleted: 1 }]);
    expect(calls).toHaveLength(4);
    expect(clock.waiting).toBe(1);
    await reconciler.stop();
    expect(clock.waiting).toBe(0);
  });
});
