/**
 * One lane's streams at one of its ends: messages in, events out, and messages to send. Only the edge opens streams, so an OPEN that
 * comes to the edge, a frame for a stream that was never opened, or one that its stream forbids is a broken or hostile peer.
 */
import { decodeFrames } from "./frame.ts";
import type { Allocate, Frame, ResetCode } from "./frame.ts";
import { LaneSender } from "./lane.ts";
import { maxStreamsPerLane, maxWaitingControl } from "./limits.ts";
import { StreamEnd } from "./stream.ts";
import type { StreamEvent } from "./stream.ts";

export type LaneEvent =
  | { readonly type: "hello"; readonly payload: Uint8Array }
  | { readonly type: "goaway"; readonly payload: Uint8Array }
  | { readonly type: "status"; readonly payload: Uint8Array }
  | { readonly type: "pong"; readonly payload: Uint8Array }
  | { readonly type: "open"; readonly stream: StreamEnd; readonly payload: Uint8Array }
  | { readonly type: "stream"; readonly stream: StreamEnd; readonly event: StreamEvent }
  /** The peer broke the protocol: the lane must be closed. */
  | { readonly type: "violation"; readonly reason: string };

export interface MultiplexerOptions {
  /** `edge` opens streams, `agent` accepts them. */
  readonly role: "edge" | "agent";
  readonly batchBytes: number;
  /** Largest number of streams at once. */
  readonly maxStreams?: number;
  /** The id of the first stream that an edge opens: 1, or behind those that were given out before. */
  readonly firstId?: number;
  /** Where messages are written; new memory for each unless given. */
  readonly allocate?: Allocate;
}

/** One end of a lane. */
export class Multiplexer {
  readonly #role: "edge" | "agent";
  readonly #maxStreams: number;
  readonly #streams = new Map<number, StreamEnd>();
  readonly #sender: LaneSender;
  #nextId: number;
  /** The highest id that was ever opened: a frame for one above it is a fault, one for a lower one only came late. */
  #highestId = 0;

  constructor(options: MultiplexerOptions) {
    this.#role = options.role;
    this.#maxStreams = options.maxStreams ?? maxStreamsPerLane;
    this.#nextId = options.firstId ?? 1;
    this.#sender = new LaneSender(options.batchBytes, options.allocate);
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  /** The streams that are open. */
  streams(): readonly StreamEnd[] {
    return [...this.#streams.values()];
  }

  /** Opens a stream (edge only); undefined when the lane carries as many as it may. */
  open(payload: Uint8Array, receiveBonus = 0): StreamEnd | undefined {
    if (this.#streams.size >= this.#maxStreams) return undefined;
    const stream = new StreamEnd({ id: this.#freeId(), receiveBonus });
    this.#streams.set(stream.id, stream);
    this.#sender.control({ type: "open", stream: stream.id, payload });
    return stream;
  }

  /** Takes in one binary message. */
  receive(message: Uint8Array): readonly LaneEvent[] {
    const decoded = decodeFrames(message);
    if (decoded.type === "invalid") return [{ type: "violation", reason: decoded.reason }];
    if (this.#sender.waitingControl > maxWaitingControl) return [{ type: "violation", reason: "answers are asked for and not read" }];
    const events: LaneEvent[] = [];
    for (const frame of decoded.frames) {
      const event = this.#receiveFrame(frame);
      if (event !== undefined) events.push(event);
      if (event?.type === "violation") break;
    }
    return events;
  }

  /** Queues a connection-level frame, or a stream's control frame such as WINDOW. */
  control(frame: Frame | undefined): void {
    if (frame !== undefined) this.#sender.control(frame);
  }

  /** Says that a stream has something to send. */
  ready(stream: StreamEnd): void {
    this.#sender.ready(stream);
  }

  /** Resets a stream and forgets it. */
  reset(stream: StreamEnd, code: ResetCode, reason: string): void {
    this.control(stream.reset(code, reason));
    this.#forget(stream);
  }

  /** The next message to send, or undefined when nothing may go. Streams that this closes are forgotten. */
  nextMessage(): Uint8Array<ArrayBuffer> | undefined {
    return this.#sender.nextMessage();
  }

  /** Forgets a stream whose two directions have ended; harmless when one has not. */
  release(stream: StreamEnd): void {
    if (stream.isClosed) this.#forget(stream);
  }

  #forget(stream: StreamEnd): void {
    this.#streams.delete(stream.id);
    this.#sender.remove(stream);
  }

  #freeId(): number {
    while (this.#streams.has(this.#nextId)) this.#advance();
    const id = this.#nextId;
    this.#advance();
    this.#highestId = Math.max(this.#highestId, id);
    return id;
  }

  #advance(): void {
    this.#nextId = this.#nextId >= 0xff_ff_ff ? 1 : this.#nextId + 1;
  }

  #receiveFrame(frame: Frame): LaneEvent | undefined {
    switch (frame.type) {
      case "hello":
      case "goaway":
      case "status":
      case "pong":
        return { type: frame.type, payload: frame.payload };
      case "ping":
        this.#sender.control({ type: "pong", payload: frame.payload });
        return undefined;
      case "open":
        return this.#receiveOpen(frame.stream, frame.payload);
      case "head":
      case "data":
      case "window":
      case "end":
      case "reset":
      case "datagram":
      case "extend":
        return this.#receiveStreamFrame(frame);
    }
  }

  #receiveOpen(id: number, payload: Uint8Array): LaneEvent | undefined {
    if (this.#role === "edge") return { type: "violation", reason: "the agent tried to open a stream" };
    if (this.#streams.has(id)) return { type: "violation", reason: "OPEN of a stream that is open" };
    this.#highestId = Math.max(this.#highestId, id);
    if (this.#streams.size >= this.#maxStreams) {
      this.#sender.control({ type: "reset", stream: id, code: "REFUSED", reason: "too many streams" });
      return undefined;
    }
    const stream = new StreamEnd({ id });
    this.#streams.set(id, stream);
    return { type: "open", stream, payload };
  }

  #receiveStreamFrame(
    frame: Exclude<Frame, { readonly type: "hello" | "goaway" | "status" | "ping" | "pong" | "open" }>,
  ): LaneEvent | undefined {
    const stream = this.#streams.get(frame.stream);
    if (stream === undefined) return this.#receiveUnknown(frame.stream);
    const event = stream.receive(frame);
    if (event.type === "violation") {
      this.reset(stream, event.code, event.reason);
      return { type: "stream", stream, event };
    }
    if (event.type === "writable") this.#sender.ready(stream);
    this.release(stream);
    return event.type === "ignored" ? undefined : { type: "stream", stream, event };
  }

  /** A frame for a stream that has closed crossed our last one on the way; one for a stream that never was is a fault. */
  #receiveUnknown(id: number): LaneEvent | undefined {
    return id <= this.#highestId ? undefined : { type: "violation", reason: "frame of a stream that was never opened" };
  }
}
