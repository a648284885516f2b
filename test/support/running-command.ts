/** A command of the command line that runs until it is stopped, in this process. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { runApplication } from "#cli/application.ts";
import { commandTable } from "#cli/command-table.ts";
import type { CliContext } from "#cli/context.ts";
import { resolvePaths } from "#cli/session/paths.ts";
import { createTokenStore } from "#cli/session/token-store.ts";

export interface RunningCommand {
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves with standard output as soon as it fits. */
  printed(pattern: RegExp): Promise<string>;
  /** Resolves when the command has begun to wait for something; it waits until `goOn`. */
  waited(): Promise<void>;
  goOn(): void;
  /** Its exit code, when it ends by itself. */
  readonly ended: Promise<number>;
  /** Interrupts it, as Ctrl-C does, and answers its exit code. */
  stop(): Promise<number>;
}

export interface CommandStreams {
  readonly input: Readable;
  readonly output: Writable;
}

export function startCommand(args: readonly string[], streams?: CommandStreams): RunningCommand {
  const home = mkdtempSync(join(tmpdir(), "sallyport-command-"));
  const interrupt = new AbortController();
  const texts = { stdout: "", stderr: "" };
  const watchers = new Set<() => void>();
  const write = (name: "stdout" | "stderr") => (text: string) => {
    texts[name] += text;
    for (const watcher of watchers) watcher();
  };
  const firstWait = Promise.withResolvers<void>();
  const permission = Promise.withResolvers<void>();
  const paths = resolvePaths({}, home);
  const refuse = async () => {
    throw new Error("a test's command asked for what it has not");
  };
  const context: CliContext = {
    process: { stdout: { write: write("stdout") }, stderr: { write: write("stderr") }, env: {} },
    env: {},
    platform: "linux",
    homeDirectory: home,
    workingDirectory: home,
    paths,
    store: createTokenStore(paths.state, "linux"),
    terminal: { input: false, output: false, error: false },
    time: {
      now: Date.now,
      wait: () => {
        firstWait.resolve();
        return permission.promise;
      },
    },
    fetch: globalThis.fetch,
    trust: async () => undefined,
    readInput: async () => "",
    standardStreams: () => {
      if (streams === undefined) throw new Error("a test's command asked for streams that it has not");
      return streams;
    },
    ask: refuse,
    openBrowser: () => undefined,
    signal: interrupt.signal,
    runAgent: refuse,
    entryUrl: new URL("../../src/cli/main.ts", import.meta.url).href,
  };
  const ended = runApplication(args, context, commandTable).finally(() => rmSync(home, { recursive: true, force: true }));
  return {
    stdout: () => texts.stdout,
    stderr: () => texts.stderr,
    printed: async (pattern) => {
      const fits = new Promise<string>((resolve) => {
        const look = () => {
          if (!pattern.test(texts.stdout)) return;
          watchers.delete(look);
          resolve(texts.stdout);
        };
        watchers.add(look);
        look();
      });
      const early = ended.then((code) => Promise.reject(new Error(`it ended with ${code}: ${texts.stderr}`)));
      early.catch(() => undefined); // it prints first
      return Promise.race([fits, early]);
    },
    waited: () => firstWait.promise,
    goOn: () => permission.resolve(),
    ended,
    stop: async () => {
      interrupt.abort();
      return ended;
    },
  };
}
