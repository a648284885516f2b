/**
 * One outbound WebSocket of this replica. It proves who it is, carries streams, and answers for its own liveness: heartbeats go out
 * as text, which the far side's runtime answers without waking anything, and silence closes the lane.
 */
import { WebSocket } from "ws";
import { encodeFrames } from "#core/tunnel/frame.ts";
import { heartbeatRequest, offeredProtocols, tunnelVersions } from "#core/tunnel/handshake.ts";
import {
  batchBytes,
  handshakeMs,
  heartbeatMs,
  interactiveBatchBytes,
  laneBufferBytes,
  laneCheckMs,
  laneDeadMs,
  maxMessageBytes,
} from "#core/tunnel/limits.ts";
import { Multiplexer } from "#core/tunnel/multiplexer.ts";
import type { LaneEvent } from "#core/tunnel/multiplexer.ts";
import { encodePayload, joinStatement, parseEdgeHello, parseOpen } from "#core/tunnel/payload.ts";
import type { OpenPayload } from "#core/tunnel/payload.ts";
import type { StreamEnd } from "#core/tunnel/stream.ts";
import { BurstGate } from "./burst-gate.ts";
import { MessageBuffers } from "./message-buffers.ts";
import { highWaterBytes, TunnelStream } from "./tunnel-stream.ts";
import type { LaneHooks } from "./tunnel-stream.ts";

/** Who joins, and how it proves it. */
export interface JoinIdentity {
  readonly cluster: string;
  /** The pod's UID. */
  readonly replica: string;
  readonly node: string;
  readonly build: string;
  /** The cluster's public key: `x` of its Ed25519 JWK. */
  readonly publicKey: string;
  readonly sign: (statement: Uint8Array) => Promise<Uint8Array>;
}

/** Where and how a lane connects. */
export interface LaneTarget {
  /** `wss://…/tunnel/<cluster>`. */
  readonly url: string;
  /** PEM certificates to trust instead of the system's. */
  readonly certificateAuthority: string | undefined;
  /** The projected ServiceAccount token, read anew for each connection. */
  readonly joinToken: () => Promise<string>;
}

export type LaneKind = "interactive" | "bulk";

/** How a lane ended. */
export type LaneEnd =
  | { readonly type: "refused"; readonly reason: string }
  | { readonly type: "closed"; readonly reason: string; readonly code: number };

export interface LaneOptions {
  readonly kind: LaneKind;
  readonly target: LaneTarget;
  readonly identity: JoinIdentity;
  /** Handles a stream that a user opened. */
  readonly onStream: (open: OpenPayload, stream: TunnelStream) => void;
  readonly onJoined: () => void;
  readonly onEnd: (end: LaneEnd) => void;
}

/** Its bytes mean nothing: one is under way at a time. */
const ping = encodeFrames([{ type: "ping", payload: new Uint8Array(8) }]);

export class Lane {
  readonly #options: LaneOptions;
  readonly #multiplexer: Multiplexer;
  readonly #buffers: MessageBuffers;
  readonly #gate = new BurstGate();
  readonly #streams = new Map<StreamEnd, TunnelStream>();
  /** Streams with bytes that wait, and streams that may be over once what is queued was sent: so that no flush walks all streams. */
  readonly #waiting = new Set<TunnelStream>();
  readonly #ending = new Set<StreamEnd>();
  readonly #hooks: LaneHooks = {
    flush: () => this.#schedule(),
    waiting: (stream) => this.#waiting.add(stream),
    ending: (end) => this.#ending.add(end),
  };
  readonly #socket: WebSocket;
  #isJoined = false;
  #flushScheduled = false;
  #lastHeardMs = performance.now();
  #refusal: string | undefined;
  #isDraining = false;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #check: NodeJS.Timeout;

  /** @param token the join token for this connection */
  constructor(options: LaneOptions, token: string) {
    this.#options = options;
    const batch = options.kind === "bulk" ? batchBytes : interactiveBatchBytes;
    this.#buffers = new MessageBuffers(2 * batch);
    this.#multiplexer = new Multiplexer({ role: "agent", batchBytes: batch, allocate: (bytes) => this.#buffers.take(bytes) });
    const { certificateAuthority, url } = options.target;
    this.#socket = new WebSocket(url, [...offeredProtocols()], {
      perMessageDeflate: false,
      maxPayload: maxMessageBytes,
      followRedirects: false,
      handshakeTimeout: handshakeMs,
      headers: { authorization: `Bearer ${token}` },
      ...(certificateAuthority !== undefined && { ca: certificateAuthority }),
    });
    this.#wire();
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs);
    this.#check = setInterval(() => this.#endWhenSilent(), laneCheckMs);
  }

  get streamCount(): number {
    return this.#multiplexer.streamCount;
  }

  get isJoined(): boolean {
    return this.#isJoined;
  }

  /** Sends this replica's state. */
  report(state: Readonly<Record<string, unknown>>): void {
    if (!this.#isJoined) return;
    this.#multiplexer.control({ type: "status", payload: encodePayload(state) });
    this.#schedule();
  }

  /** Asks for no new streams and closes when the running ones are over. */
  drain(reason: string): void {
    this.#isDraining = true;
    this.#multiplexer.control({ type: "goaway", payload: encodePayload({ reason }) });
    this.#flush();
    this.#closeWhenDrained();
  }

  /** Closes now; streams are lost. */
  close(): void {
    this.#socket.close(1001, "agent stops");
  }

  #wire(): void {
    const socket = this.#socket;
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      this.#lastHeardMs = performance.now();
      if (isBinary) this.#receive(data);
    });
    socket.on("unexpected-response", (_request, response) => {
      this.#refusal = `the gateway answered ${response.statusCode} ${response.headers["warning"] ?? ""}`.trim();
      response.destroy();
      socket.terminate();
    });
    socket.on("error", (error) => {
      this.#refusal ??= error.message;
    });
    socket.on("close", (code, reason) => this.#ended(code, reason.toString("utf8")));
  }

  #ended(code: number, reason: string): void {
    clearInterval(this.#heartbeat);
    clearInterval(this.#check);
    for (const stream of this.#streams.values()) stream.dispatch({ type: "reset", code: "AGENT_GONE", reason: "the lane closed" });
    this.#streams.clear();
    const refused = code === 4403 || (!this.#isJoined && this.#refusal !== undefined);
    this.#options.onEnd(
      refused
        ? { type: "refused", reason: reason === "" ? (this.#refusal ?? "") : reason }
        : { type: "closed", reason: reason === "" ? (this.#refusal ?? "") : reason, code },
    );
  }

  #beat(): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(heartbeatRequest);
  }

  #endWhenSilent(): void {
    if (performance.now() - this.#lastHeardMs <= laneDeadMs) return;
    this.#refusal = "no heartbeat was answered";
    this.#socket.terminate();
  }

  #receive(message: Buffer): void {
    const events = this.#multiplexer.receive(message);
    for (const event of events) this.#on(event);
    // Behind all of the message: a stream whose end stands in it is closed by now, and what stands before its end must still be handed over.
    for (const event of events) if (event.type === "stream" && event.stream.isClosed) this.#release(event.stream);
    this.#schedule();
  }

  #on(event: LaneEvent): void {
    switch (event.type) {
      case "hello":
        void this.#join(event.payload);
        return;
      case "status":
        if (!this.#isJoined) {
          this.#isJoined = true;
          this.#gate.ask(performance.now());
          this.#socket.send(ping);
          this.#options.onJoined();
        }
        return;
      case "open":
        this.#open(event.stream, event.payload);
        return;
      case "stream":
        this.#streams.get(event.stream)?.dispatch(event.event);
        return;
      case "violation":
        this.#refusal = event.reason;
        this.#socket.close(1002, event.reason.slice(0, 100));
        return;
      case "pong":
        this.#gate.answered(performance.now());
        return;
      case "goaway":
        return;
    }
  }

  async #join(payload: Uint8Array): Promise<void> {
    const { identity, kind } = this.#options;
    const hello = parseEdgeHello(payload);
    if (hello.type === "invalid" || !tunnelVersions.some((version) => version === hello.payload.version)) {
      this.#socket.close(1002, "no usable HELLO");
      return;
    }
    const claims = { cluster: identity.cluster, replica: identity.replica, lane: kind };
    const signature = Buffer.from(await identity.sign(joinStatement(claims, hello.payload.nonce))).toString("base64url");
    this.#multiplexer.control({
      type: "hello",
      payload: encodePayload({
        ...claims,
        version: hello.payload.version,
        build: identity.build,
        node: identity.node,
        key: identity.publicKey,
        signature,
      }),
    });
    this.#flush();
  }

  #open(end: StreamEnd, payload: Uint8Array): void {
    const open = parseOpen(payload);
    if (open.type === "invalid" || this.#isDraining) {
      const code = open.type === "invalid" ? "PROTOCOL" : "REFUSED";
      this.#multiplexer.reset(end, code, open.type === "invalid" ? open.reason : "the agent is stopping");
      return;
    }
    if (open.payload.receiveBonus > 0) end.receive({ type: "window", stream: end.id, credit: open.payload.receiveBonus });
    const stream = new TunnelStream(end, this.#multiplexer, this.#hooks);
    this.#streams.set(end, stream);
    this.#options.onStream(open.payload, stream);
  }

  /** Sends at the end of this turn of the event loop, so that what belongs together goes in one message. */
  #schedule(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(() => {
      this.#flushScheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const socket = this.#socket;
    if (socket.readyState !== WebSocket.OPEN) return;
    while (this.#gate.isOpen && socket.bufferedAmount < laneBufferBytes) {
      const message = this.#multiplexer.nextMessage();
      if (message === undefined) break;
      socket.send(message, () => {
        this.#buffers.give(message);
        this.#afterSend();
      });
      if (this.#gate.sent(message.length, performance.now())) socket.send(ping);
    }
    for (const end of this.#ending) if (end.isClosed) this.#release(end);
  }

  readonly #afterSend = (): void => {
    this.#schedule();
    for (const stream of this.#waiting) {
      if (stream.queuedCost > highWaterBytes / 2) continue;
      this.#waiting.delete(stream);
      stream.drained();
    }
  };

  #release(end: StreamEnd): void {
    this.#multiplexer.release(end);
    this.#streams.delete(end);
    this.#ending.delete(end);
    this.#closeWhenDrained();
  }

  #closeWhenDrained(): void {
    if (this.#isDraining && this.#multiplexer.streamCount === 0) this.#socket.close(1000, "drained");
  }
}
