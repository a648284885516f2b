/** The real `CliContext`: this process' streams, clock, network and signals. */
import { spawn } from "node:child_process";
import { homedir } from "node:os";
import { createInterface } from "node:readline/promises";
import { fileURLToPath } from "node:url";
import { setTimeout as wait } from "node:timers/promises";
import { runApplication } from "./application.ts";
import { commandTable } from "./command-table.ts";
import type { CliContext } from "./context.ts";
import type { Fetch } from "./session/bounded-fetch.ts";
import { trustAuthorities, useEnvironmentProxy } from "./session/network-trust.ts";
import { resolvePaths } from "./session/paths.ts";
import { createTokenStore } from "./session/token-store.ts";

/** Runs the command that the process was started with, and sets its exit code. */
export async function runProcess(entryUrl: string): Promise<void> {
  const interrupted = new AbortController();
  // The first Ctrl-C lets the command clean up; the second ends the process as usual.
  process.once("SIGINT", () => interrupted.abort());
  process.once("SIGTERM", () => interrupted.abort());
  // A reader that has seen enough, such as head, ends the output; that is no failure.
  process.stdout.on("error", endQuietly);
  await useEnvironmentProxy(process.env);
  process.exitCode = await runApplication(process.argv.slice(2), createProcessContext(entryUrl, interrupted.signal), commandTable);
}

function createProcessContext(entryUrl: string, signal: AbortSignal): CliContext {
  const paths = resolvePaths(process.env, homedir());
  return {
    process: { stdout: process.stdout, stderr: process.stderr, env: process.env },
    env: process.env,
    platform: process.platform,
    homeDirectory: homedir(),
    workingDirectory: process.cwd(),
    paths,
    store: createTokenStore(paths.state, process.platform),
    terminal: { input: process.stdin.isTTY, output: process.stdout.isTTY, error: process.stderr.isTTY },
    time: { now: Date.now, wait: (durationMs) => wait(durationMs, undefined, { signal }) },
    fetch: process.env["SALLYPORT_DEBUG"] === "http" ? loggingFetch : globalThis.fetch,
    trust: trustAuthorities,
    readInput,
    standardStreams: () => ({ input: process.stdin, output: process.stdout }),
    ask,
    openBrowser,
    signal,
    runAgent: (args) => runAgent(entryUrl, args),
    entryUrl,
  };
}

/** The agent is no part of this program: it is found beside its entry. */
async function runAgent(entryUrl: string, args: readonly string[]): Promise<number> {
  const agent = new URL(entryUrl.endsWith(".ts") ? "../agent/main.ts" : "./agent.js", entryUrl);
  const child = spawn(process.execPath, [fileURLToPath(agent), ...args], { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? signalExitCode));
  });
}

/** As a shell says that a signal ended a program. */
const signalExitCode = 128;

/** One line for each request: no header, body or query, since these hold secrets. */
const loggingFetch: Fetch = async (input, init) => {
  const url = new URL(input instanceof Request ? input.url : input);
  const startedMs = performance.now();
  const log = (outcome: string): void =>
    void process.stderr.write(
      `http ${init?.method ?? "GET"} ${url.origin}${url.pathname} ${outcome} ${Math.round(performance.now() - startedMs)} ms\n`,
    );
  try {
    const response = await globalThis.fetch(input, init);
    log(String(response.status));
    return response;
  } catch (thrown) {
    log("no answer");
    throw thrown;
  }
};

async function readInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString("utf8");
}

async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await terminal.question(question);
  } finally {
    terminal.close();
  }
}

function openBrowser(url: string): void {
  const opener = openers[process.platform] ?? { program: "xdg-open", args: [] };
  const child = spawn(opener.program, [...opener.args, url], { stdio: "ignore", detached: true });
  child.on("error", () => undefined); // no browser: the address has been printed
  child.unref();
}

const openers: Partial<Record<NodeJS.Platform, { readonly program: string; readonly args: readonly string[] }>> = {
  darwin: { program: "open", args: [] },
  // Not `start`: cmd.exe would read the `&` of the address.
  win32: { program: "rundll32", args: ["url.dll,FileProtocolHandler"] },
};

function endQuietly(error: Error): void {
  if ("code" in error && error.code === "EPIPE") process.exit(0);
  throw error;
}
