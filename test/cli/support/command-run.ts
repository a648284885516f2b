/** Runs a command in this process with everything it touches under the test's hand: a folder of its own, a clock, captured streams. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { runApplication } from "#cli/application.ts";
import { commandTable } from "#cli/command-table.ts";
import type { CliContext } from "#cli/context.ts";
import { resolvePaths } from "#cli/session/paths.ts";
import { createTokenStore } from "#cli/session/token-store.ts";
import type { TokenStore } from "#cli/session/token-store.ts";

export interface CommandBench {
  readonly home: string;
  readonly store: TokenStore;
  readonly run: (args: readonly string[], changes?: Partial<CliContext>) => Promise<CommandResult>;
  readonly remove: () => Promise<void>;
}

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A pause that takes no time of its own: as short as a timer can be. */
const shortestPauseMs = 1;

export async function makeBench(): Promise<CommandBench> {
  const home = await mkdtemp(join(tmpdir(), "sallyport-cli-"));
  const paths = resolvePaths({}, home);
  const store = createTokenStore(paths.state, "linux");
  const run = async (args: readonly string[], changes: Partial<CliContext> = {}): Promise<CommandResult> => {
    const output: string[] = [];
    const errors: string[] = [];
    const context: CliContext = {
      process: { stdout: { write: (text) => void output.push(text) }, stderr: { write: (text) => void errors.push(text) }, env: {} },
      env: {},
      platform: "linux",
      homeDirectory: home,
      workingDirectory: home,
      paths,
      store,
      terminal: { input: false, output: false, error: false },
      time: { now: Date.now, wait: () => wait(shortestPauseMs) },
      fetch: globalThis.fetch,
      trust: async () => undefined,
      readInput: async () => "",
      standardStreams: () => {
        throw new Error("a test without streams was asked for them");
      },
      ask: async () => {
        throw new Error("a test without a terminal was asked a question");
      },
      openBrowser: () => undefined,
      signal: new AbortController().signal,
      runAgent: async () => {
        throw new Error("a test that starts no agent was asked for one");
      },
      entryUrl: new URL("../../../src/cli/main.ts", import.meta.url).href,
      ...changes,
    };
    const exitCode = await runApplication(args, context, commandTable);
    return { exitCode, stdout: output.join(""), stderr: errors.join("") };
  };
  return { home, store, run, remove: () => rm(home, { recursive: true, force: true }) };
}
