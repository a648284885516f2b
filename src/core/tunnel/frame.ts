/**
 * The tunnel's frames. One binary WebSocket message holds one or more whole frames; text messages are heartbeats.
 *
 *      0        1..3              4        5..7
 *     type u8 | length u24 BE  | flags  | stream u24 BE | payload
 *
 * The decoder is total: any bytes give frames or one reason why not, and nothing is allocated from a length that a peer claims.
 * Types from 0x40 may be ignored by who does not know them; an unknown type below 0x40 is an error. docs/protocol.md has byte vectors.
 */
import {
  frameHeaderBytes,
  maxControlBytes,
  maxDataBytes,
  maxDatagramBytes,
  maxFramesPerMessage,
  maxHeadBytes,
  maxMessageBytes,
} from "./limits.ts";

export type Frame =
  | { readonly type: "hello"; readonly payload: Uint8Array }
  | { readonly type: "open"; readonly stream: number; readonly payload: Uint8Array }
  | { readonly type: "head"; readonly stream: number; readonly payload: Uint8Array }
  | { readonly type: "data"; readonly stream: number; readonly payload: Uint8Array; readonly messageEnd: boolean; readonly text: boolean }
  | { readonly type: "window"; readonly stream: number; readonly credit: number }
  | { readonly type: "end"; readonly stream: number; readonly closeCode: number | undefined; readonly closeReason: string }
  | { readonly type: "reset"; readonly stream: number; readonly code: ResetCode; readonly reason: string }
  | { readonly type: "ping"; readonly payload: Uint8Array }
  | { readonly type: "pong"; readonly payload: Uint8Array }
  | { readonly type: "goaway"; readonly payload: Uint8Array }
  | { readonly type: "datagram"; readonly stream: number; readonly payload: Uint8Array }
  | { readonly type: "status"; readonly payload: Uint8Array }
  | { readonly type: "extend"; readonly stream: number; readonly expiresAtMs: number };

/** Why a stream was reset. The numbers are the wire's. */
export const resetCodes = {
  NO_ERROR: 0,
  PROTOCOL: 1,
  INTERNAL: 2,
  /** The side that opened the stream has gone. */
  CANCEL: 3,
  /** Not processed at all: safe to send again elsewhere. */
  REFUSED: 4,
  FLOW: 5,
  DIAL_TIMEOUT: 6,
  DIAL_FAILED: 7,
  DENIED: 8,
  IDLE: 9,
  DRAINED: 10,
  MIGRATED: 11,
  OVERLOADED: 12,
  TOO_LARGE: 13,
  AGENT_GONE: 14,
  /** The credential that opened the stream has expired or was revoked. */
  EXPIRED: 15,
  /** The upstream broke off in the middle of its answer. */
  TRUNCATED: 16,
} as const;

export type ResetCode = keyof typeof resetCodes;

/** The wire's type numbers. */
export const frameTypes = {
  hello: 0x00,
  open: 0x01,
  head: 0x02,
  data: 0x03,
  window: 0x04,
  end: 0x05,
  reset: 0x06,
  ping: 0x07,
  pong: 0x08,
  goaway: 0x09,
  datagram: 0x0a,
  // 0x0b RESUME and 0x0c ACK are reserved for offset resume.
  status: 0x0d,
  extend: 0x0e,
} as const;

const flagMessageEnd = 0x01;
const flagText = 0x02;
const firstIgnorableType = 0x40;
const maxStreamId = 0xff_ff_ff;

const resetNames: ReadonlyMap<number, ResetCode> = new Map(
  Object.entries(resetCodes).map(([name, number]) => [number, name as ResetCode]), // Object.entries widens the key
);
const typeNames: ReadonlyMap<number, Frame["type"]> = new Map(
  Object.entries(frameTypes).map(([name, number]) => [number, name as Frame["type"]]), // Object.entries widens the key
);

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Where a frame stands in a message, without decoding its payload: all that a switch needs. */
export interface FrameSpan {
  readonly type: number;
  readonly stream: number;
  /** Offset of the header in the message. */
  readonly start: number;
  /** Offset just behind the payload. */
  readonly end: number;
}

export type Spans =
  | { readonly type: "spans"; readonly spans: readonly FrameSpan[] }
  | { readonly type: "invalid"; readonly reason: string };
export type Decoded =
  | { readonly type: "frames"; readonly frames: readonly Frame[] }
  | { readonly type: "invalid"; readonly reason: string };

/** Splits a message into its frames' places; checks lengths, types and stream ids, not payloads. */
export function scanFrames(message: Uint8Array): Spans {
  if (message.length > maxMessageBytes) return invalid(`message of ${message.length} bytes`);
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const spans: FrameSpan[] = [];
  let start = 0;
  while (start < message.length) {
    if (message.length - start < frameHeaderBytes) return invalid("truncated frame header");
    const head = view.getUint32(start);
    const type = head >>> 24;
    const end = start + frameHeaderBytes + (head & 0xff_ff_ff);
    if (end > message.length) return invalid("frame longer than its message");
    const stream = view.getUint32(start + 4) & maxStreamId;
    const fault = spanFault(type, stream, end - start - frameHeaderBytes);
    if (fault !== undefined) return invalid(fault);
    if (type < firstIgnorableType) spans.push({ type, stream, start, end });
    if (spans.length > maxFramesPerMessage) return invalid("too many frames in one message");
    start = end;
  }
  return { type: "spans", spans };
}

/** Decodes all frames of a message. Payloads are views into it. */
export function decodeFrames(message: Uint8Array): Decoded {
  const scanned = scanFrames(message);
  if (scanned.type === "invalid") return scanned;
  const frames: Frame[] = [];
  for (const span of scanned.spans) {
    const frame = decodeSpan(message, span);
    if (typeof frame === "string") return invalid(frame);
    frames.push(frame);
  }
  return { type: "frames", frames };
}

/** Writes a frame's stream id into a message in place, as the switch does between a lane's ids and a link's. */
export function writeStreamId(message: Uint8Array, frameStart: number, stream: number): void {
  message[frameStart + 5] = stream >>> 16;
  message[frameStart + 6] = (stream >>> 8) & 0xff;
  message[frameStart + 7] = stream & 0xff;
}

/** A frame's size on the wire. */
export function frameBytes(frame: Frame): number {
  return frameHeaderBytes + payloadBytes(frame);
}

/** Gives a message's bytes: new ones, or ones that nobody uses any more. */
export type Allocate = (bytes: number) => Uint8Array<ArrayBuffer>;

/** Encodes frames into one message. */
export function encodeFrames(frames: readonly Frame[], allocate: Allocate = allocateNew): Uint8Array<ArrayBuffer> {
  const message = allocate(frames.reduce((sum, frame) => sum + frameBytes(frame), 0));
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  let offset = 0;
  for (const frame of frames) offset = writeFrame(frame, message, view, offset);
  return message;
}

function allocateNew(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

function invalid(reason: string): { readonly type: "invalid"; readonly reason: string } {
  return { type: "invalid", reason };
}

function spanFault(type: number, stream: number, length: number): string | undefined {
  if (type >= firstIgnorableType) return undefined;
  const name = typeNames.get(type);
  if (name === undefined) return `unknown frame type ${type}`;
  if (isConnectionFrame(name) !== (stream === 0)) return `${name} frame on stream ${stream}`;
  return length > payloadLimit(name) ? `${name} payload of ${length} bytes` : undefined;
}

function isConnectionFrame(type: Frame["type"]): boolean {
  return type === "hello" || type === "ping" || type === "pong" || type === "goaway" || type === "status";
}

function payloadLimit(type: Frame["type"]): number {
  switch (type) {
    case "open":
    case "head":
      return maxHeadBytes;
    case "data":
      return maxDataBytes;
    case "datagram":
      return maxDatagramBytes;
    case "hello":
    case "status":
    case "goaway":
    case "end":
    case "reset":
      return maxControlBytes;
    case "window":
      return 4;
    case "ping":
    case "pong":
    case "extend":
      return 8;
  }
}

function decodeSpan(message: Uint8Array, span: FrameSpan): Frame | string {
  const payload = message.subarray(span.start + frameHeaderBytes, span.end);
  const flags = message[span.start + 4] ?? 0;
  const { stream } = span;
  const type = typeNames.get(span.type);
  if (type === undefined) return "unknown frame type";
  switch (type) {
    case "hello":
    case "goaway":
    case "status":
      return { type, payload };
    case "open":
    case "head":
    case "datagram":
      return { type, stream, payload };
    case "data":
      return { type, stream, payload, messageEnd: (flags & flagMessageEnd) !== 0, text: (flags & flagText) !== 0 };
    case "ping":
    case "pong":
      return payload.length === 8 ? { type, payload } : `${type} payload of ${payload.length} bytes`;
    case "window":
    case "extend":
      return decodeNumber(type, stream, payload);
    case "end":
    case "reset":
      return decodeClosing(type, stream, payload);
  }
}

function decodeNumber(type: "window" | "extend", stream: number, payload: Uint8Array): Frame | string {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  if (type === "window") {
    if (payload.length !== 4) return `window payload of ${payload.length} bytes`;
    const credit = view.getUint32(0);
    return credit > 0 ? { type, stream, credit } : "window without credit";
  }
  if (payload.length !== 8) return `extend payload of ${payload.length} bytes`;
  const expiresAtMs = Number(view.getBigUint64(0));
  return Number.isSafeInteger(expiresAtMs) ? { type, stream, expiresAtMs } : "extend beyond any date";
}

function decodeClosing(type: "end" | "reset", stream: number, payload: Uint8Array): Frame | string {
  if (payload.length === 0) {
    return type === "end" ? { type, stream, closeCode: undefined, closeReason: "" } : "reset without a code";
  }
  if (payload.length < 2) return `${type} with half a code`;
  const number = ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
  const reason = decodeText(payload.subarray(2));
  if (reason === undefined) return `${type} reason is not UTF-8`;
  if (type === "end") return { type, stream, closeCode: number, closeReason: reason };
  return { type, stream, code: resetNames.get(number) ?? "INTERNAL", reason };
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined; // not UTF-8: the caller names the frame
  }
}

function payloadBytes(frame: Frame): number {
  switch (frame.type) {
    case "window":
      return 4;
    case "extend":
      return 8;
    case "end":
      return frame.closeCode === undefined ? 0 : 2 + encoder.encode(frame.closeReason).length;
    case "reset":
      return 2 + encoder.encode(frame.reason).length;
    case "hello":
    case "open":
    case "head":
    case "data":
    case "ping":
    case "pong":
    case "goaway":
    case "datagram":
    case "status":
      return frame.payload.length;
  }
}

function writeFrame(frame: Frame, message: Uint8Array, view: DataView, offset: number): number {
  const length = payloadBytes(frame);
  const at = offset + frameHeaderBytes;
  view.setUint32(offset, (frameTypes[frame.type] << 24) | length);
  view.setUint32(offset + 4, ((flagsOf(frame) << 24) | ("stream" in frame ? frame.stream : 0)) >>> 0);
  switch (frame.type) {
    case "window":
      view.setUint32(at, frame.credit);
      break;
    case "extend":
      view.setBigUint64(at, BigInt(frame.expiresAtMs));
      break;
    case "end":
      if (frame.closeCode !== undefined) writeClosing(view, at, frame.closeCode, frame.closeReason);
      break;
    case "reset":
      writeClosing(view, at, resetCodes[frame.code], frame.reason);
      break;
    case "hello":
    case "open":
    case "head":
    case "data":
    case "ping":
    case "pong":
    case "goaway":
    case "datagram":
    case "status":
      message.set(frame.payload, at);
      break;
  }
  return at + length;
}

function flagsOf(frame: Frame): number {
  if (frame.type !== "data") return 0;
  return (frame.messageEnd ? flagMessageEnd : 0) | (frame.text ? flagText : 0);
}

function writeClosing(view: DataView, at: number, code: number, reason: string): void {
  view.setUint16(at, code);
  new Uint8Array(view.buffer, view.byteOffset).set(encoder.encode(reason), at + 2);
}
