/**
 * One end of one stream: what may be sent, what may still come, and what it costs. Pure: frames and times in, frames and events out.
 *
 * Credit is counted in bytes for each direction: a DATA or DGRAM frame costs its payload and what keeping it costs, so that empty frames
 * cannot flood. Bytes wait for credit; datagrams wait too, but only so many, and the oldest is dropped.
 * A receiver grants again only what its reader has consumed, so a slow reader holds one window and nothing else. A window starts
 * small and doubles while the reader keeps up (`consumed`), so a stalled reader never gets a large one.
 * Order within a direction is the order of the calls; each direction ends by itself (half-close), or both by a reset.
 */
import { frameBytes } from "./frame.ts";
import type { Frame, ResetCode } from "./frame.ts";
import type { WindowPool } from "./window-pool.ts";
import { frameCostBytes, initialWindowBytes, maxDataBytes, maxQueuedDatagrams, maxWindowBytes, windowGrowthMs } from "./limits.ts";

/** What a received frame means for the stream's owner. */
export type StreamEvent =
  | { readonly type: "head"; readonly payload: Uint8Array }
  | { readonly type: "data"; readonly payload: Uint8Array; readonly messageEnd: boolean; readonly text: boolean; readonly cost: number }
  | { readonly type: "datagram"; readonly payload: Uint8Array; readonly cost: number }
  | { readonly type: "end"; readonly closeCode: number | undefined; readonly closeReason: string }
  | { readonly type: "reset"; readonly code: ResetCode; readonly reason: string }
  | { readonly type: "extend"; readonly expiresAtMs: number }
  /** Credit came: what is queued may go on. */
  | { readonly type: "writable" }
  /** The frame came after its direction had ended: it crossed ours on the way. */
  | { readonly type: "ignored" }
  | { readonly type: "violation"; readonly code: ResetCode; readonly reason: string };

export interface StreamOptions {
  readonly id: number;
  /** Credit that the peer gave beyond the initial window, in bytes. */
  readonly sendBonus?: number;
  /** Credit that we gave beyond the initial window, in bytes. */
  readonly receiveBonus?: number;
  /** Where the window takes from when it grows; without one it grows freely. */
  readonly pool?: WindowPool;
}

type Queued =
  | { readonly type: "head"; readonly payload: Uint8Array }
  | { readonly type: "data"; readonly payload: Uint8Array; readonly messageEnd: boolean; readonly text: boolean }
  | { readonly type: "end"; readonly closeCode: number | undefined; readonly closeReason: string };

type StreamFrame = Extract<Frame, { readonly stream: number }>;

/** One end of a stream. */
export class StreamEnd {
  readonly id: number;
  readonly #pool: WindowPool | undefined;
  #sendCredit: number;
  #queue: Queued[] = [];
  #queuedBytes = 0;
  #datagrams: Uint8Array[] = [];
  #sentEnd = false;
  #endQueued = false;
  #receivedEnd = false;
  #reset = false;
  #receiveCredit: number;
  #window: number;
  #unconsumed = 0;
  #toGrant = 0;
  #growthStartMs = 0;
  #growthBytes = 0;
  #droppedDatagrams = 0;
  #sentBytes = 0;
  #receivedBytes = 0;

  constructor(options: StreamOptions) {
    this.id = options.id;
    this.#pool = options.pool;
    this.#sendCredit = initialWindowBytes + (options.sendBonus ?? 0);
    this.#window = initialWindowBytes + (options.receiveBonus ?? 0);
    this.#receiveCredit = this.#window;
  }

  /** Payload bytes that wait for credit or for the lane. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Pieces and messages in which they wait. */
  get queuedPieces(): number {
    return this.#queue.length;
  }

  /** What keeping that costs: flow control goes by this, since many tiny pieces have few bytes. */
  get queuedCost(): number {
    return this.#queuedBytes + this.#queue.length * frameCostBytes;
  }

  /** Payload bytes that went out: the stream's offset in this direction. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** Payload bytes that came in: the stream's offset in the other direction. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  get droppedDatagrams(): number {
    return this.#droppedDatagrams;
  }

  /** Both directions have ended, or the stream was reset: nothing may follow on it. */
  get isClosed(): boolean {
    return this.#reset || (this.#sentEnd && this.#receivedEnd);
  }

  /** Whether `nextFrame` would give one. */
  get isSendable(): boolean {
    if (this.#reset) return false;
    if (this.#hasDatagram()) return true;
    const first = this.#queue[0];
    if (first === undefined) return false;
    return first.type !== "data" || this.#sendCredit >= frameCostBytes + Math.min(1, first.payload.length);
  }

  queueHead(payload: Uint8Array): void {
    this.#push({ type: "head", payload });
  }

  /** Queues bytes; `messageEnd` marks a message's last ones. The payload must not change until it is sent. */
  queueData(payload: Uint8Array, kind: { readonly messageEnd: boolean; readonly text: boolean }): void {
    this.#push({ type: "data", payload, messageEnd: kind.messageEnd, text: kind.text });
    this.#queuedBytes += payload.length;
  }

  /** Ends our direction behind everything that is queued. */
  queueEnd(closeCode?: number, closeReason = ""): void {
    this.#push({ type: "end", closeCode, closeReason });
    this.#endQueued = true;
  }

  /** Queues a datagram; when too many wait, the oldest is dropped and counted. */
  queueDatagram(payload: Uint8Array): void {
    if (this.#reset || this.#endQueued) return;
    this.#datagrams.push(payload);
    if (this.#datagrams.length <= maxQueuedDatagrams) return;
    this.#datagrams.shift();
    this.#droppedDatagrams += 1;
  }

  /** Resets the stream from our side: the frame to send, or undefined when it is closed already. */
  reset(code: ResetCode, reason: string): Frame | undefined {
    if (this.isClosed) return undefined;
    this.#close();
    return { type: "reset", stream: this.id, code, reason };
  }

  /** The next frame to send within the credit, its payload at most `maxBytes`; undefined when nothing may go. */
  nextFrame(maxBytes: number): Frame | undefined {
    if (!this.isSendable) return undefined;
    const datagram = this.#hasDatagram() ? this.#datagrams.shift() : undefined;
    if (datagram !== undefined) {
      this.#sendCredit -= frameCostBytes + datagram.length;
      this.#sentBytes += datagram.length;
      return { type: "datagram", stream: this.id, payload: datagram };
    }
    const first = this.#queue[0];
    if (first === undefined) return undefined;
    if (first.type === "data") return this.#nextData(first, maxBytes);
    this.#queue.shift();
    if (first.type === "end") this.#sentEnd = true;
    return { ...first, stream: this.id };
  }

  /** The next frames for one message of about `maxBytes`; none when nothing may go. For an end that has a link to itself. */
  nextFrames(maxBytes: number): readonly Frame[] {
    const frames: Frame[] = [];
    for (let bytes = 0; bytes < maxBytes;) {
      const frame = this.nextFrame(maxBytes - bytes);
      if (frame === undefined) break;
      frames.push(frame);
      bytes += frameBytes(frame);
    }
    return frames;
  }

  /** Whether a datagram waits for which there is credit. */
  #hasDatagram(): boolean {
    const [first] = this.#datagrams;
    return first !== undefined && this.#sendCredit >= frameCostBytes + first.length;
  }

  /** Takes in a frame of this stream. */
  receive(frame: StreamFrame): StreamEvent {
    if (this.#reset) return { type: "ignored" };
    switch (frame.type) {
      case "window":
        return this.#receiveWindow(frame.credit);
      case "reset":
        this.#close();
        return { type: "reset", code: frame.code, reason: frame.reason };
      case "extend":
        return { type: "extend", expiresAtMs: frame.expiresAtMs };
      case "open":
        return violation("PROTOCOL", "second OPEN on a stream");
      case "head":
      case "data":
      case "datagram":
      case "end":
        return this.#receivedEnd ? violation("PROTOCOL", `${frame.type} after END`) : this.#receiveContent(frame);
    }
  }

  /**
   * The reader has consumed data or a datagram of this cost (the event's `cost`): the WINDOW frame to send, if one is due.
   * @param nowMs any clock that moves with real time
   */
  consumed(cost: number, nowMs: number): Frame | undefined {
    this.#unconsumed -= cost;
    this.#toGrant += cost;
    this.#growthBytes += cost;
    if (this.#receivedEnd && this.#unconsumed === 0) this.#pool?.give(this);
    if (this.#reset || this.#receivedEnd || this.#toGrant < this.#window / 4) return undefined;
    this.#grow(nowMs);
    const credit = this.#toGrant;
    this.#toGrant = 0;
    this.#receiveCredit += credit;
    return { type: "window", stream: this.id, credit };
  }

  /** Gives the peer credit at once, before anything was consumed, as the accepting side of a bulk stream does. */
  grant(credit: number): Frame {
    this.#window += credit;
    this.#receiveCredit += credit;
    return { type: "window", stream: this.id, credit };
  }

  #grow(nowMs: number): void {
    if (nowMs - this.#growthStartMs > windowGrowthMs) {
      this.#growthStartMs = nowMs;
      this.#growthBytes = this.#toGrant;
      return;
    }
    if (this.#growthBytes < this.#window || this.#unconsumed > 0 || this.#window >= maxWindowBytes) return;
    const larger = Math.min(this.#window * 2, maxWindowBytes);
    if (this.#pool?.take(this, larger - this.#window) === false) return;
    this.#toGrant += larger - this.#window;
    this.#window = larger;
    this.#growthStartMs = nowMs;
    this.#growthBytes = 0;
  }

  #push(item: Queued): void {
    if (this.#reset || this.#endQueued) return;
    this.#queue.push(item);
  }

  #nextData(first: Extract<Queued, { readonly type: "data" }>, maxBytes: number): Frame {
    const room = Math.min(maxBytes, maxDataBytes, this.#sendCredit - frameCostBytes);
    const whole = first.payload.length <= room;
    const payload = whole ? first.payload : first.payload.subarray(0, room);
    if (whole) this.#queue.shift();
    else this.#queue[0] = { ...first, payload: first.payload.subarray(room) };
    this.#sendCredit -= frameCostBytes + payload.length;
    this.#queuedBytes -= payload.length;
    this.#sentBytes += payload.length;
    return { type: "data", stream: this.id, payload, messageEnd: whole && first.messageEnd, text: first.text };
  }

  #receiveWindow(credit: number): StreamEvent {
    this.#sendCredit += credit;
    if (this.#sendCredit > 0xff_ff_ff_ff) return violation("FLOW", "more credit than any window");
    return { type: "writable" };
  }

  #receiveContent(frame: Extract<StreamFrame, { readonly type: "head" | "data" | "datagram" | "end" }>): StreamEvent {
    if (frame.type === "end") {
      this.#receivedEnd = true;
      if (this.#unconsumed === 0) this.#pool?.give(this);
      return { type: "end", closeCode: frame.closeCode, closeReason: frame.closeReason };
    }
    if (frame.type === "head") return { type: frame.type, payload: frame.payload };
    const cost = frameCostBytes + frame.payload.length;
    this.#receiveCredit -= cost;
    if (this.#receiveCredit < 0) return violation("FLOW", "more data than was granted");
    this.#unconsumed += cost;
    this.#receivedBytes += frame.payload.length;
    if (frame.type === "datagram") return { type: "datagram", payload: frame.payload, cost };
    return { type: "data", payload: frame.payload, messageEnd: frame.messageEnd, text: frame.text, cost };
  }

  #close(): void {
    this.#reset = true;
    this.#pool?.give(this);
    this.#queue = [];
    this.#datagrams = [];
    this.#queuedBytes = 0;
  }
}

function violation(code: ResetCode, reason: string): StreamEvent {
  return { type: "violation", code, reason };
}
