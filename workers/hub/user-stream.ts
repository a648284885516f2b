/**
 * The Worker's end of one user's stream: it opens it, sends the request's bytes as the agent grants credit, and hands over the head
 * and what follows as their reader takes it. The hub between is a switch, so a link that breaks is not the stream's end by design:
 * both ends count bytes.
 */
import { GatewayError } from "#core/errors.ts";
import type { ErrorCode } from "#core/errors.ts";
import { decodeFrames, encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame, ResetCode } from "#core/tunnel/frame.ts";
import { batchBytes, headTimeoutMs } from "#core/tunnel/limits.ts";
import { encodePayload, parseHead } from "#core/tunnel/payload.ts";
import type { HeadPayload, OpenPayload } from "#core/tunnel/payload.ts";
import { StreamEnd } from "#core/tunnel/stream.ts";
import type { StreamEvent } from "#core/tunnel/stream.ts";
import { linkStream } from "#core/tunnel/switchboard.ts";
import type { WindowPool } from "#core/tunnel/window-pool.ts";
import { openExchangeLink, openSocketLink } from "./link.ts";
import type { Link, LinkHandlers } from "./link.ts";
import type { HubStub } from "./stubs.ts";

/** What follows the head. Data must be given back with `consumed` when its reader has taken it. */
export type Content =
  | Extract<StreamEvent, { readonly type: "data" | "datagram" | "end" | "extend" }>
  | { readonly type: "failed"; readonly error: GatewayError; readonly code: ResetCode };

/** Who gets what follows the head. */
export interface ContentListener {
  take(content: Content): void;
  /** All that came together was given. */
  settled?(): void;
}

export interface UserStreamOptions {
  readonly hub: HubStub;
  readonly open: OpenPayload;
  /** The whole request body when it is short and known: the stream then needs no socket. */
  readonly wholeBody: Uint8Array | undefined;
  /** Bounds what the answers of this isolate's streams hold. */
  readonly windows: WindowPool;
}

export class UserStream {
  readonly #end: StreamEnd;
  readonly #options: UserStreamOptions;
  readonly #head = Promise.withResolvers<HeadPayload>();
  #link: Link | undefined;
  #listener: ContentListener | undefined;
  #waiting: Content[] = [];
  #hasHead = false;
  #over = false;
  #onDrain: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(options: UserStreamOptions) {
    this.#options = options;
    this.#end = new StreamEnd({ id: linkStream, receiveBonus: options.open.receiveBonus, pool: options.windows });
  }

  /** What the bytes that wait for the agent's credit cost. */
  get queuedCost(): number {
    return this.#end.queuedCost;
  }

  get queuedPieces(): number {
    return this.#end.queuedPieces;
  }

  /** Datagrams for the cluster that were dropped, because too many waited. */
  get droppedDatagrams(): number {
    return this.#end.droppedDatagrams;
  }

  get sentBytes(): number {
    return this.#end.sentBytes;
  }

  get receivedBytes(): number {
    return this.#end.receivedBytes;
  }

  /** Opens the stream and waits for its head. @throws GatewayError when none comes */
  async open(): Promise<HeadPayload> {
    const { hub, open, wholeBody } = this.#options;
    const opening: Frame = { type: "open", stream: linkStream, payload: encodePayload(open) };
    const handlers: LinkHandlers = { onFrames: (message) => this.#receive(message), onLost: () => this.#lost() };
    this.#timer = setTimeout(() => this.fail("AGENT_TIMEOUT", "the cluster did not answer in time", "IDLE"), headTimeoutMs);
    if (wholeBody === undefined) {
      this.#link = await openSocketLink(hub, open.class, handlers);
      this.#link.send(encodeFrames([opening]));
      this.#flush(); // what was written while the link was being opened
      this.#settle();
    } else {
      if (wholeBody.length > 0) this.#end.queueData(wholeBody, { messageEnd: false, text: false });
      this.#end.queueEnd();
      const exchange = openExchangeLink({
        hub,
        streamClass: open.class,
        first: encodeFrames([opening, ...this.#end.nextFrames(batchBytes)]),
        handlers,
      });
      this.#link = exchange.link;
      await Promise.race([exchange.opened, this.#head.promise]);
      this.#flush();
    }
    if (this.#over) this.#link.close(this.#end.isClosed);
    return this.#head.promise;
  }

  /** Who gets what follows the head. Set it as soon as the head is there. */
  listen(listener: ContentListener): void {
    this.#listener = listener;
    for (const content of this.#waiting.splice(0)) listener.take(content);
    listener.settled?.();
  }

  /** The reader has taken data of this cost. */
  consumed(cost: number): void {
    const grant = this.#end.consumed(cost, Date.now());
    if (grant !== undefined && !this.#over) this.#link?.send(encodeFrames([grant]));
  }

  /** Sends bytes, behind what already waits. */
  write(payload: Uint8Array, kind: { readonly messageEnd: boolean; readonly text: boolean }): void {
    this.#end.queueData(payload, kind);
    this.#flush();
  }

  /** Sends a datagram, whole; the oldest that waits is dropped when too many do. */
  sendDatagram(payload: Uint8Array): void {
    this.#end.queueDatagram(payload);
    this.#flush();
  }

  /** Resolves when nothing waits for credit any more. */
  async drained(): Promise<void> {
    if (this.#end.queuedCost === 0 || this.#over) return;
    await new Promise<void>((resolve) => (this.#onDrain = resolve));
  }

  /** Ends our direction. */
  finish(closeCode?: number, closeReason?: string): void {
    this.#end.queueEnd(closeCode, closeReason);
    this.#flush();
    this.#settle();
  }

  /** The user has gone, or we end the stream: tells the agent, and nobody here. */
  cancel(code: ResetCode = "CANCEL"): void {
    if (this.#over) return;
    const frame = this.#end.reset(code, "");
    if (frame !== undefined) this.#link?.send(encodeFrames([frame]));
    this.#close(true);
  }

  /** Ends the stream with a failure that its reader is told, and tells the agent. */
  fail(error: ErrorCode, message: string, code: ResetCode): void {
    if (this.#over) return;
    const frame = this.#end.reset(code, message);
    if (frame !== undefined) this.#link?.send(encodeFrames([frame]));
    this.#broken(new GatewayError(error, message), code);
  }

  #receive(message: Uint8Array): void {
    const decoded = decodeFrames(message);
    if (decoded.type === "invalid") return this.fail("INTERNAL", "the hub sent broken frames", "PROTOCOL");
    for (const frame of decoded.frames) {
      if (this.#over) return;
      if ("stream" in frame) this.#on(this.#end.receive(frame));
    }
    this.#listener?.settled?.();
    this.#settle();
  }

  #on(event: StreamEvent): void {
    switch (event.type) {
      case "head":
        return this.#onHead(event.payload);
      case "data":
      case "end":
      case "extend":
        return this.#emit(event);
      case "datagram":
        if (this.#options.open.kind === "forward") return this.#emit(event);
        return this.fail("INTERNAL", "the agent broke the protocol: a datagram that belongs to no forward", "PROTOCOL");
      case "writable":
        return this.#flush();
      case "reset":
        return this.#broken(resetError(event.code, event.reason, this.#hasHead), event.code);
      case "violation":
        return this.fail("INTERNAL", `the agent broke the protocol: ${event.reason}`, event.code);
      case "ignored":
        return;
    }
  }

  #onHead(payload: Uint8Array): void {
    const head = parseHead(payload);
    if (this.#hasHead) return this.fail("INTERNAL", "the agent sent a second head", "PROTOCOL");
    if (head.type === "invalid") return this.fail("INTERNAL", `the agent's head: ${head.reason}`, "PROTOCOL");
    this.#hasHead = true;
    clearTimeout(this.#timer);
    this.#head.resolve(head.payload);
  }

  #emit(content: Content): void {
    if (this.#listener === undefined) this.#waiting.push(content);
    else this.#listener.take(content);
  }

  #flush(): void {
    if (this.#over || this.#link === undefined) return;
    for (let frames = this.#end.nextFrames(batchBytes); frames.length > 0; frames = this.#end.nextFrames(batchBytes))
      this.#link.send(encodeFrames(frames));
    if (this.#end.queuedCost === 0) this.#wakeWriter();
  }

  /** The link is gone when both directions have ended. */
  #settle(): void {
    if (!this.#over && this.#end.isClosed && this.#hasHead) this.#close(true);
  }

  #lost(): void {
    if (!this.#over) this.#broken(resetError("AGENT_GONE", "", this.#hasHead), "AGENT_GONE");
  }

  #broken(error: GatewayError, code: ResetCode): void {
    this.#close(true);
    if (!this.#hasHead) return this.#head.reject(error);
    this.#emit({ type: "failed", error, code });
    this.#listener?.settled?.();
  }

  #close(inOrder: boolean): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#wakeWriter();
    this.#link?.close(inOrder);
  }

  #wakeWriter(): void {
    this.#onDrain?.();
    this.#onDrain = undefined;
  }
}

function resetError(code: ResetCode, reason: string, hasHead: boolean): GatewayError {
  const detail = reason === "" ? "" : `: ${reason}`;
  switch (code) {
    case "REFUSED":
    case "OVERLOADED":
    case "DRAINED":
    case "MIGRATED":
      return new GatewayError("OVERLOADED", `the agent did not take the request${detail}`);
    case "DIAL_FAILED":
    case "DIAL_TIMEOUT":
      return new GatewayError("UPSTREAM_UNREACHABLE", `the agent could not reach the target${detail}`);
    case "DENIED":
      return new GatewayError("POLICY_DENIED", `the agent denied the request${detail}`);
    case "EXPIRED":
      return new GatewayError("SESSION_ENDED", "the credential that opened this stream has ended");
    case "TOO_LARGE":
      return new GatewayError("TOO_LARGE", `the message is too large${detail}`);
    case "AGENT_GONE":
    case "TRUNCATED":
    case "IDLE":
      return new GatewayError("AGENT_GONE", `the connection to the cluster was lost ${hasHead ? "during" : "before"} the answer${detail}`);
    case "NO_ERROR":
    case "PROTOCOL":
    case "INTERNAL":
    case "CANCEL":
    case "FLOW":
      return new GatewayError("INTERNAL", `the agent ended the stream${detail}`);
  }
}
