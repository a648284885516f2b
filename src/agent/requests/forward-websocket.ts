/**
 * An upgrade to a WebSocket: exec, attach, port-forward, and watches and logs that ask for one. Messages keep their borders, type and
 * order both ways, and a close its code and reason; an answer that is no upgrade is carried as a plain one.
 */
import type { ResetCode } from "#core/tunnel/frame.ts";
import { maxStreamMessageBytes } from "#core/tunnel/limits.ts";
import { tmpdir } from "node:os";
import { highWaterBytes } from "#agent/tunnel/tunnel-stream.ts";
import type { DataKind, TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import type { AdmittedRequest, HandlerOptions } from "./admitted.ts";
import type { WebSocketPeer } from "./ports.ts";
import { switchProtocol } from "./upgrade.ts";
import { UploadSpool } from "./upload-spool.ts";

/** Credit given at once for an upload: a Worker cannot make its client wait, so the first bytes must not wait for a round trip. */
const uploadCreditBytes = 4 << 20;

export async function forwardWebSocket(
  options: HandlerOptions,
  admitted: AdmittedRequest,
  stream: TunnelStream,
  abort: AbortController,
): Promise<void> {
  const { token } = admitted;
  const switched = await switchProtocol(options, {
    admitted,
    stream,
    abort,
    offers: "sec-websocket-protocol",
    onEnd: () => undefined,
  });
  if (switched === undefined) return;
  const peer = options.createWebSocket(switched.socket, switched.head, switched.protocol);
  const bridge = new WebSocketBridge(admitted, stream, peer);
  bridge.onOver = options.sessions.enter(token, {
    onExpired: () => bridge.fail("EXPIRED", "the credential has ended"),
    onExtended: (expiresAtMs) => stream.extend(expiresAtMs),
  });
  stream.sendHead({
    status: 101,
    headers: switched.headers,
    ...(switched.protocol !== undefined && { protocol: switched.protocol }),
    expiresAtMs: token.expiresAtMs,
    timing: switched.timing,
  });
  stream.grant(uploadCreditBytes);
  bridge.start();
}

class WebSocketBridge {
  onOver: () => void = () => undefined;
  readonly #admitted: AdmittedRequest;
  readonly #stream: TunnelStream;
  readonly #peer: WebSocketPeer;
  readonly #spool: UploadSpool;
  #pieces: Uint8Array[] = [];
  #pieceBytes = 0;
  #isOver = false;

  constructor(admitted: AdmittedRequest, stream: TunnelStream, peer: WebSocketPeer) {
    this.#admitted = admitted;
    this.#stream = stream;
    this.#peer = peer;
    this.#spool = new UploadSpool({
      directory: tmpdir(),
      target: (message, written) => peer.send(message.payload, { text: message.text, final: true }, written),
      onFailure: () => this.fail("OVERLOADED", "the agent has no room for this upload"),
    });
  }

  start(): void {
    const stream = this.#stream;
    const peer = this.#peer;
    stream.listen({
      onData: (payload, kind, consumed) => this.#upload(payload, kind, consumed),
      onEnd: (code, reason) => this.#spool.finish(() => peer.close(code, reason)),
      onReset: (code) => {
        peer.terminate();
        this.#finish(code);
      },
      onDrain: () => {
        if (stream.queuedCost < highWaterBytes) peer.resume();
      },
    });
    peer.listen({
      onMessage: (data, text) => {
        stream.write(data, { messageEnd: true, text });
        if (stream.queuedCost >= highWaterBytes) peer.pause();
      },
      onClose: (code, reason) => {
        if (code === 1006) stream.reset("TRUNCATED", "the apiserver's connection broke");
        else stream.end(code, reason);
        this.#finish(`closed with ${code}`);
      },
    });
  }

  /**
   * Messages go to the apiserver whole: its WebSocket library (golang.org/x/net/websocket) takes each frame for a message of its own, so
   * a continuation's first byte would be read as a channel and the rest be lost.
   */
  #upload(payload: Uint8Array, kind: DataKind, consumed: () => void): void {
    this.#pieceBytes += payload.length;
    if (this.#pieceBytes > maxStreamMessageBytes) return this.fail("TOO_LARGE", "a message is too large");
    this.#pieces.push(payload);
    if (!kind.messageEnd) return consumed();
    const message = this.#pieces.length === 1 ? payload : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#pieceBytes = 0;
    this.#spool.push({ payload: message, text: kind.text }, consumed);
  }

  fail(code: ResetCode, reason: string): void {
    this.#stream.reset(code, reason);
    this.#peer.terminate();
    this.#finish(code);
  }

  #finish(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#spool.close();
    this.onOver();
    this.#admitted.record.end({
      status: 101,
      reason,
      bytesIn: this.#stream.receivedBytes,
      bytesOut: this.#stream.sentBytes + this.#stream.queuedBytes,
    });
  }
}
