import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { withFileLock } from "#cli/session/file-lock.ts";
import type { LockRequest } from "#cli/session/file-lock.ts";

let directory: string;
let path: string;
let nowMs: number;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-lock-"));
  path = join(directory, "lock");
  nowMs = 1_000_000;
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function request(changes: Partial<LockRequest> = {}): LockRequest {
  const pause = async (durationMs: number): Promise<void> => {
    nowMs += durationMs;
    await wait(1);
  };
  return { path, maxHoldMs: 60_000, maxWaitMs: 10_000, time: { now: () => nowMs, wait: pause }, ...changes };
}

function holder(changes: object = {}): string {
  return JSON.stringify({ ticket: "other", pid: process.pid, host: hostname(), since: nowMs, ...changes });
}

describe("withFileLock", () => {
  it("lets one holder work at a time", async () => {
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await wait(1);
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 8 }, () => withFileLock(request({ maxWaitMs: 1e9, maxHoldMs: 1e9 }), work)));
    expect(most).toBe(1);
    expect(await readdir(directory)).toEqual([]);
  });

  it("gives up when a living holder keeps it", async () => {
    await writeFile(path, holder());
    expect(await withFileLock(request(), async () => "work")).toEqual({ type: "busy" });
  });

  it("waits for a holder on another host, whose process number means nothing here", async () => {
    await writeFile(path, holder({ host: "elsewhere", pid: 999_999_999 }));
    expect(await withFileLock(request(), async () => "work")).toEqual({ type: "busy" });
  });

  it.each([
    { name: "whose holder has died", text: () => holder({ pid: 999_999_999 }) },
    { name: "that was held too long", text: () => holder({ since: nowMs - 60_001 }) },
    { name: "of the future, from before the clock was set back", text: () => holder({ since: nowMs + 60_001 }) },
  ])("takes a lock over $name", async ({ text }) => {
    await writeFile(path, text());
    expect(await withFileLock(request(), async () => "work")).toEqual({ type: "done", value: "work" });
  });

  it("takes an abandoned lock over once when several see it", async () => {
    await writeFile(path, holder({ pid: 999_999_999 }));
    let inside = 0;
    let most = 0;
    const work = async (): Promise<void> => {
      inside += 1;
      most = Math.max(most, inside);
      await wait(2);
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 8 }, () => withFileLock(request({ maxWaitMs: 1e9, maxHoldMs: 1e9 }), work)));
    expect(most).toBe(1);
  });

  it("frees the lock when the work fails", async () => {
    const failing = withFileLock(request(), async () => {
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    expect(await withFileLock(request(), async () => "work")).toEqual({ type: "done", value: "work" });
  });

  it("does not free a lock that another has taken over meanwhile", async () => {
    await withFileLock(request(), () => writeFile(path, holder()));
    expect(await readdir(directory)).toEqual(["lock"]);
  });
});
