/**
 * The command line: what people and scripts run on their own machines.
 *
 * Standard output carries data and nothing else; talk goes to standard error. A command never asks without a terminal, never
 * prints a token, and ends with an exit code that says what kind of failure it was (the error table has it). Everything it
 * touches (streams, clock, network, environment) comes in through `CliContext`, so that a test can own it; main.ts makes the real one.
 */
import type { Readable, Writable } from "node:stream";
import type { StricliProcess } from "@stricli/core";
import type { Fetch } from "./session/bounded-fetch.ts";
import type { Time } from "./session/file-lock.ts";
import type { Environment, Paths } from "./session/paths.ts";
import type { TokenStore } from "./session/token-store.ts";

/** Which of the three standard streams is a terminal. */
export interface Terminal {
  readonly input: boolean;
  readonly output: boolean;
  readonly error: boolean;
}

/** What every command gets as `this`. */
export interface CliContext {
  readonly process: StricliProcess;
  readonly env: Environment;
  readonly platform: NodeJS.Platform;
  readonly homeDirectory: string;
  readonly workingDirectory: string;
  readonly paths: Paths;
  readonly store: TokenStore;
  readonly terminal: Terminal;
  readonly time: Time;
  readonly fetch: Fetch;
  /** Trusts PEM certificates for the requests that follow. */
  readonly trust: (authorities: string) => Promise<void>;
  /** All of standard input. */
  readonly readInput: () => Promise<string>;
  /** Standard input and output as streams of bytes. */
  readonly standardStreams: () => { readonly input: Readable; readonly output: Writable };
  /** Asks a question on the terminal and answers the line that was typed. */
  readonly ask: (question: string) => Promise<string>;
  /** Opens the URL in a browser if it can; a browser that does not open is no failure. */
  readonly openBrowser: (url: string) => void;
  /** Aborts when the person interrupts. */
  readonly signal: AbortSignal;
  /** Runs the agent as a program of its own, with the same streams; answers its exit code. */
  readonly runAgent: (args: readonly string[]) => Promise<number>;
  /** URL of the running entry: src/cli/main.ts, or the bundle's sallyport.js. */
  readonly entryUrl: string;
}

/** Writes talk to standard error. */
export function say(context: CliContext, text: string): void {
  context.process.stderr.write(`${text}\n`);
}

/** Writes data to standard output. */
export function print(context: CliContext, text: string): void {
  context.process.stdout.write(text);
}
