/** The log of one container instance: lines with their time, the newest megabyte, and followers who hear each new line. */
import { StringDecoder } from "node:string_decoder";
import type { Clock } from "#sandbox/clock.ts";
import { maxLogBytes, maxLogLineBytes } from "#sandbox/limits.ts";

/** A line without its line feed. */
export interface LogLine {
  readonly timeMs: number;
  readonly text: string;
}

/** Cuts output into lines and keeps them. */
export class LogBuffer {
  readonly #clock: Clock;
  readonly #decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };
  readonly #partial = { stdout: "", stderr: "" };
  readonly #listeners = new Set<(line: LogLine | undefined) => void>();
  #lines: LogLine[] = [];
  #bytes = 0;
  #ended = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get lines(): readonly LogLine[] {
    return this.#lines;
  }

  get ended(): boolean {
    return this.#ended;
  }

  write(stream: "stderr" | "stdout", chunk: Buffer): void {
    const pieces = (this.#partial[stream] + this.#decoders[stream].write(chunk)).split("\n");
    const rest = pieces.pop() ?? "";
    for (const piece of pieces) this.#addLong(piece);
    this.#partial[stream] = rest;
    if (rest.length > maxLogLineBytes) this.#flush(stream);
  }

  /** The container has ended: what was begun becomes a line, and followers hear the end. */
  end(): void {
    this.#flush("stdout");
    this.#flush("stderr");
    this.#ended = true;
    for (const listener of this.#listeners) listener(undefined);
    this.#listeners.clear();
  }

  /** Hears each later line, and undefined at the end; the returned function ends it. */
  follow(listener: (line: LogLine | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #flush(stream: "stderr" | "stdout"): void {
    const rest = this.#partial[stream];
    this.#partial[stream] = "";
    if (rest !== "") this.#addLong(rest);
  }

  #addLong(text: string): void {
    for (let start = 0; start === 0 || start < text.length; start += maxLogLineBytes) this.#add(text.slice(start, start + maxLogLineBytes));
  }

  #add(text: string): void {
    const line = { timeMs: this.#clock.now(), text };
    this.#lines.push(line);
    this.#bytes += text.length + 1;
    if (this.#bytes > maxLogBytes * 2) this.#rotate();
    for (const listener of this.#listeners) listener(line);
  }

  #rotate(): void {
    let start = this.#lines.length;
    let kept = 0;
    while (start > 0 && kept < maxLogBytes) {
      start -= 1;
      kept += (this.#lines[start]?.text.length ?? 0) + 1;
    }
    this.#lines = this.#lines.slice(start);
    this.#bytes = kept;
  }
}
