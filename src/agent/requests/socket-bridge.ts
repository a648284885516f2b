/** A stream joined to a TCP connection: bytes as they are, each direction's end by itself, and a break as a break. */
import type { Socket } from "node:net";
import type { ResetCode } from "#core/tunnel/frame.ts";
import { highWaterBytes } from "#agent/tunnel/tunnel-stream.ts";
import type { TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import type { BridgeEnd, TargetBridge } from "./forward-target.ts";

export class SocketBridge implements TargetBridge {
  readonly #stream: TunnelStream;
  readonly #socket: Socket;
  readonly #onEnd: BridgeEnd;
  #userEnded = false;
  #targetEnded = false;
  #isOver = false;

  constructor(stream: TunnelStream, socket: Socket, onEnd: BridgeEnd) {
    this.#stream = stream;
    this.#socket = socket;
    this.#onEnd = onEnd;
  }

  start(): void {
    const [stream, socket] = [this.#stream, this.#socket];
    stream.listen({
      // Credit goes back when the target's socket has taken the bytes, so a target that reads nothing holds one window.
      onData: (payload, _kind, consumed) => void socket.write(payload, () => consumed()),
      onEnd: () => {
        this.#userEnded = true;
        socket.end();
        this.#settle();
      },
      onReset: (code) => {
        socket.resetAndDestroy();
        this.#finish(code);
      },
      onDrain: () => {
        if (stream.queuedCost < highWaterBytes) socket.resume();
      },
    });
    socket.on("data", (chunk: Uint8Array) => {
      stream.write(chunk, { messageEnd: false, text: false });
      if (stream.queuedCost >= highWaterBytes) socket.pause();
    });
    socket.on("end", () => {
      this.#targetEnded = true;
      stream.end();
      this.#settle();
    });
    socket.on("error", () => this.fail("TRUNCATED", "the target broke the connection"));
    socket.resume();
  }

  fail(code: ResetCode, reason: string): void {
    if (this.#isOver) return;
    this.#stream.reset(code, reason);
    this.#socket.resetAndDestroy();
    this.#finish(code === "CANCEL" ? code : `${code}: ${reason}`);
  }

  #settle(): void {
    if (this.#userEnded && this.#targetEnded) this.#finish("completed");
  }

  #finish(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket.on("error", () => undefined); // what breaks behind the end is nobody's
    this.#onEnd(reason);
  }
}
