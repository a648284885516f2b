/**
 * Memory for outgoing messages, used again once a message has left. Memory outside of the JavaScript heap is what V8 collects for most
 * eagerly: a new large buffer for each message costs more than filling it.
 */

/** Smaller messages get memory of their own, which is cheap. */
const smallestBytes = 16 << 10;

/** What a lane has under way at once, and one more that is being filled. */
const maxKept = 4;

export class MessageBuffers {
  readonly #bytes: number;
  #free: ArrayBuffer[] = [];

  /** @param bytes what most messages fit into */
  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  take(bytes: number): Uint8Array<ArrayBuffer> {
    if (bytes < smallestBytes || bytes > this.#bytes) return new Uint8Array(bytes);
    return new Uint8Array(this.#free.pop() ?? new ArrayBuffer(this.#bytes), 0, bytes);
  }

  /** Takes memory back: nobody may read it any more. */
  give({ buffer }: Uint8Array<ArrayBuffer>): void {
    if (buffer.byteLength === this.#bytes && this.#free.length < maxKept) this.#free.push(buffer);
  }
}
