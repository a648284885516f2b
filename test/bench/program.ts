/** Child programs of the bench: started with pipes, spoken to in lines of JSON, and stopped by whoever started them. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export interface Program {
  readonly child: ChildProcess;
  stop(): Promise<void>;
}

/** What a program told, as numbers under names. */
export type Figures = Readonly<Record<string, number>>;

/** Where every contender is reached in the same way. */
export interface Target {
  readonly url: string;
  readonly caFile: string;
  readonly token: string;
}

/** Builds the Go programs; returns the binary's path. */
export async function buildPrograms(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-programs-"));
  const binary = join(folder, "bench");
  const child = spawn("go", ["build", "-o", binary, "."], {
    cwd: fileURLToPath(new URL("go", import.meta.url)),
    stdio: ["ignore", "inherit", "inherit"],
    env: { ...process.env, CGO_ENABLED: "0" },
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error("the bench's Go programs did not build");
  return binary;
}

/** Builds the gateway's bundle and keeps a copy, which a build beside the bench does not change. */
export async function buildGateway(folder: string): Promise<string> {
  const child = spawn(process.execPath, ["node_modules/rolldown/bin/cli.mjs", "--config", "rolldown.config.ts"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error("the gateway's bundle did not build");
  const copy = join(folder, "gateway.js");
  await copyFile("dist/worker/main.js", copy);
  return copy;
}

/** A program that tells a first line when it is ready and may tell more when it is asked. */
export interface Running extends Program {
  readonly first: Figures;
  /** Sends a line, empty unless given, and waits for what it tells then. */
  next(line?: string): Promise<Figures>;
}

export async function startProgram(binary: string, args: readonly string[]): Promise<Running> {
  const child = spawn(binary, args, { stdio: ["pipe", "pipe", "pipe"] });
  const errors: string[] = [];
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk.toString("utf8")));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const read = async (): Promise<Figures> => {
    const line = await lines.next();
    if (line.done === true) throw new Error(`${args.slice(0, 2).join(" ")} said nothing: ${errors.join("").slice(0, 2000)}`);
    return JSON.parse(line.value);
  };
  return {
    child,
    first: await read(),
    next: (line = "") => {
      child.stdin.write(`${line}\n`);
      return read();
    },
    stop: () => exitOf(child, "SIGKILL"),
  };
}

/** Runs a program that tells one line and ends. */
export async function runProgram(binary: string, args: readonly string[]): Promise<Figures> {
  const running = await startProgram(binary, args);
  await exitOf(running.child, undefined);
  return running.first;
}

/** The flags by which a load program finds its target. */
export function targetFlags(target: Target): readonly string[] {
  return ["-url", target.url, "-token", target.token, ...(target.caFile === "" ? [] : ["-ca", target.caFile])];
}

/** The first line of a stream. */
export async function nextLine(stream: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: stream })) return line;
  throw new Error("a program ended before it said where it listens");
}

/** Ends a child, or with no signal waits for its own end. */
export async function exitOf(child: ChildProcess, signal: NodeJS.Signals | undefined): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  if (signal !== undefined) child.kill(signal);
  await once(child, "exit");
}
