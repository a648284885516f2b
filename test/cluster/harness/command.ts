/**
 * The harness of the cluster tests: it starts a real Kubernetes on this machine, tools of several versions against it, and takes all of
 * it down again. What must stay true: everything lives under one temporary folder and in names of the cluster's own; what a killed test
 * run leaves behind is found and removed by the next one; nothing is waited for by the clock, only by its own sign of readiness.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";

/** How a program ended, and what it said. */
export interface CommandResult {
  /** Exit code; 128 and the signal's number where a signal ended it, as a shell says it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** Standard output as it came, for binary content. */
  readonly stdoutBytes: Buffer;
}

export interface CommandOptions {
  readonly stdin?: string | Uint8Array;
  /** Added to the environment of the tests. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Ends the program with SIGTERM. */
  readonly signal?: AbortSignal;
}

const signalBase = 128;
const killNumber = 9;
/** A server that is starting is asked this often. Each question costs less than a millisecond of work. */
const readinessPollMs = 100;

/** Runs a program to its end; any exit code is a result. Throws only when it cannot be started. */
export async function runCommand(program: string, args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const child = startCommand(program, args, options);
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
  // A program that ends without reading its input closes the pipe under us; its exit code tells the rest.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(options.stdin ?? "");
  const code = await exitCodeOf(child);
  const stdoutBytes = Buffer.concat(stdout);
  return { code, stdout: stdoutBytes.toString("utf8"), stderr: Buffer.concat(stderr).toString("utf8"), stdoutBytes };
}

/** Runs a program that must succeed, and returns its standard output. Throws with its standard error otherwise. */
export async function mustRun(program: string, args: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await runCommand(program, args, options);
  if (result.code !== 0) throw new Error(`${[program, ...args].join(" ")} ended with ${result.code}: ${result.stderr || result.stdout}`);
  return result.stdout;
}

/** Starts a program with pipes, for tests that talk to it while it runs. */
export function startCommand(program: string, args: readonly string[], options: CommandOptions = {}): ChildProcess {
  return spawn(program, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}

/** The exit code of a child, once it has ended and its output is read. */
export async function exitCodeOf(child: ChildProcess): Promise<number> {
  const failed = Promise.withResolvers<never>();
  child.once("error", (error) => {
    // An abort ends the child, and its end is reported by "close".
    if (error.name !== "AbortError") failed.reject(error);
  });
  const [code] = (await Promise.race([once(child, "close"), failed.promise])) as [number | null];
  return code ?? signalBase + killNumber;
}

/** Asks `isReady` until it says yes. Throws with `what` when the deadline passes. */
export async function waitUntil(what: string, deadlineMs: number, isReady: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + deadlineMs;
  while (!(await isReady())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${deadlineMs / 1000} s`);
    await delay(readinessPollMs);
  }
}
