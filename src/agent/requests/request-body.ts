/** A user's upload as a Node stream: taken from the tunnel as the apiserver reads it, and no faster. */
import { Readable } from "node:stream";

interface Waiting {
  readonly payload: Uint8Array;
  readonly consumed: () => void;
}

export class RequestBody extends Readable {
  #waiting: Waiting[] = [];
  #isWanted = false;
  #isEnded = false;

  /** Bytes from the tunnel; `consumed` is called when they have gone on. */
  accept(payload: Uint8Array, consumed: () => void): void {
    this.#waiting.push({ payload, consumed });
    this.#advance();
  }

  /** The upload is complete. */
  finish(): void {
    this.#isEnded = true;
    this.#advance();
  }

  override _read(): void {
    this.#isWanted = true;
    this.#advance();
  }

  #advance(): void {
    while (this.#isWanted) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#isWanted = this.push(next.payload);
      next.consumed();
    }
    if (this.#isEnded && this.#waiting.length === 0) {
      this.push(null);
      this.#isWanted = false;
    }
  }
}
