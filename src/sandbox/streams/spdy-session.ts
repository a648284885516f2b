/** The server's end of a SPDY/3.1 connection: streams that clients open, each with two directions that end one by one. */
import { maxSpdyStreams } from "#sandbox/limits.ts";
import { readSpdyFrame, writeSpdyFrame } from "./spdy-frame.ts";
import type { SpdyFrame } from "./spdy-frame.ts";
import { HeaderReader, HeaderWriter } from "./spdy-headers.ts";
import type { SpdyHeaders } from "./spdy-headers.ts";

/** A stream that the client has opened. */
export interface SpdyStream {
  readonly id: number;
  readonly headers: SpdyHeaders;
  /** Sends bytes; `fin` ends this direction. */
  send(payload: Buffer, fin?: "fin"): void;
  /** Ends both directions at once. */
  reset(): void;
}

/** What the owner of a session hears. */
export interface SpdyListener {
  /** A stream was opened; false refuses it. */
  opened(stream: SpdyStream): boolean;
  data(streamId: number, payload: Buffer): void;
  /** The client has ended its direction. */
  ended(streamId: number): void;
  /** The stream is gone. */
  closed(streamId: number): void;
}

/** How the client broke the protocol; the connection is to be closed. */
export interface ProtocolError {
  readonly why: string;
}

const resetCodes = { refused: 3, cancel: 5 } as const;

/** Frames in, calls and frames out. */
export class SpdySession {
  readonly #write: (bytes: Buffer) => void;
  readonly #listener: SpdyListener;
  readonly #reader = new HeaderReader();
  readonly #writer = new HeaderWriter();
  readonly #open = new Map<number, { clientEnded: boolean; serverEnded: boolean }>();
  #pieces: Buffer[] = [];
  #lastStreamId = 0;

  constructor(write: (bytes: Buffer) => void, listener: SpdyListener) {
    this.#write = write;
    this.#listener = listener;
  }

  /** Takes bytes in their order; calls must not overlap. A result means that the client broke the protocol. */
  async take(bytes: Buffer): Promise<ProtocolError | undefined> {
    this.#pieces.push(bytes);
    let buffered = Buffer.concat(this.#pieces);
    for (;;) {
      const read = readSpdyFrame(buffered);
      if (read.type === "invalid") return { why: read.why };
      if (read.type === "incomplete") break;
      buffered = buffered.subarray(read.size);
      const error = await this.#frame(read.frame);
      if (error !== undefined) return error;
    }
    this.#pieces = buffered.length === 0 ? [] : [buffered];
    return undefined;
  }

  /** The connection is gone. */
  close(): void {
    this.#reader.close();
    this.#writer.close();
    for (const id of this.#open.keys()) this.#listener.closed(id);
    this.#open.clear();
  }

  async #frame(frame: SpdyFrame): Promise<ProtocolError | undefined> {
    switch (frame.type) {
      case "synStream":
        return this.#opened(frame);
      case "data":
        this.#data(frame);
        return undefined;
      case "reset":
        if (this.#open.delete(frame.streamId)) this.#listener.closed(frame.streamId);
        return undefined;
      case "ping":
        if (frame.id % 2 === 1) this.#write(writeSpdyFrame(frame)); // odd: the client's own
        return undefined;
      case "goAway":
      case "ignored":
      case "synReply":
        return undefined;
    }
  }

  async #opened(frame: Extract<SpdyFrame, { type: "synStream" }>): Promise<ProtocolError | undefined> {
    const headers = await this.#reader.read(frame.headers);
    if (headers === undefined) return { why: "a header block that cannot be read" };
    const id = frame.streamId;
    if (id % 2 === 0 || id <= this.#lastStreamId) return { why: "a stream id that is even or not new" };
    this.#lastStreamId = id;
    const stream = { id, headers, send: (payload: Buffer, fin?: "fin") => this.#send(id, payload, fin), reset: () => this.#reset(id) };
    if (this.#open.size >= maxSpdyStreams) {
      this.#write(writeSpdyFrame({ type: "reset", streamId: id, code: resetCodes.refused }));
      return undefined;
    }
    this.#open.set(id, { clientEnded: false, serverEnded: false });
    this.#write(writeSpdyFrame({ type: "synReply", streamId: id, fin: false, headers: await this.#writer.write({}) }));
    if (!this.#listener.opened(stream)) this.#reset(id);
    else if (frame.fin) this.#clientEnded(id);
    return undefined;
  }

  #data(frame: Extract<SpdyFrame, { type: "data" }>): void {
    const state = this.#open.get(frame.streamId);
    if (state === undefined || state.clientEnded) return; // a stream that we have reset: its data may still be on the way
    if (frame.payload.length > 0) this.#listener.data(frame.streamId, frame.payload);
    if (frame.fin) this.#clientEnded(frame.streamId);
  }

  #clientEnded(id: number): void {
    const state = this.#open.get(id);
    if (state === undefined) return;
    state.clientEnded = true;
    this.#listener.ended(id);
    this.#finishIfDone(id);
  }

  #send(id: number, payload: Buffer, fin: "fin" | undefined): void {
    const state = this.#open.get(id);
    if (state === undefined || state.serverEnded) return;
    this.#write(writeSpdyFrame({ type: "data", streamId: id, fin: fin !== undefined, payload }));
    state.serverEnded = fin !== undefined;
    this.#finishIfDone(id);
  }

  #reset(id: number): void {
    if (!this.#open.delete(id)) return;
    this.#write(writeSpdyFrame({ type: "reset", streamId: id, code: resetCodes.cancel }));
    this.#listener.closed(id);
  }

  #finishIfDone(id: number): void {
    const state = this.#open.get(id);
    if (state === undefined || !state.clientEnded || !state.serverEnded) return;
    this.#open.delete(id);
    this.#listener.closed(id);
  }
}
