/**
 * An upgrade to another protocol than WebSocket, such as SPDY: the bytes of the switched connection, both ways, and nothing of what they
 * mean. Each direction ends on its own: an empty message of the user's is the end of theirs.
 */
import type { Duplex } from "node:stream";
import { GatewayError } from "#core/errors.ts";
import type { ResetCode } from "#core/tunnel/frame.ts";
import { highWaterBytes } from "#agent/tunnel/tunnel-stream.ts";
import type { DataKind, TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import type { AdmittedRequest, HandlerOptions } from "./admitted.ts";
import { switchProtocol } from "./upgrade.ts";

/** Every chunk is a message of its own: borders mean nothing, and nobody waits for a later one. */
const bytes = { messageEnd: true, text: false };

/** The close code of a connection that has ended in order (RFC 6455 section 7.4.1). */
const normalClosure = 1000;

export async function forwardRaw(
  options: HandlerOptions,
  admitted: AdmittedRequest,
  stream: TunnelStream,
  abort: AbortController,
): Promise<void> {
  const { open, token } = admitted;
  const switched = await switchProtocol(options, {
    admitted,
    stream,
    abort,
    offers: "x-stream-protocol-version",
    protocol: open.upgrade,
    onEnd: () => abort.abort(new GatewayError("CANCELLED", "the user has gone")),
  });
  if (switched === undefined) return;
  const bridge = new RawBridge(admitted, stream, switched.socket);
  bridge.onOver = options.sessions.enter(token, {
    onExpired: () => bridge.fail("EXPIRED", "the credential has ended"),
    onExtended: (expiresAtMs) => stream.extend(expiresAtMs),
  });
  stream.sendHead({ status: 101, headers: switched.headers, expiresAtMs: token.expiresAtMs, timing: switched.timing });
  bridge.start(switched.head);
}

class RawBridge {
  onOver: () => void = () => undefined;
  readonly #admitted: AdmittedRequest;
  readonly #stream: TunnelStream;
  readonly #socket: Duplex;
  #messageBytes = 0;
  #isOver = false;

  constructor(admitted: AdmittedRequest, stream: TunnelStream, socket: Duplex) {
    this.#admitted = admitted;
    this.#stream = stream;
    this.#socket = socket;
  }

  start(head: Uint8Array): void {
    const stream = this.#stream;
    const socket = this.#socket;
    stream.listen({
      onData: (payload, kind, consumed) => this.#upload(payload, kind, consumed),
      // Whoever closes a WebSocket reads nothing more, so the whole connection is over.
      onEnd: () => {
        socket.end(() => socket.destroy());
        if (!this.#isOver) stream.end(normalClosure, "");
        this.#finish("the user closed");
      },
      onReset: (code) => {
        socket.destroy();
        this.#finish(code);
      },
      onDrain: () => {
        if (stream.queuedCost < highWaterBytes) socket.resume();
      },
    });
    socket.on("error", () => undefined); // the close event follows
    socket.on("end", () => {
      if (!this.#isOver) stream.end(normalClosure, "");
      this.#finish("the apiserver closed");
    });
    socket.on("close", () => this.fail("TRUNCATED", "the apiserver's connection broke"));
    if (head.length > 0) stream.write(head, bytes);
    socket.on("data", (chunk: Uint8Array) => {
      if (this.#isOver) return;
      stream.write(chunk, bytes);
      if (stream.queuedCost >= highWaterBytes) socket.pause();
    });
    if (socket.destroyed) this.fail("TRUNCATED", "the apiserver's connection broke");
  }

  /** Bytes cost their credit until they have left; a message without any ends the user's direction. */
  #upload(payload: Uint8Array, kind: DataKind, consumed: () => void): void {
    if (kind.text) return this.fail("PROTOCOL", "a text message among the bytes of an upgraded connection");
    this.#messageBytes += payload.length;
    if (payload.length > 0) this.#socket.write(payload, () => consumed());
    else consumed();
    if (!kind.messageEnd) return;
    if (this.#messageBytes === 0) this.#socket.end();
    this.#messageBytes = 0;
  }

  fail(code: ResetCode, reason: string): void {
    if (this.#isOver) return;
    this.#stream.reset(code, reason);
    this.#socket.destroy();
    this.#finish(code);
  }

  #finish(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.onOver();
    const bytesOut = this.#stream.sentBytes + this.#stream.queuedBytes;
    this.#admitted.record.end({ status: 101, reason, bytesIn: this.#stream.receivedBytes, bytesOut });
  }
}
