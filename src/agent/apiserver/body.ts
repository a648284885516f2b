/** The body of a response as it comes from the apiserver: read only as fast as it is taken, and ended cleanly where that loses nothing. */
import { Readable } from "node:stream";
import type { Clock } from "#agent/clock.ts";
import { responseBufferBytes, watchBoundaryMs } from "./limits.ts";

/** What a body needs of the connection that it comes from. */
export interface BodySource {
  pause(): void;
  resume(): void;
  /** Ends the request; its connection is closed. */
  abort(): void;
}

/**
 * How a body may end early. A list or a log that ends cleanly in the middle is silent data loss, so it must be cut; a watch may end
 * at any event, and its client goes on from the last resourceVersion. `lines`: each event ends with a newline, as JSON ones do.
 */
export type EarlyEnd = "cut" | "clean" | "lines";

const newline = 0x0a;

/** A response body. The exchange feeds it; the reader's pace holds the exchange. */
export class ResponseBody extends Readable {
  readonly #source: BodySource;
  readonly #earlyEnd: EarlyEnd;
  readonly #settled: () => void;
  #atBoundary = true;
  #ending = false;
  #over = false;
  #isFull = false;

  constructor(source: BodySource, earlyEnd: EarlyEnd, settled: () => void) {
    super({ highWaterMark: responseBufferBytes });
    this.#source = source;
    this.#earlyEnd = earlyEnd;
    this.#settled = settled;
  }

  /** True for a watch. */
  get endsEarly(): boolean {
    return this.#earlyEnd !== "cut";
  }

  override _read(): void {
    this.#isFull = false;
    if (!this.#over) this.#source.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#abandon();
    callback(error);
  }

  /** Takes bytes from the apiserver. */
  receive(chunk: Uint8Array): void {
    if (this.#over) return;
    const more = this.push(chunk);
    this.#atBoundary = this.#earlyEnd !== "lines" || chunk.at(-1) === newline;
    if (this.#ending && this.#atBoundary) this.#endNow();
    else if (!more) this.#pauseSoon();
  }

  /**
   * Stops reading once the piece that is being parsed has come through: undici puts the rest of an interrupted piece back before what it
   * reads next, and its buffer grows with every interruption.
   */
  #pauseSoon(): void {
    if (this.#isFull) return;
    this.#isFull = true;
    process.nextTick(() => {
      if (this.#isFull && !this.#over) this.#source.pause();
    });
  }

  /** The apiserver's answer is complete. */
  complete(): void {
    if (this.#over) return;
    this.#settle();
    this.push(null);
  }

  /** The apiserver's answer broke off. */
  fail(error: Error): void {
    if (this.#over) return;
    this.#settle();
    if (this.endsEarly && this.#atBoundary) this.push(null);
    else this.destroy(error);
  }

  /** Ends a watch cleanly: behind the event it is in, or after a moment in any case. Other bodies are left alone. */
  endEarly(clock: Clock): void {
    if (this.#over || !this.endsEarly) return;
    this.#ending = true;
    if (this.#atBoundary) this.#endNow();
    else clock.after(watchBoundaryMs, () => this.#endNow());
  }

  #endNow(): void {
    if (this.#over) return;
    this.#abandon();
    this.push(null);
  }

  #abandon(): void {
    if (this.#over) return;
    this.#settle();
    this.#source.abort();
  }

  #settle(): void {
    this.#over = true;
    this.#settled();
  }
}
