/** What the hub sends to: agents' lanes, and users' links in their two forms. */
import { heartbeatMs, maxLaneFrames, smallestBurstBytes } from "#core/tunnel/limits.ts";
import type { ErrorCode } from "#core/errors.ts";
import type { JoinClaims } from "./hub.ts";

/** What a lane's socket remembers while the object sleeps (at most 16 KiB). */
export interface LaneAttachment {
  readonly role: "lane";
  readonly id: string;
  readonly claims: JoinClaims;
  readonly nonce: string;
  readonly openedAtMs: number;
  readonly joined: JoinedLane | undefined;
  readonly draining?: boolean;
}

export interface JoinedLane {
  readonly replica: string;
  readonly lane: "interactive" | "bulk";
  readonly build: string;
  readonly node: string;
  readonly atMs: number;
}

/** What a link's socket remembers: the circuit that it belongs to. */
export interface LinkAttachment {
  readonly role: "link";
  readonly lane: string;
  readonly id: number;
}

/** An agent's WebSocket. */
export class LaneSocket {
  readonly socket: WebSocket;
  /** Its HELLO is being verified. */
  isJoining = false;
  #laneFrames = 0;
  #countedFromMs = 0;
  /** Bytes that came since the last frame about the lane itself. */
  #burstBytes = 0;
  #attachment: LaneAttachment;

  constructor(socket: WebSocket, attachment: LaneAttachment) {
    this.socket = socket;
    this.#attachment = attachment;
  }

  static restore(socket: WebSocket): LaneSocket {
    return new LaneSocket(socket, socket.deserializeAttachment());
  }

  get attachment(): LaneAttachment {
    return this.#attachment;
  }

  /** Takes note of a message that came. */
  received(bytes: number): void {
    this.#burstBytes += bytes;
  }

  /**
   * Counts a frame about the lane itself; whether its agent has sent more of them than one that means well. One behind a whole burst does
   * not count: it asks whether that was read, and makes less work than the burst has.
   */
  isFlooding(nowMs: number): boolean {
    const isBehindBurst = this.#burstBytes >= smallestBurstBytes;
    this.#burstBytes = 0;
    if (isBehindBurst) return false;
    if (nowMs - this.#countedFromMs >= heartbeatMs) {
      this.#countedFromMs = nowMs;
      this.#laneFrames = 0;
    }
    this.#laneFrames += 1;
    return this.#laneFrames > maxLaneFrames;
  }

  update(attachment: LaneAttachment): void {
    this.#attachment = attachment;
    this.save();
  }

  save(): void {
    this.socket.serializeAttachment(this.#attachment);
  }
}

/** Whether an agent has proved itself on this lane. */
export function isJoinedLane(lane: LaneSocket): boolean {
  return lane.attachment.joined !== undefined;
}

/** What a delivery says about the stream. */
export interface DeliveryEnd {
  /** The agent's direction has ended. */
  readonly ended: boolean;
  /** The stream was reset. */
  readonly closed: boolean;
}

/** A user's end of a circuit. */
export interface HubLink {
  deliver(bytes: Uint8Array, end: DeliveryEnd): void;
  /** Ends it from here: 1000 when the stream was reset by its own user, 1011 when the user's side broke the protocol. */
  close(code: 1000 | 1011): void;
}

/** A link over a WebSocket: for streams that may be long, which must not keep the object awake. */
export class SocketLink implements HubLink {
  readonly #socket: WebSocket;

  constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  deliver(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }

  close(code: 1000 | 1011): void {
    this.#socket.close(code, "");
  }
}

/** What a Worker gets for an exchange. */
export type ExchangeAnswer =
  /** All frames of the answer. */
  | { readonly type: "whole"; readonly bytes: Uint8Array }
  /** The frames as they come; borders of chunks mean nothing. */
  | { readonly type: "stream"; readonly stream: ReadableStream<Uint8Array> }
  | { readonly type: "refused"; readonly code: ErrorCode; readonly lastSeenMs: number | undefined };

/** A link as one call and its answer: one hop for short requests. */
export class ExchangeLink implements HubLink {
  readonly answer: Promise<ExchangeAnswer>;
  readonly #closed: (isComplete: boolean) => void;
  #resolve: ((answer: ExchangeAnswer) => void) | undefined;
  #controller: ReadableByteStreamController | undefined;
  #over = false;

  /** @param closed called once: `isComplete` when the answer is, and not when the Worker has gone */
  constructor(closed: (isComplete: boolean) => void) {
    this.#closed = closed;
    const { promise, resolve } = Promise.withResolvers<ExchangeAnswer>();
    this.answer = promise;
    this.#resolve = resolve;
  }

  deliver(bytes: Uint8Array, end: DeliveryEnd): void {
    if (this.#over) return;
    const last = end.ended || end.closed;
    // A copy: what is sent to another isolate is the whole buffer behind a view, and this one may hold other users' frames.
    const own = bytes.slice();
    if (this.#resolve === undefined) this.#controller?.enqueue(own);
    else this.#resolve(last ? { type: "whole", bytes: own } : { type: "stream", stream: this.#stream(own) });
    this.#resolve = undefined;
    if (last) this.#finish(true);
  }

  close(_code: 1000 | 1011): void {
    if (this.#over) return;
    this.#resolve?.({ type: "refused", code: "INTERNAL", lastSeenMs: undefined });
    this.#resolve = undefined;
    this.#finish(true);
  }

  /** A byte stream, because others cannot go from one isolate to another. */
  #stream(first: Uint8Array): ReadableStream<Uint8Array> {
    return new ReadableStream({
      type: "bytes",
      start: (controller) => {
        this.#controller = controller;
        controller.enqueue(first);
      },
      cancel: () => {
        this.#controller = undefined;
        this.#finish(false);
      },
    });
  }

  #finish(isComplete: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#controller?.close();
    this.#controller = undefined;
    this.#closed(isComplete);
  }
}
