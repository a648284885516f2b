/**
 * A stream joined to a UDP socket: one flow, each datagram whole. What cannot be sent at once is dropped and counted, as a router would.
 * Unlike a connection, a flow would not notice that its target has gone and that another pod has its address, so that is looked at while
 * datagrams flow.
 */
import type { Socket } from "node:dgram";
import type { Clock } from "#agent/clock.ts";
import type { ResetCode } from "#core/tunnel/frame.ts";
import { flowCheckMs, flowIdleMs, maxQueuedDatagrams } from "#core/tunnel/limits.ts";
import type { TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import type { BridgeEnd, TargetBridge } from "./forward-target.ts";

export interface DatagramBridgeOptions {
  readonly stream: TunnelStream;
  readonly socket: Socket;
  readonly clock: Clock;
  /** Whether the target still has its address. */
  readonly isCurrent: () => Promise<boolean>;
  readonly onEnd: BridgeEnd;
}

export class DatagramBridge implements TargetBridge {
  readonly #options: DatagramBridgeOptions;
  #lastUsedMs: number;
  #lastCheckedMs: number;
  #datagramsIn = 0;
  #datagramsOut = 0;
  #dropped = 0;
  #isOver = false;
  #cancelIdle: () => void = () => undefined;

  constructor(options: DatagramBridgeOptions) {
    this.#options = options;
    this.#lastUsedMs = this.#lastCheckedMs = options.clock.now();
  }

  start(): void {
    const { stream, socket } = this.#options;
    stream.listen({
      onData: () => this.fail("PROTOCOL", "a flow of datagrams carries no bytes"),
      onDatagram: (payload, consumed) => {
        this.#send(payload);
        consumed();
      },
      onEnd: () => this.#end("completed"),
      onReset: (code) => this.#finish(code),
      onDrain: () => undefined,
    });
    socket.on("message", (payload) => {
      this.#used();
      this.#datagramsOut += 1;
      stream.sendDatagram(payload);
    });
    socket.on("error", (error) => {
      // An ICMP message; others are about one datagram, and were counted where it was sent.
      if ("code" in error && error.code === "ECONNREFUSED") this.#end("the target has closed the port");
    });
    this.#watchIdle();
  }

  fail(code: ResetCode, reason: string): void {
    if (this.#isOver) return;
    this.#options.stream.reset(code, reason);
    this.#finish(code === "CANCEL" ? code : `${code}: ${reason}`);
  }

  #send(payload: Uint8Array): void {
    const { socket } = this.#options;
    this.#used();
    this.#datagramsIn += 1;
    if (this.#isOver) return;
    if (socket.getSendQueueCount() >= maxQueuedDatagrams) {
      this.#dropped += 1;
      return;
    }
    socket.send(payload, (error) => {
      if (error !== null) this.#dropped += 1;
    });
  }

  #used(): void {
    const { clock } = this.#options;
    this.#lastUsedMs = clock.now();
    if (this.#lastUsedMs - this.#lastCheckedMs < flowCheckMs) return;
    this.#lastCheckedMs = this.#lastUsedMs;
    void this.#check();
  }

  async #check(): Promise<void> {
    const isCurrent = await this.#options.isCurrent().catch(() => false);
    if (!isCurrent) this.#end("the target is no longer there");
  }

  #watchIdle(): void {
    const { clock } = this.#options;
    const leftMs = this.#lastUsedMs + flowIdleMs - clock.now();
    if (leftMs <= 0) return this.#end("idle");
    this.#cancelIdle = clock.after(leftMs, () => this.#watchIdle());
  }

  #end(reason: string): void {
    if (this.#isOver) return;
    const dropped = this.#droppedCount();
    this.#options.stream.end(1000, dropped === 0 ? reason : `${reason}; ${dropped} datagrams dropped`);
    this.#finish(reason);
  }

  #droppedCount(): number {
    return this.#dropped + this.#options.stream.droppedDatagrams;
  }

  #finish(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelIdle();
    this.#options.socket.close();
    this.#options.onEnd(reason, {
      "datagrams-received": this.#datagramsIn,
      "datagrams-sent": this.#datagramsOut,
      "datagrams-dropped": this.#droppedCount(),
    });
  }
}
