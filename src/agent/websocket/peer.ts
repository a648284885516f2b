/**
 * WebSocket frames on a connection that an apiserver has switched.
 *
 * Messages pass whole, in order, with their type; closes with their code and reason. Nothing is merged, added or dropped: to kubectl a close of 1000
 * without a Status before it is success, and an empty message is an error. Nothing is compressed. Reading stops when the reader
 * asks, and each message that is sent says when it has left, so that a slow side slows only its own session.
 */
import type { Duplex } from "node:stream";
import type { Clock } from "#agent/clock.ts";
import { cutCloseReason, isSendableCloseCode } from "#core/kube/close-frame.ts";
import { createReceiver, createSender } from "./framing.ts";
import type { Receiver, Sender } from "./framing.ts";
import {
  closeTimeoutMs,
  maxBufferedChunks,
  maxEmptyMessages,
  maxFragments,
  maxMessageBytes,
  maxWaitingPongBytes,
  peerSilenceMs,
  pingIntervalMs,
} from "./limits.ts";

export interface WebSocketListener {
  readonly onMessage: (data: Uint8Array, text: boolean) => void;
  /** The end, once: 1005 when closed without a code, 1006 when the connection broke or the peer broke the protocol. */
  readonly onClose: (code: number, reason: string) => void;
}

/** The client's end of a WebSocket. */
export interface WebSocketPeer {
  readonly protocol: string | undefined;
  /** Sends one message, or a piece of one; `written` is called when it has left the process, or never can. */
  send(data: Uint8Array, options: { readonly text: boolean; readonly final: boolean }, written: () => void): void;
  /** Sends a close frame, empty without a code, and waits for the peer's. */
  close(code: number | undefined, reason: string): void;
  /** Ends the connection without a close frame. */
  terminate(): void;
  /** Stops reading; messages that were read already still come. */
  pause(): void;
  resume(): void;
  /** Sets the listener and begins to read. */
  listen(listener: WebSocketListener): void;
}

export interface PeerOptions {
  readonly socket: Duplex;
  /** Bytes that came behind the 101. */
  readonly head: Uint8Array;
  readonly protocol: string | undefined;
  readonly clock: Clock;
  /**
   * `zero` sends the bytes as they are, which RFC 6455 section 5.3 does not allow and which more than doubles the speed of uploads. Masks
   * protect caches between a browser and a server; inside TLS there are none. It is for encrypted connections only.
   */
  readonly mask: "random" | "zero";
}

/** The client's end of a WebSocket on a switched connection. */
export function createWebSocketPeer(options: PeerOptions): WebSocketPeer {
  return new Peer(options);
}

class Peer implements WebSocketPeer {
  readonly protocol: string | undefined;
  readonly #socket: Duplex;
  readonly #clock: Clock;
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  #emptyMessages = 0;
  readonly #head: Uint8Array;
  #listener: WebSocketListener | undefined;
  #sentClose = false;
  #received: { readonly code: number; readonly reason: string } | undefined;
  #paused = false;
  #full = false;
  #over = false;
  #heardMs: number;
  #cancelPing: () => void = () => undefined;
  #cancelClose: () => void = () => undefined;

  constructor({ socket, head, protocol, clock, mask }: PeerOptions) {
    this.protocol = protocol;
    this.#socket = socket;
    this.#clock = clock;
    this.#head = head;
    this.#heardMs = clock.now();
    this.#sender = createSender(socket, mask === "zero" ? (bytes) => bytes.fill(0) : undefined);
    this.#receiver = createReceiver({ isServer: false, maxPayload: maxMessageBytes, maxFragments, maxBufferedChunks });
    socket.on("error", () => undefined); // the close event follows and says it all
    socket.on("close", () => this.#finish(1006, "")); // before `listen` there is nobody to tell; it looks itself
  }

  listen(listener: WebSocketListener): void {
    this.#listener = listener;
    const receiver = this.#receiver;
    receiver.on("message", (data: Buffer, binary: boolean) => this.#deliver(data, !binary));
    receiver.on("ping", (data: Buffer) => this.#answerPing(data));
    receiver.on("conclude", (code: number, reason: Buffer) => this.#concluded(code, reason.toString()));
    receiver.on("error", (error) => this.#violated(closeCodeOf(error)));
    receiver.on("drain", () => {
      this.#full = false;
      this.#flow();
    });
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    this.#socket.on("end", () => this.#socket.destroy());
    if (this.#head.length > 0) this.#take(this.#head);
    this.#schedulePing();
    if (this.#socket.destroyed) this.#finish(1006, "");
    else this.#flow();
  }

  send(data: Uint8Array, { text, final }: { readonly text: boolean; readonly final: boolean }, written: () => void): void {
    if (this.#sentClose || this.#socket.destroyed) {
      written();
      return;
    }
    this.#sender.send(data, { binary: !text, fin: final, mask: true, compress: false }, () => written());
  }

  close(code: number | undefined, reason: string): void {
    if (this.#sentClose || this.#socket.destroyed) return;
    this.#sentClose = true;
    const sendable = code !== undefined && isSendableCloseCode(code);
    this.#sender.close(sendable ? code : undefined, sendable ? cutCloseReason(reason) : "", true, () => {
      if (this.#received !== undefined) this.#socket.end();
    });
    this.#cancelClose = this.#clock.after(closeTimeoutMs, () => this.#socket.destroy());
    this.resume(); // the peer's close frame may stand behind unread messages
  }

  terminate(): void {
    this.#socket.destroy();
  }

  pause(): void {
    this.#paused = true;
    this.#flow();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#heardMs = this.#clock.now(); // what was not read cannot be held against the peer
    this.#flow();
  }

  #flow(): void {
    if (this.#paused || this.#full) this.#socket.pause();
    else this.#socket.resume();
  }

  #take(chunk: Uint8Array): void {
    this.#heardMs = this.#clock.now();
    if (this.#receiver.destroyed || this.#receiver.write(chunk)) return;
    this.#full = true;
    this.#flow();
  }

  #deliver(data: Uint8Array, text: boolean): void {
    this.#emptyMessages = data.length === 0 ? this.#emptyMessages + 1 : 0;
    if (this.#emptyMessages > maxEmptyMessages) return this.#violated(1008);
    if (!this.#over) this.#listener?.onMessage(data, text);
  }

  #answerPing(data: Uint8Array): void {
    if (this.#socket.writableLength > maxWaitingPongBytes) return;
    if (!this.#sentClose && !this.#socket.destroyed) this.#sender.pong(data, true, () => undefined);
  }

  /** The peer's close frame: answered with its own code, and told once everything before it has been. */
  #concluded(code: number, reason: string): void {
    this.#received = { code, reason };
    if (this.#sentClose) this.#socket.end();
    else this.close(code, reason);
    this.#finish(code, reason);
  }

  #violated(code: number): void {
    if (this.#socket.destroyed) return;
    if (!this.#sentClose) {
      this.#sentClose = true;
      this.#sender.close(code, "", true, () => this.#socket.destroy());
      this.#cancelClose = this.#clock.after(closeTimeoutMs, () => this.#socket.destroy());
    } else this.#socket.destroy();
    this.#finish(1006, "");
  }

  #schedulePing(): void {
    this.#cancelPing = this.#clock.after(pingIntervalMs, () => this.#ping());
  }

  #ping(): void {
    if (this.#over || this.#socket.destroyed) return;
    const silentMs = this.#paused || this.#full ? 0 : this.#clock.now() - this.#heardMs;
    if (silentMs >= peerSilenceMs) {
      this.#socket.destroy();
      return;
    }
    if (!this.#sentClose) this.#sender.ping(new Uint8Array(0), true, () => undefined);
    this.#schedulePing();
  }

  #finish(code: number, reason: string): void {
    if (this.#socket.destroyed) this.#cancelClose();
    if (this.#over || this.#listener === undefined) return;
    this.#over = true;
    this.#cancelPing();
    this.#listener.onClose(code, reason);
  }
}

/** The code that tells a peer what it did wrong (RFC 6455 section 7.4.1), by ws' documented error codes. */
function closeCodeOf(error: Error): number {
  switch ("code" in error ? error.code : undefined) {
    case "WS_ERR_INVALID_UTF8":
      return 1007;
    case "WS_ERR_TOO_MANY_BUFFERED_PARTS":
      return 1008;
    case "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH":
    case "WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH":
      return 1009;
    default:
      return 1002;
  }
}
