/** Types of the two classes of `ws` that its type package leaves out: the frame parser and the frame writer, both exported for this use. */
import type { Duplex, Writable } from "node:stream";
import * as ws from "ws";

export interface ReceiverOptions {
  readonly isServer: boolean;
  readonly maxPayload: number;
  readonly maxFragments: number;
  readonly maxBufferedChunks: number;
}

/** Parses frames that are written to it. Events: message(data, isBinary), ping(data), pong(data), conclude(code, reason), error. */
export type Receiver = Writable;

export interface SendOptions {
  readonly binary: boolean;
  readonly fin: boolean;
  readonly mask: true;
  readonly compress: false;
}

/** Writes frames to a socket; masks copies, never the caller's bytes. */
export interface Sender {
  send(data: Uint8Array, options: SendOptions, written: () => void): void;
  ping(data: Uint8Array, mask: true, written: () => void): void;
  pong(data: Uint8Array, mask: true, written: () => void): void;
  close(code: number | undefined, reason: string, mask: true, written: () => void): void;
}

interface Framing {
  readonly Receiver: new (options: ReceiverOptions) => Receiver;
  readonly Sender: new (socket: Duplex, extensions: undefined, generateMask: ((mask: Uint8Array) => void) | undefined) => Sender;
}

const framing = ws as unknown as Framing; // ws 8 exports both (wrapper.mjs); @types/ws does not declare them

/** A parser of what a server sends. */
export function createReceiver(options: ReceiverOptions): Receiver {
  return new framing.Receiver(options);
}

/** A writer of what a client sends; every frame is masked (RFC 6455 section 5.3). */
export function createSender(socket: Duplex, generateMask: ((mask: Uint8Array) => void) | undefined): Sender {
  return new framing.Sender(socket, undefined, generateMask);
}
