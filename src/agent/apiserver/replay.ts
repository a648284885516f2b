/** A request body that can be sent to a second server after a first one refused it: what was sent is kept, up to a limit. */
import { Readable } from "node:stream";
import { maxReplayBytes, maxReplayTotalBytes } from "./limits.ts";

/** Counts the bytes that all bodies of a pool keep. */
export class ReplayBudget {
  #bytes = 0;

  /** Takes bytes; false when there are too many already. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > maxReplayTotalBytes) return false;
    this.#bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
  }
}

/** A request body over several attempts, of which one runs at a time. */
export class ReplayableBody {
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #budget: ReplayBudget;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #keeps = true;
  #attempt = 0;
  #next: Promise<Uint8Array | undefined> | undefined;
  #failure: Error | undefined;

  constructor(source: Readable, budget: ReplayBudget) {
    this.#iterator = source.iterator({ destroyOnReturn: false });
    this.#budget = budget;
  }

  /** Whether another attempt would send the same bytes. */
  get replayable(): boolean {
    return this.#keeps && this.#failure === undefined;
  }

  /** Why the client's side of the body broke, if it did. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** The body from its first byte; an earlier attempt must have ended. */
  open(): Readable {
    this.#attempt += 1;
    return Readable.from(this.#read(this.#attempt, this.#kept), { objectMode: false });
  }

  /** Forgets what was kept: the answer has begun. */
  release(): void {
    this.#keeps = false;
    this.#kept = [];
    this.#budget.give(this.#keptBytes);
    this.#keptBytes = 0;
  }

  /** An attempt that another one has replaced takes nothing more: what it took would be missing there. */
  async *#read(attempt: number, keptSoFar: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void> {
    let kept = keptSoFar; // stays whole for this attempt even when it is released meanwhile
    for (let index = 0; attempt === this.#attempt;) {
      const chunk = kept[index];
      if (chunk !== undefined) {
        index += 1;
        yield chunk;
        continue;
      }
      if (!this.#keeps) {
        kept = [];
        index = 0;
      }
      const fresh = await (this.#next ??= this.#advance());
      if (fresh === undefined) return;
      if (kept.length === index) yield fresh;
    }
  }

  /** The source's next bytes. An attempt that ended while it waited leaves its wait to the next one. */
  async #advance(): Promise<Uint8Array | undefined> {
    try {
      const result = await this.#iterator.next();
      if (result.done === true) return undefined;
      this.#next = undefined;
      this.#keep(result.value);
      return result.value;
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error("the request body broke off", { cause: error });
      throw this.#failure;
    }
  }

  /** The chunk that is too much is still kept for the running attempt, which may be behind. */
  #keep(chunk: Uint8Array): void {
    if (!this.#keeps) return;
    this.#kept.push(chunk);
    if (this.#keptBytes + chunk.length <= maxReplayBytes && this.#budget.take(chunk.length)) this.#keptBytes += chunk.length;
    else this.release();
  }
}
