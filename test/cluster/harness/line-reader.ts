/** Reads what a running program says, line by line, and lets a test wait for the line that it needs. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";

import { exitCodeOf } from "./command.ts";

interface Waiter<Line> {
  readonly isWanted: (line: Line) => boolean;
  readonly resolve: (line: Line) => void;
  readonly reject: (error: Error) => void;
}

/** The output of one program. Every line is kept, so that none is missed by waiting late. */
export class LineReader<Line> {
  readonly lines: Line[] = [];
  readonly #child: ChildProcess;
  readonly #program: string;
  readonly #ended: Promise<number>;
  readonly #waiters = new Set<Waiter<Line>>();
  #stderr = "";
  #isOver = false;

  constructor(program: string, child: ChildProcess, parse: (text: string) => Line) {
    if (child.stdout === null) throw new Error(`${program} was started without a pipe for its output`);
    this.#child = child;
    this.#program = program;
    child.stderr?.on("data", (chunk: Buffer) => (this.#stderr += chunk.toString("utf8")));
    createInterface({ input: child.stdout }).on("line", (text) => this.#accept(parse(text)));
    this.#ended = exitCodeOf(child);
    void this.#ended.then(
      (code) => this.#end(`${program} ended with ${code}`),
      (error: unknown) => this.#end(`${program} could not be started: ${String(error)}`),
    );
  }

  /** What it has said on standard error so far. */
  get stderr(): string {
    return this.#stderr;
  }

  /** The first line, from the beginning, that is wanted. Rejects when the program ends before it says it. */
  async waitFor(isWanted: (line: Line) => boolean): Promise<Line> {
    const known = this.lines.find((line) => isWanted(line));
    if (known !== undefined) return known;
    if (this.#isOver) throw new Error(`${this.#program} ended without saying it: ${this.#stderr}`);
    const { promise, resolve, reject } = Promise.withResolvers<Line>();
    this.#waiters.add({ isWanted, resolve, reject });
    return promise;
  }

  /** Waits for the first `count` lines. */
  async take(count: number): Promise<readonly Line[]> {
    if (this.lines.length < count) await this.waitFor(() => this.lines.length >= count);
    return this.lines.slice(0, count);
  }

  /** Sends a line to the program. */
  say(text: string): void {
    this.#child.stdin?.write(`${text}\n`);
  }

  /** Closes its input and waits for its end. */
  async finish(): Promise<number> {
    this.#child.stdin?.end();
    return this.#ended;
  }

  /** Ends it with a signal and waits for its end. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    this.#child.kill(signal);
    return this.#ended;
  }

  #accept(line: Line): void {
    this.lines.push(line);
    for (const waiter of this.#waiters) {
      if (!waiter.isWanted(line)) continue;
      this.#waiters.delete(waiter);
      waiter.resolve(line);
    }
  }

  #end(why: string): void {
    this.#isOver = true;
    for (const { reject } of this.#waiters) reject(new Error(`${why}: ${this.#stderr}`));
    this.#waiters.clear();
  }
}
