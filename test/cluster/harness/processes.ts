/** The long-running programs of one cluster: each with its log, its process number on disk, and an end that is waited for. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** How long a program may take to end by itself before it is killed. */
const graceMs = 3_000;
const gonePollMs = 50;

export interface Program {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
}

/** Starts, kills and restarts the programs of one cluster. Their logs are `<folder>/log/<name>.log`. */
export class Processes {
  readonly #folder: string;
  readonly #running = new Map<string, { readonly program: Program; readonly child: ChildProcess }>();

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(path.join(folder, "log"), { recursive: true });
    mkdirSync(path.join(folder, "pid"), { recursive: true });
  }

  start(program: Program): void {
    const log = openSync(path.join(this.#folder, "log", `${program.name}.log`), "a");
    const [command, ...args] = program.command;
    const child = spawn(command, args, { stdio: ["ignore", log, log], cwd: this.#folder });
    closeSync(log);
    // The end of a program is a test's business only where it waits for it; the log says why.
    child.on("error", () => undefined);
    if (child.pid !== undefined) writeFileSync(this.#pidFile(program.name), `${child.pid} ${startTimeOf(child.pid) ?? ""}`);
    this.#running.set(program.name, { program, child });
  }

  /** Ends a program with `signal`, and waits until it is gone. */
  async stop(name: string, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const entry = this.#running.get(name);
    if (entry === undefined) return;
    const { child } = entry;
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      const ended = once(child, "exit");
      child.kill(signal);
      const late = new AbortController();
      const kill = delay(graceMs, undefined, { signal: late.signal }).then(
        () => child.kill("SIGKILL"),
        () => undefined,
      );
      await ended;
      late.abort();
      await kill;
    }
    rmSync(this.#pidFile(name), { force: true });
  }

  /** Asks a program to end and waits until it has. */
  async terminate(name: string): Promise<void> {
    const child = this.#running.get(name)?.child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
    rmSync(this.#pidFile(name), { force: true });
  }

  /** Sends a program a signal. */
  signal(name: string, signal: NodeJS.Signals): void {
    this.#running.get(name)?.child.kill(signal);
  }

  /** Starts a stopped program again with the same command. */
  restart(name: string): void {
    const entry = this.#running.get(name);
    if (entry === undefined) throw new Error(`${name} was never started`);
    this.start(entry.program);
  }

  /** Everything that a program has written so far. */
  logOf(name: string): string {
    return readFileSync(path.join(this.#folder, "log", `${name}.log`), "utf8");
  }

  #pidFile(name: string): string {
    return path.join(this.#folder, "pid", name);
  }
}

/** Kills the programs that a folder's process files name; for clusters whose own test run is dead. */
export async function killRecorded(folder: string): Promise<void> {
  for (const name of namesIn(path.join(folder, "pid"))) {
    const [pid, startTime] = readFileSync(path.join(folder, "pid", name), "utf8").split(" ");
    await killAll([Number(pid)].filter((number) => startTimeOf(number) === startTime));
  }
}

/** Kills processes and waits until they are gone. */
export async function killAll(pids: readonly number[]): Promise<void> {
  for (const pid of pids) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It ended by itself in between.
    }
  }
  while (pids.some((pid) => isRunning(pid))) await delay(gonePollMs);
}

/** The processes whose command line or control group contains a text. */
export function findProcesses(text: string): readonly number[] {
  return namesIn("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => readProc(pid, "cmdline").includes(text) || readProc(pid, "cgroup").includes(text))
    .map(Number)
    .filter((pid) => pid !== process.pid);
}

/** When a process started, in the kernel's ticks: with the number it names a process for good, since numbers are used again. */
export function startTimeOf(pid: number): string | undefined {
  const stat = readProc(String(pid), "stat");
  // proc_pid_stat(5): field 22, counted after the command, which is in parentheses and may hold spaces.
  return stat === "" ? undefined : stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

function isRunning(pid: number): boolean {
  const stat = readProc(String(pid), "stat");
  // A zombie has ended; its parent has only not looked yet.
  return stat !== "" && stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) !== "Z";
}

function readProc(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    // The process ended between the listing and the reading.
    return "";
  }
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // The folder does not exist: nothing was started.
    return [];
  }
}
