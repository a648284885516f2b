/**
 * A forward's client joined to its stream. Over the client's WebSocket go tunnel frames of stream 1, so that bytes have credit, directions
 * end by themselves, datagrams stay whole, and an end has its reason. This is an endpoint on both sides, no switch: what a client grants
 * and does not read is held back here, and a frame that no client may send ends it.
 */
import { decodeFrames, encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame, ResetCode } from "#core/tunnel/frame.ts";
import { batchBytes, bulkWindowBytes } from "#core/tunnel/limits.ts";
import { StreamEnd } from "#core/tunnel/stream.ts";
import type { StreamEvent } from "#core/tunnel/stream.ts";
import { linkStream } from "#core/tunnel/switchboard.ts";
import type { WindowPool } from "#core/tunnel/window-pool.ts";
import type { Content, UserStream } from "./user-stream.ts";

/** Bytes that may wait in the client's socket before the agent gets no more credit, and datagrams are dropped. */
const maxWaitingBytes = 512 << 10;

/** workerd has no event for a socket that drained, so it is looked at this often while it is full. */
const drainPollMs = 5;

const bytes = { messageEnd: false, text: false };

export interface ForwardSocketOptions {
  readonly stream: UserStream;
  readonly socket: WebSocket;
  /** Bounds what the uploads of this isolate's forwards hold, together with its answers. */
  readonly windows: WindowPool;
  readonly onExtend: (expiresAtMs: number) => void;
  readonly onEnd: (outcome: "completed" | "cancelled" | "failed", detail: string) => void;
}

/** Joins them until both directions have ended, or one side ends both. The socket must have been accepted with `binaryType` "arraybuffer". */
export class ForwardSocket {
  readonly #options: ForwardSocketOptions;
  readonly #end: StreamEnd;
  #over = false;
  #isRepaying = false;
  /** What the agent is owed for data that the client's socket has not taken yet. */
  #owedDown = 0;
  /** What the client is owed for data that the agent's credit has not let through yet. */
  #owedUp = 0;
  #poll: ReturnType<typeof setTimeout> | null = null;
  #droppedDatagrams = 0;

  constructor(options: ForwardSocketOptions) {
    this.#options = options;
    const { socket, stream, windows } = options;
    this.#end = new StreamEnd({ id: linkStream, pool: windows });
    socket.addEventListener("message", (event) => this.#fromClient(event.data));
    socket.addEventListener("close", () => this.abandon());
    socket.addEventListener("error", () => this.abandon());
    this.#send([this.#end.grant(bulkWindowBytes)]);
    stream.listen({ take: (content) => this.#fromCluster(content), settled: () => this.#flush() });
  }

  /** The client's connection broke, or ended without a word. */
  abandon(): void {
    // Behind both ends it has nothing more to say, and what it said last may still be on its way.
    if (this.#over || this.#end.isClosed) return;
    this.#options.stream.cancel();
    this.#finish("cancelled", "the client has gone");
  }

  #fromClient(data: unknown): void {
    if (this.#over) return;
    const decoded =
      data instanceof ArrayBuffer ? decodeFrames(new Uint8Array(data)) : ({ type: "invalid", reason: "a text message" } as const);
    if (decoded.type === "invalid") return this.#violated(decoded.reason);
    for (const frame of decoded.frames) {
      if (this.#over) return;
      if (!isClientFrame(frame)) return this.#violated(`a frame ${frame.type} of a client`);
      this.#onFrame(this.#end.receive(frame));
    }
    this.#flush();
  }

  #onFrame(event: StreamEvent): void {
    const { stream } = this.#options;
    switch (event.type) {
      case "data":
        stream.write(event.payload, bytes);
        this.#owedUp += event.cost;
        void this.#repay();
        return;
      case "datagram":
        // It waits for the agent's credit among a bounded number of others, and the oldest of them is dropped.
        stream.sendDatagram(event.payload);
        this.#grant(event.cost);
        return;
      case "end":
        stream.finish(event.closeCode, event.closeReason);
        return;
      case "reset":
        stream.cancel(event.code);
        return this.#finish("cancelled", `the client reset it with ${event.code}`);
      case "violation":
        return this.#violated(event.reason);
      case "head":
      case "extend":
      case "writable":
      case "ignored":
        return;
    }
  }

  /** Gives the client credit for more when the agent's credit has let all of its upload through. */
  async #repay(): Promise<void> {
    if (this.#isRepaying) return;
    this.#isRepaying = true;
    await this.#options.stream.drained();
    this.#isRepaying = false;
    const cost = this.#owedUp;
    this.#owedUp = 0;
    if (this.#over) return;
    this.#grant(cost);
    this.#flush();
  }

  #grant(cost: number): void {
    const grant = this.#end.consumed(cost, Date.now());
    if (grant !== undefined) this.#send([grant]);
  }

  #fromCluster(content: Content): void {
    if (this.#over) return;
    switch (content.type) {
      case "data":
        this.#end.queueData(content.payload, bytes);
        this.#owedDown += content.cost;
        return;
      case "datagram":
        if (this.#options.socket.bufferedAmount > maxWaitingBytes) this.#droppedDatagrams += 1;
        else this.#end.queueDatagram(content.payload);
        return this.#options.stream.consumed(content.cost);
      case "end":
        return this.#end.queueEnd(content.closeCode, content.closeReason);
      case "failed":
        return this.#fail(content.code, content.error.message, content.error.code);
      case "extend":
        return this.#options.onExtend(content.expiresAtMs);
    }
  }

  /** Sends what the client's credit allows; pays the agent back for what has left; ends when both directions have. */
  #flush(): void {
    if (this.#over) return;
    for (let frames = this.#end.nextFrames(batchBytes); frames.length > 0; frames = this.#end.nextFrames(batchBytes)) this.#send(frames);
    this.#settleDown();
    if (!this.#end.isClosed) return;
    if (this.#options.stream.queuedCost === 0) this.#finish("completed", this.#droppedText());
    else void this.#repay();
  }

  #settleDown(): void {
    if (this.#owedDown === 0 || this.#end.queuedCost > 0 || this.#poll !== null) return;
    if (this.#options.socket.bufferedAmount > maxWaitingBytes) {
      this.#poll = setTimeout(() => {
        this.#poll = null;
        if (!this.#over) this.#settleDown();
      }, drainPollMs);
      return;
    }
    const cost = this.#owedDown;
    this.#owedDown = 0;
    this.#options.stream.consumed(cost);
  }

  #violated(reason: string): void {
    this.#options.stream.cancel("PROTOCOL");
    this.#fail("PROTOCOL", reason, "the client broke the protocol");
  }

  #fail(code: ResetCode, reason: string, detail: string): void {
    const frame = this.#end.reset(code, reason);
    if (frame !== undefined) this.#send([frame]);
    this.#finish("failed", detail);
  }

  #droppedText(): string {
    const dropped = this.#droppedDatagrams + this.#end.droppedDatagrams + this.#options.stream.droppedDatagrams;
    return dropped === 0 ? "both directions have ended" : `both directions have ended; ${dropped} datagrams dropped`;
  }

  #finish(outcome: "completed" | "cancelled" | "failed", detail: string): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#poll);
    closeQuietly(this.#options.socket);
    this.#options.onEnd(outcome, detail);
  }

  #send(frames: readonly Frame[]): void {
    if (this.#options.socket.readyState === WebSocket.OPEN) this.#options.socket.send(encodeFrames(frames));
  }
}

type ClientFrame = Extract<Frame, { readonly type: "data" | "datagram" | "window" | "end" | "reset" }>;

/** What a client may say: nothing about lanes, no other stream, and neither heads nor how long its credential lasts. */
function isClientFrame(frame: Frame): frame is ClientFrame {
  switch (frame.type) {
    case "data":
    case "datagram":
    case "window":
    case "end":
    case "reset":
      return frame.stream === linkStream;
    case "hello":
    case "open":
    case "head":
    case "ping":
    case "pong":
    case "goaway":
    case "status":
    case "extend":
      return false;
  }
}

function closeQuietly(socket: WebSocket): void {
  try {
    socket.close(1000, "");
  } catch {
    // the client has closed already
  }
}
