/** A lock between processes: a file that only one of them can create. A holder that died, or held it too long, loses it. */
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { isSystemError, parseJsonObject } from "./private-file.ts";

/** The clock, in milliseconds since 1970, and a pause; both are given so that tests own time. */
export interface Time {
  readonly now: () => number;
  readonly wait: (durationMs: number) => Promise<void>;
}

export interface LockRequest {
  readonly path: string;
  /** How long a holder may keep it; longer than any work done under it. */
  readonly maxHoldMs: number;
  /** How long to wait for it. */
  readonly maxWaitMs: number;
  readonly time: Time;
}

/** What came of the work: its value, or `busy` when another process kept the lock for all of the waiting time. */
export type Locked<Value> = { readonly type: "done"; readonly value: Value } | { readonly type: "busy" };

/** Between two tries; a refresh takes a network round trip, so finer steps would win nothing. */
const retryMs = 40;

/** A process that dies between making and removing the guard leaves it; the guarded work takes far less than this. */
const maxGuardAgeMs = 5000;

/** Runs the work while holding the lock. */
export async function withFileLock<Value>(request: LockRequest, work: () => Promise<Value>): Promise<Locked<Value>> {
  const { path, time } = request;
  const ticket = randomBytes(12).toString("hex");
  const deadline = time.now() + request.maxWaitMs;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  while (!(await tryCreate(path, ticket, time.now()))) {
    if (await isAbandoned(request)) {
      await removeAbandoned(request);
      continue;
    }
    if (time.now() >= deadline) return { type: "busy" };
    await time.wait(retryMs);
  }
  try {
    return { type: "done", value: await work() };
  } finally {
    if ((await readHolder(path))?.ticket === ticket) await rm(path, { force: true });
  }
}

async function tryCreate(path: string, ticket: string, nowMs: number): Promise<boolean> {
  try {
    const file = await open(path, "wx", 0o600);
    await file.writeFile(JSON.stringify({ ticket, pid: process.pid, host: hostname(), since: nowMs }));
    await file.close();
    return true;
  } catch (thrown) {
    if (isSystemError(thrown, "EEXIST")) return false;
    throw thrown;
  }
}

interface Holder {
  readonly ticket: string | undefined;
  readonly pid: number | undefined;
  readonly sinceMs: number;
}

async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const record = parseJsonObject(await readFile(path, "utf8"));
    // Between its creation and its first byte the file is empty: then its age alone counts.
    if (record === undefined) return { ticket: undefined, pid: undefined, sinceMs: (await stat(path)).mtimeMs };
    const { ticket, pid, host, since } = record;
    return {
      ticket: typeof ticket === "string" ? ticket : undefined,
      pid: typeof pid === "number" && host === hostname() ? pid : undefined, // another host's or container's numbers mean nothing here
      sinceMs: typeof since === "number" ? since : 0,
    };
  } catch (thrown) {
    if (isSystemError(thrown, "ENOENT")) return undefined;
    throw thrown;
  }
}

async function isAbandoned(request: LockRequest): Promise<boolean> {
  const holder = await readHolder(request.path);
  if (holder === undefined) return false;
  if (Math.abs(request.time.now() - holder.sinceMs) > request.maxHoldMs) return true;
  return holder.pid !== undefined && !isAlive(holder.pid);
}

/** Removes it under a second lock, so that of two processes that both saw it abandoned none removes the other's new one. */
async function removeAbandoned(request: LockRequest): Promise<void> {
  const guard = `${request.path}.guard`;
  if (!(await tryCreate(guard, "guard", request.time.now()))) {
    const made = await readHolder(guard);
    if (made !== undefined && Math.abs(request.time.now() - made.sinceMs) > maxGuardAgeMs) await rm(guard, { force: true });
    await request.time.wait(retryMs);
    return;
  }
  try {
    if (await isAbandoned(request)) await rm(request.path, { force: true });
  } finally {
    await rm(guard, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return !isSystemError(thrown, "ESRCH"); // EPERM: somebody else's process, so it lives
  }
}
