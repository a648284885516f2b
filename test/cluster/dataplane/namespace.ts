/** A network of its own for one test: a namespace that is there for as long as a process of ours, so that a killed run leaves none behind. */
import { fileURLToPath } from "node:url";
import { mustRun, startCommand } from "../harness/command.ts";
import { LineReader } from "../harness/line-reader.ts";

export interface Namespace {
  /** Before any command that is to run inside. */
  readonly enter: readonly string[];
  /** Runs a program inside, which must succeed. */
  run(program: string, args: readonly string[], stdin?: string): Promise<string>;
  /** Starts one of this folder's programs inside; it speaks lines of JSON. */
  start<Line>(folder: string): LineReader<Line>;
  stop(): Promise<void>;
}

/** Makes a namespace with loopback up. Needs root. */
export async function openNamespace(): Promise<Namespace> {
  const holder = startCommand("unshare", ["--net", "sh", "-c", "echo ready; exec cat"]);
  const reader = new LineReader("unshare", holder, (text) => text);
  await reader.waitFor((line) => line === "ready");
  const enter = ["nsenter", "--target", String(holder.pid), "--net", "--"];
  const [program = "", ...before] = enter;
  const ends: (() => Promise<number>)[] = [];
  const namespace: Namespace = {
    enter,
    run: (inner, args, stdin = "") => mustRun(program, [...before, inner, ...args], { stdin }),
    start: <Line>(folder: string) => {
      const file = fileURLToPath(new URL(`${folder}/main.ts`, import.meta.url));
      // The program is ours, and so are its lines.
      const started = new LineReader<Line>(
        folder,
        startCommand(program, [...before, process.execPath, file]),
        (text) => JSON.parse(text) as Line,
      );
      ends.push(() => started.stop("SIGKILL"));
      return started;
    },
    stop: async () => {
      for (const end of ends) await end();
      await reader.finish();
    },
  };
  await namespace.run("ip", ["link", "set", "lo", "up"]);
  return namespace;
}
