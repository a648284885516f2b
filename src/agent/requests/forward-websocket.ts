/**
 * An upgrade to a WebSocket: exec, attach, port-forward, and watches and logs that ask for one. Messages keep their borders, type and
 * order both ways, and a close its code and reason; an answer that is no upgrade is carried as a plain one.
 */
import { GatewayError } from "#core/errors.ts";
import { listValues } from "#core/kube/headers.ts";
import type { ResetCode } from "#core/tunnel/frame.ts";
import { maxStreamMessageBytes } from "#core/tunnel/limits.ts";
import { tmpdir } from "node:os";
import { highWaterBytes } from "#agent/tunnel/tunnel-stream.ts";
import type { DataKind, TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import { requestHeaders } from "./admitted.ts";
import type { AdmittedRequest, HandlerOptions } from "./admitted.ts";
import type { ApiserverResponse, WebSocketPeer } from "./ports.ts";
import { UploadSpool } from "./upload-spool.ts";

/** Credit given at once for an upload: a Worker cannot make its client wait, so the first bytes must not wait for a round trip. */
const uploadCreditBytes = 4 << 20;

/** Largest piece of an answer's body in one write. */
const plain = { messageEnd: false, text: false };

export async function forwardWebSocket(
  options: HandlerOptions,
  admitted: AdmittedRequest,
  stream: TunnelStream,
  abort: AbortController,
): Promise<void> {
  const { open, token } = admitted;
  const startedMs = performance.now();
  stream.listen({
    onData: (_p, _k, consumed) => consumed(),
    onEnd: () => undefined,
    onReset: () => abort.abort(new GatewayError("CANCELLED", "the user has gone")),
    onDrain: () => undefined,
  });
  const outcome = await options.apiservers.upgrade({
    method: open.method,
    target: open.target,
    headers: await requestHeaders(options, admitted, listValues(open.headers, "sec-websocket-protocol")),
    body: undefined,
    longRunning: true,
    affinity: admitted.identity.username,
    signal: abort.signal,
  });
  const timing = { verifyMs: admitted.verifyMs, upstreamMs: performance.now() - startedMs };
  if (outcome.type === "answered") return carryAnswer(outcome.response, admitted, stream, timing);
  if (stream.isClosed) return void outcome.socket.destroy();
  const peer = options.createWebSocket(outcome.socket, outcome.head, outcome.protocol);
  const bridge = new WebSocketBridge(admitted, stream, peer);
  bridge.onOver = options.sessions.enter(token, {
    onExpired: () => bridge.fail("EXPIRED", "the credential has ended"),
    onExtended: (expiresAtMs) => stream.extend(expiresAtMs),
  });
  stream.sendHead({
    status: 101,
    headers: outcome.headers,
    ...(outcome.protocol !== undefined && { protocol: outcome.protocol }),
    expiresAtMs: token.expiresAtMs,
    timing,
  });
  stream.grant(uploadCreditBytes);
  bridge.start();
}

/** Carries what an apiserver answered instead of switching. */
export function carryAnswer(
  response: ApiserverResponse,
  admitted: AdmittedRequest,
  stream: TunnelStream,
  timing: { readonly verifyMs: number; readonly upstreamMs: number },
): void {
  const { body } = response;
  stream.sendHead({ status: response.status, headers: response.headers, timing });
  stream.listen({
    onData: (_p, _k, consumed) => consumed(),
    onEnd: () => undefined,
    onReset: () => body.destroy(),
    onDrain: () => body.resume(),
  });
  body.on("data", (chunk: Uint8Array) => {
    stream.write(chunk, plain);
    if (stream.queuedCost >= highWaterBytes) body.pause();
  });
  body.on("end", () => stream.end());
  body.on("error", () => stream.reset("TRUNCATED", "the apiserver broke off its answer"));
  admitted.record.end({ status: response.status, reason: "refused upgrade", bytesIn: stream.receivedBytes, bytesOut: stream.sentBytes });
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
