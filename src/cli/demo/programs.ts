/** Programs that the demo starts: each says on its first line of output that it is ready, and ends with the demo. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { createInterface } from "node:readline";

export interface Program {
  readonly process: ChildProcess;
  stop(): Promise<void>;
}

export interface ProgramOptions {
  readonly name: string;
  readonly entry: URL;
  readonly arguments: readonly string[];
  /** Sees each line of both outputs; an answer other than undefined says that the program is ready. */
  readonly ready: (line: string) => unknown;
}

/** How long a program may take to end before it is killed. */
const stopMs = 5_000;

/** Lines kept for the message when a program does not start. */
const keptLines = 20;

/** Starts a Node program; resolves with what `ready` made of its line. @throws Error with its last lines when it ends instead */
export async function startProgram(options: ProgramOptions): Promise<{ readonly program: Program; readonly ready: unknown }> {
  const child = spawn(process.execPath, [fileURLToPath(options.entry), ...options.arguments], { stdio: ["pipe", "pipe", "pipe"] });
  const last: string[] = [];
  const ready = await new Promise<unknown>((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        last.push(line);
        last.splice(0, last.length - keptLines);
        const answer = options.ready(line);
        if (answer !== undefined) resolve(answer);
      });
    }
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${options.name} ended with code ${code}:\n${last.join("\n")}`)));
  });
  return { ready, program: { process: child, stop: () => stopProcess(child) } };
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.stdin?.end();
  child.kill("SIGTERM");
  const killer = setTimeout(() => child.kill("SIGKILL"), stopMs);
  await exited;
  clearTimeout(killer);
}
