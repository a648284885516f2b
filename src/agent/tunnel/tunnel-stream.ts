/** One user's stream as the agent's other parts see it: the wire's frames behind a few calls. */
import type { ResetCode } from "#core/tunnel/frame.ts";
import type { Multiplexer } from "#core/tunnel/multiplexer.ts";
import { encodePayload } from "#core/tunnel/payload.ts";
import type { HeadPayload } from "#core/tunnel/payload.ts";
import type { StreamEnd, StreamEvent } from "#core/tunnel/stream.ts";

export interface DataKind {
  /** The bytes end a WebSocket message. */
  readonly messageEnd: boolean;
  /** The message is text. */
  readonly text: boolean;
}

/** What the user's side does. Every byte handed over must be given back with `consumed` once it has gone on. */
export interface StreamListener {
  readonly onData: (payload: Uint8Array, kind: DataKind, consumed: () => void) => void;
  /** The user's direction has ended; a WebSocket's close code and reason, if any. */
  readonly onEnd: (closeCode: number | undefined, closeReason: string) => void;
  /** The stream is over: nothing may be sent any more. */
  readonly onReset: (code: ResetCode) => void;
  /** Less waits to be sent than before. */
  readonly onDrain: () => void;
  /** A datagram came; only forwards of UDP have them. */
  readonly onDatagram?: (payload: Uint8Array, consumed: () => void) => void;
}

/** Bytes that may wait to be sent before a producer should pause: a full message. */
export const highWaterBytes = 128 << 10;

/** What a stream asks of its lane. */
export interface LaneHooks {
  /** Send what is ready. */
  readonly flush: () => void;
  /** Call `drained` when less than before waits on this stream. */
  readonly waiting: (stream: TunnelStream) => void;
  /** One direction is about to end: look whether the stream is over once this is sent. */
  readonly ending: (end: StreamEnd) => void;
}

export class TunnelStream {
  readonly #end: StreamEnd;
  readonly #multiplexer: Multiplexer;
  readonly #hooks: LaneHooks;
  #listener: StreamListener | undefined;
  #early: StreamEvent[] = [];

  constructor(end: StreamEnd, multiplexer: Multiplexer, hooks: LaneHooks) {
    this.#end = end;
    this.#multiplexer = multiplexer;
    this.#hooks = hooks;
  }

  /** Bytes that wait for credit or the socket. */
  get queuedBytes(): number {
    return this.#end.queuedBytes;
  }

  /** What keeping them costs, to which `highWaterBytes` applies. */
  get queuedCost(): number {
    return this.#end.queuedCost;
  }

  get sentBytes(): number {
    return this.#end.sentBytes;
  }

  get receivedBytes(): number {
    return this.#end.receivedBytes;
  }

  /** Datagrams for the user's side that were dropped, because too many waited. */
  get droppedDatagrams(): number {
    return this.#end.droppedDatagrams;
  }

  get isClosed(): boolean {
    return this.#end.isClosed;
  }

  listen(listener: StreamListener): void {
    this.#listener = listener;
    for (const event of this.#early.splice(0)) this.dispatch(event);
  }

  /** Gives the user's side credit before anything was consumed, for an upload that is expected to be long. */
  grant(bytes: number): void {
    this.#multiplexer.control(this.#end.grant(bytes));
    this.#hooks.flush();
  }

  sendHead(head: HeadPayload): void {
    this.#end.queueHead(encodePayload(head));
    this.#changed();
  }

  write(payload: Uint8Array, kind: DataKind): void {
    this.#end.queueData(payload, kind);
    this.#changed();
    this.#hooks.waiting(this);
  }

  /** Sends a datagram, whole; the oldest that waits is dropped when too many do. */
  sendDatagram(payload: Uint8Array): void {
    this.#end.queueDatagram(payload);
    this.#changed();
  }

  end(closeCode?: number, closeReason?: string): void {
    this.#end.queueEnd(closeCode, closeReason);
    this.#hooks.ending(this.#end);
    this.#changed();
  }

  /** Tells the gateway that the user's credential now lasts until then. */
  extend(expiresAtMs: number): void {
    if (this.#end.isClosed) return;
    this.#multiplexer.control({ type: "extend", stream: this.#end.id, expiresAtMs });
    this.#hooks.flush();
  }

  reset(code: ResetCode, reason: string): void {
    this.#multiplexer.reset(this.#end, code, reason);
    this.#hooks.flush();
  }

  /** Takes in what came for this stream. Called by its lane. */
  dispatch(event: StreamEvent): void {
    const listener = this.#listener;
    if (listener === undefined) {
      this.#early.push(event);
      return;
    }
    switch (event.type) {
      case "data":
        listener.onData(event.payload, event, () => this.#consumed(event.cost));
        return;
      case "end":
        listener.onEnd(event.closeCode, event.closeReason);
        return;
      case "reset":
      case "violation":
        listener.onReset(event.code);
        return;
      case "writable":
        listener.onDrain();
        return;
      case "datagram":
        if (listener.onDatagram === undefined) this.#consumed(event.cost);
        else listener.onDatagram(event.payload, () => this.#consumed(event.cost));
        return;
      case "head":
      case "extend":
      case "ignored":
        return;
    }
  }

  /** Called by the lane after it sent something. */
  drained(): void {
    this.#listener?.onDrain();
  }

  #consumed(cost: number): void {
    const grant = this.#end.consumed(cost, performance.now());
    if (grant === undefined) return;
    this.#multiplexer.control(grant);
    this.#hooks.flush();
  }

  #changed(): void {
    this.#multiplexer.ready(this.#end);
    this.#hooks.flush();
  }
}
