/** One forwarded connection or flow: the client's end of a stream, over a WebSocket of its own (docs/protocol.md, "Forwards"). */
import type { WebSocket } from "ws";
import { decodeFrames, encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame, ResetCode } from "#core/tunnel/frame.ts";
import { batchBytes, bulkWindowBytes } from "#core/tunnel/limits.ts";
import { StreamEnd } from "#core/tunnel/stream.ts";
import type { StreamEvent } from "#core/tunnel/stream.ts";
import { linkStream } from "#core/tunnel/switchboard.ts";

/** What the cluster's side does. Each piece must be given back with `consumed` once it has gone on. */
export interface ConnectionListener {
  readonly onData: (payload: Uint8Array, consumed: () => void) => void;
  readonly onDatagram: (payload: Uint8Array) => void;
  /** The target's direction has ended. */
  readonly onEnd: (reason: string) => void;
  /** Both are over. */
  readonly onReset: (code: ResetCode, reason: string) => void;
  /** Less waits to be sent than before. */
  readonly onDrain: () => void;
}

/** Bytes in the socket behind which nothing more is written: what is there cannot be overtaken. */
const socketBufferBytes = 256 << 10;

const bytes = { messageEnd: false, text: false };

export class ForwardConnection {
  /** What was chosen, such as `pods/web/shop-5d9/8080`. */
  readonly chosen: string;
  readonly #socket: WebSocket;
  readonly #end = new StreamEnd({ id: linkStream });
  #listener: ConnectionListener | undefined;
  #early: StreamEvent[] = [];
  #isOver = false;

  /** @param socket open */
  constructor(socket: WebSocket, chosen: string) {
    this.chosen = chosen;
    this.#socket = socket;
    socket.on("message", (message: Buffer, isBinary: boolean) => this.#receive(message, isBinary));
    socket.on("close", () => this.#lost());
    socket.on("error", () => socket.terminate());
    this.#send([this.#end.grant(bulkWindowBytes)]);
  }

  /** What waits for credit or the socket costs. */
  get queuedCost(): number {
    return this.#end.queuedCost;
  }

  get sentBytes(): number {
    return this.#end.sentBytes;
  }

  get receivedBytes(): number {
    return this.#end.receivedBytes;
  }

  get droppedDatagrams(): number {
    return this.#end.droppedDatagrams;
  }

  listen(listener: ConnectionListener): void {
    this.#listener = listener;
    for (const event of this.#early.splice(0)) this.#dispatch(event);
  }

  write(payload: Uint8Array): void {
    this.#end.queueData(payload, bytes);
    this.#flush();
  }

  /** Sends a datagram, whole; the oldest that waits is dropped when too many do. */
  sendDatagram(payload: Uint8Array): void {
    this.#end.queueDatagram(payload);
    this.#flush();
  }

  /** Ends our direction. */
  end(): void {
    this.#end.queueEnd();
    this.#flush();
  }

  /** Ends both, for a reason of ours. */
  reset(code: ResetCode): void {
    if (this.#isOver) return;
    const frame = this.#end.reset(code, "");
    if (frame !== undefined) this.#send([frame]);
    this.#close();
  }

  #receive(message: Buffer, isBinary: boolean): void {
    const decoded = isBinary ? decodeFrames(message) : ({ type: "invalid" } as const);
    if (decoded.type === "invalid") return this.#fail("PROTOCOL", "the gateway broke the protocol");
    for (const frame of decoded.frames) {
      if (this.#isOver) return;
      if ("stream" in frame && frame.stream === linkStream) this.#dispatch(this.#end.receive(frame));
    }
    this.#flush();
  }

  #dispatch(event: StreamEvent): void {
    const listener = this.#listener;
    if (listener === undefined) {
      this.#early.push(event);
      return;
    }
    switch (event.type) {
      case "data":
        return listener.onData(event.payload, () => this.#consumed(event.cost));
      case "datagram":
        listener.onDatagram(event.payload);
        return this.#consumed(event.cost);
      case "end":
        return listener.onEnd(event.closeReason);
      case "reset":
        this.#close();
        return listener.onReset(event.code, event.reason);
      case "violation":
        return this.#fail(event.code, `the gateway broke the protocol: ${event.reason}`);
      case "head":
      case "extend":
      case "writable":
      case "ignored":
        return;
    }
  }

  #consumed(cost: number): void {
    const grant = this.#end.consumed(cost, performance.now());
    if (grant !== undefined) this.#send([grant]);
  }

  readonly #flush = (): void => {
    if (this.#isOver) return;
    while (this.#socket.bufferedAmount < socketBufferBytes) {
      const frames = this.#end.nextFrames(batchBytes);
      if (frames.length === 0) break;
      this.#send(frames);
    }
    this.#listener?.onDrain();
    // The gateway closes the socket: behind our end, the last of an upload may still be on its way to the cluster.
    if (this.#end.isClosed) this.#isOver = true;
  };

  #send(frames: readonly Frame[]): void {
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.send(encodeFrames(frames), this.#flush);
  }

  #lost(): void {
    if (!this.#isOver) this.#fail("AGENT_GONE", "the connection to the gateway was lost");
  }

  #fail(code: ResetCode, reason: string): void {
    this.reset(code);
    this.#listener?.onReset(code, reason);
  }

  #close(): void {
    this.#isOver = true;
    this.#socket.close(1000, "");
  }
}
