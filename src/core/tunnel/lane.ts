/**
 * What goes next on one lane: control frames first, then each ready stream in turn, a bounded amount at a time, so that no stream
 * starves another. Frames are batched, because the far side pays for messages and not for bytes.
 */
import { encodeFrames, frameBytes } from "./frame.ts";
import type { Allocate, Frame } from "./frame.ts";
import { maxBatchFrames, maxMessageBytes } from "./limits.ts";
import type { StreamEnd } from "./stream.ts";

/** The share of a batch that one stream gets before the next one's turn, when more than one is ready. */
const turnBytes = 16 << 10;

/** The outgoing side of a lane. */
export class LaneSender {
  readonly #batchBytes: number;
  readonly #allocate: Allocate | undefined;
  #control: Frame[] = [];
  readonly #ready = new Set<StreamEnd>();

  /** @param batchBytes messages are filled with payload up to this size: frame headers come on top, so that two reads of a socket fill one */
  constructor(batchBytes: number, allocate?: Allocate) {
    this.#batchBytes = batchBytes;
    this.#allocate = allocate;
  }

  get isEmpty(): boolean {
    return this.#control.length === 0 && this.#ready.size === 0;
  }

  /** Control frames that wait. */
  get waitingControl(): number {
    return this.#control.length;
  }

  /** Queues a frame that costs no credit and goes before all data. */
  control(frame: Frame): void {
    this.#control.push(frame);
  }

  /** Says that a stream may have something to send. */
  ready(stream: StreamEnd): void {
    if (stream.isSendable) this.#ready.add(stream);
  }

  /** Forgets a stream. */
  remove(stream: StreamEnd): void {
    this.#ready.delete(stream);
  }

  /** The next message to send, or undefined when nothing may go. */
  nextMessage(): Uint8Array<ArrayBuffer> | undefined {
    const frames = this.#takeControl();
    let bytes = frames.reduce((sum, frame) => sum + frameBytes(frame), 0);
    for (const stream of this.#ready) {
      if (bytes >= this.#batchBytes || frames.length >= maxBatchFrames) break;
      const turn = this.#ready.size === 1 ? this.#batchBytes : turnBytes;
      bytes += takeTurn(stream, frames, Math.min(turn, this.#batchBytes - bytes));
      this.#ready.delete(stream); // and to the back of the line, which the loop reaches again when it has more to send
      if (stream.isSendable) this.#ready.add(stream);
    }
    return frames.length === 0 ? undefined : encodeFrames(frames, this.#allocate);
  }

  #takeControl(): Frame[] {
    const all = this.#control;
    let bytes = 0;
    const count = all.findIndex((frame, index) => (bytes += frameBytes(frame)) > maxMessageBytes / 2 || index >= maxBatchFrames);
    if (count === -1) {
      this.#control = [];
      return all;
    }
    return all.splice(0, Math.max(1, count));
  }
}

function takeTurn(stream: StreamEnd, frames: Frame[], budget: number): number {
  let used = 0;
  while (used < budget && frames.length < maxBatchFrames) {
    const frame = stream.nextFrame(budget - used);
    if (frame === undefined) break;
    frames.push(frame);
    used += frame.type === "data" ? frame.payload.length : frameBytes(frame);
  }
  return used;
}
