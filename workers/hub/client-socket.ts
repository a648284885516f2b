/**
 * A user's WebSocket joined to their stream: messages keep their borders, type and order, and the close its code and reason.
 * workerd offers no way to stop reading a WebSocket, so an upload that outruns the cluster waits here, up to a limit that is told.
 */
import { cutCloseReason, isSendableCloseCode } from "#core/kube/close-frame.ts";
import { frameCostBytes, maxStreamMessageBytes } from "#core/tunnel/limits.ts";
import type { GatewayError } from "#core/errors.ts";
import type { Content, UserStream } from "./user-stream.ts";

/** Bytes that may wait in the client's socket before the agent gets no more credit. */
const maxWaitingDownloadBytes = 512 << 10;

/** Messages of an upload that may wait for the agent's credit: what is allowed to wait in bytes, in the pieces that kubectl sends, and far more. */
const maxWaitingUploadMessages = 1 << 16;

/** workerd has no event for a socket that drained, so it is looked at this often while it is full. */
const drainPollMs = 5;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export interface ClientSocketOptions {
  readonly stream: UserStream;
  readonly socket: WebSocket;
  /** Upload bytes that may wait for the agent's credit. */
  readonly maxWaitingUploadBytes: number;
  /** Says goodbye in the sub-protocol's own way after a failure of ours. */
  readonly farewell: (error: GatewayError) => {
    readonly messages: readonly (string | Uint8Array)[];
    readonly code: number;
    readonly reason: string;
  };
  /** A message of the client's was passed on. */
  readonly onUpload: () => void;
  readonly onExtend: (expiresAtMs: number) => void;
  readonly onEnd: (outcome: "completed" | "cancelled" | "failed", detail: string) => void;
}

/** Joins them until one side ends. The socket must have been accepted with `binaryType` "arraybuffer". */
export class ClientSocket {
  readonly #options: ClientSocketOptions;
  #parts: Uint8Array[] = [];
  #partBytes = 0;
  #owed: number[] = [];
  #poll: ReturnType<typeof setTimeout> | null = null;
  #over = false;
  /** Messages and bytes that were sent since the socket was last empty. */
  #sentMessages = 0;
  #sentBytes = 0;

  constructor(options: ClientSocketOptions) {
    this.#options = options;
    const { socket, stream } = options;
    socket.addEventListener("message", (event) => this.#fromClient(event.data));
    socket.addEventListener("close", (event) => this.#clientClosed(event.code, event.reason));
    socket.addEventListener("error", () => this.#clientClosed(1006, ""));
    stream.listen({ take: (content) => this.#fromCluster(content) });
  }

  /** Ends both sides with a failure that the client is told. */
  fail(error: GatewayError): void {
    if (this.#over) return;
    const { messages, code, reason } = this.#options.farewell(error);
    for (const message of messages) this.#options.socket.send(message);
    this.#close(code, reason);
    this.#options.onEnd("failed", error.code);
  }

  /** Sends a text of the gateway's own between the cluster's messages. */
  tell(text: string): void {
    if (!this.#over) this.#options.socket.send(text);
  }

  /** The client's connection broke without a close. */
  abandon(): void {
    this.#clientClosed(1006, "");
  }

  #fromClient(data: unknown): void {
    const { stream } = this.#options;
    if (this.#over) return;
    if (typeof data === "string") stream.write(new TextEncoder().encode(data), { messageEnd: true, text: true });
    else if (data instanceof ArrayBuffer) stream.write(new Uint8Array(data), { messageEnd: true, text: false });
    const { maxWaitingUploadBytes } = this.#options;
    if (stream.queuedCost <= maxWaitingUploadBytes && stream.queuedPieces <= maxWaitingUploadMessages) return this.#options.onUpload();
    stream.fail(
      "TOO_LARGE",
      `an upload outran the tunnel by more than ${maxWaitingUploadBytes >> 20} MiB or ${maxWaitingUploadMessages} messages`,
      "TOO_LARGE",
    );
  }

  #clientClosed(code: number, reason: string): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#poll);
    if (code === 1006) this.#options.stream.cancel();
    else this.#options.stream.finish(code, reason);
    this.#options.onEnd(code === 1006 ? "cancelled" : "completed", `client closed with ${code}`);
  }

  #fromCluster(content: Content): void {
    if (this.#over) {
      if (content.type === "data") this.#options.stream.consumed(content.cost);
      return;
    }
    switch (content.type) {
      case "data":
        this.#receive(content.payload, content);
        this.#owe(content.cost);
        return;
      case "end":
        this.#close(content.closeCode, content.closeReason);
        this.#options.stream.finish();
        this.#options.onEnd("completed", `cluster closed with ${content.closeCode ?? 1005}`);
        return;
      case "failed":
        this.fail(content.error);
        return;
      case "extend":
        this.#options.onExtend(content.expiresAtMs);
        return;
      case "datagram":
        return; // only forwards have them
    }
  }

  #receive(payload: Uint8Array, kind: { readonly messageEnd: boolean; readonly text: boolean }): void {
    this.#partBytes += payload.length;
    if (this.#partBytes > maxStreamMessageBytes) {
      this.#options.stream.fail("TOO_LARGE", `a message over ${maxStreamMessageBytes >> 20} MiB`, "TOO_LARGE");
      return;
    }
    this.#parts.push(payload);
    if (!kind.messageEnd) return;
    const message = this.#parts.length === 1 ? payload : join(this.#parts, this.#partBytes);
    this.#parts = [];
    this.#partBytes = 0;
    const content = kind.text ? decodeText(message) : message;
    if (content === undefined) this.#options.stream.fail("UPSTREAM_INVALID", "a text message that is not UTF-8", "PROTOCOL");
    else this.#options.socket.send(content);
    this.#sentMessages += 1;
    this.#sentBytes += message.length;
  }

  /** Credit goes back to the agent once the client's socket has taken what was sent. */
  #owe(cost: number): void {
    this.#owed.push(cost);
    if (this.#poll === null) this.#settle();
  }

  #settle(): void {
    this.#poll = null;
    if (this.#over) return;
    if (this.#waitingCost() > maxWaitingDownloadBytes) {
      this.#poll = setTimeout(() => this.#settle(), drainPollMs);
      return;
    }
    for (const cost of this.#owed.splice(0)) this.#options.stream.consumed(cost);
  }

  /** What waits in the client's socket costs: the socket tells its bytes only, so its messages are reckoned by the share of bytes that wait. */
  #waitingCost(): number {
    const bytes = waitingBytes(this.#options.socket);
    const messages = this.#sentMessages * Math.min(1, bytes / Math.max(1, this.#sentBytes));
    if (bytes === 0) {
      this.#sentMessages = 0;
      this.#sentBytes = 0;
    }
    return bytes + messages * frameCostBytes;
  }

  #close(code: number | undefined, reason: string): void {
    this.#over = true;
    clearTimeout(this.#poll);
    closeExactly(this.#options.socket, code, reason);
  }
}

/** Closes with the code that the other end used: 1005 means that there was none. What no close frame may say, 1006 among it, is a failure. */
function closeExactly(socket: WebSocket, code: number | undefined, reason: string): void {
  try {
    if (code === undefined || code === 1005) socket.close();
    else socket.close(isSendableCloseCode(code) ? code : 1011, cutCloseReason(reason));
  } catch {
    // the client has closed already
  }
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined; // not UTF-8
  }
}

/** Bytes queued in a socket; runtimes without `bufferedAmount` report none, and credit alone bounds them. */
function waitingBytes(socket: WebSocket & { readonly bufferedAmount?: number }): number {
  return socket.bufferedAmount ?? 0;
}

function join(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
