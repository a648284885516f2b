/** SPDY/3.1 frames (SPDY protocol draft 3.1), the subset that port-forward uses; bytes in, frames out, and back. */
import { maxSpdyFrameBytes } from "#sandbox/limits.ts";

/** A frame. Header blocks are still compressed. */
export type SpdyFrame =
  | { readonly type: "data"; readonly streamId: number; readonly fin: boolean; readonly payload: Buffer }
  | { readonly type: "goAway"; readonly lastStreamId: number }
  | { readonly type: "ignored"; readonly control: number }
  | { readonly type: "ping"; readonly id: number }
  | { readonly type: "reset"; readonly streamId: number; readonly code: number }
  | { readonly type: "synReply"; readonly streamId: number; readonly fin: boolean; readonly headers: Buffer }
  | { readonly type: "synStream"; readonly streamId: number; readonly fin: boolean; readonly headers: Buffer };

/** A frame, not enough bytes yet, or bytes that are no SPDY/3. */
export type FrameRead =
  | { readonly type: "frame"; readonly frame: SpdyFrame; readonly size: number }
  | { readonly type: "incomplete" }
  | { readonly type: "invalid"; readonly why: string };

const headBytes = 8;
const finFlag = 1;
const version = 3;
const control = { synStream: 1, synReply: 2, reset: 3, ping: 6, goAway: 7 } as const;

/** Reads the first frame of a buffer. */
export function readSpdyFrame(bytes: Buffer): FrameRead {
  if (bytes.length < headBytes) return { type: "incomplete" };
  const flags = bytes.readUInt8(4);
  const length = bytes.readUIntBE(5, 3);
  const size = headBytes + length;
  const isControl = (bytes.readUInt8(0) & 0x80) !== 0;
  if (isControl && (bytes.readUInt16BE(0) & 0x7fff) !== version) return { type: "invalid", why: "a control frame of another SPDY version" };
  if (length > maxSpdyFrameBytes && isControl) return { type: "invalid", why: "a control frame that is too long" };
  if (bytes.length < size) return { type: "incomplete" };
  const payload = bytes.subarray(headBytes, size);
  const fin = (flags & finFlag) !== 0;
  if (!isControl) return { type: "frame", size, frame: { type: "data", streamId: bytes.readUInt32BE(0), fin, payload } };
  return readControl(bytes.readUInt16BE(2), { fin, payload, size });
}

/** Writes a frame. */
export function writeSpdyFrame(frame: Exclude<SpdyFrame, { type: "ignored" }>): Buffer {
  switch (frame.type) {
    case "data": {
      const head = Buffer.alloc(headBytes);
      head.writeUInt32BE(frame.streamId);
      head.writeUInt8(frame.fin ? finFlag : 0, 4);
      head.writeUIntBE(frame.payload.length, 5, 3);
      return Buffer.concat([head, frame.payload]);
    }
    case "synStream":
      return controlFrame(control.synStream, frame.fin, [uint32(frame.streamId), uint32(0), Buffer.from([0, 0]), frame.headers]);
    case "synReply":
      return controlFrame(control.synReply, frame.fin, [uint32(frame.streamId), frame.headers]);
    case "reset":
      return controlFrame(control.reset, false, [uint32(frame.streamId), uint32(frame.code)]);
    case "ping":
      return controlFrame(control.ping, false, [uint32(frame.id)]);
    case "goAway":
      return controlFrame(control.goAway, false, [uint32(frame.lastStreamId), uint32(0)]);
  }
}

function readControl(
  type: number,
  { fin, payload, size }: { readonly fin: boolean; readonly payload: Buffer; readonly size: number },
): FrameRead {
  const shortest: Readonly<Record<number, number>> = {
    [control.synStream]: 10,
    [control.synReply]: 4,
    [control.reset]: 8,
    [control.ping]: 4,
    [control.goAway]: 4,
  };
  if (payload.length < (shortest[type] ?? 0)) return { type: "invalid", why: "a control frame that is too short" };
  const first = payload.length >= 4 ? payload.readUInt32BE(0) & 0x7fff_ffff : 0;
  const found = (frame: SpdyFrame): FrameRead => ({ type: "frame", size, frame });
  switch (type) {
    case control.synStream:
      return found({ type: "synStream", streamId: first, fin, headers: payload.subarray(10) });
    case control.synReply:
      return found({ type: "synReply", streamId: first, fin, headers: payload.subarray(4) });
    case control.reset:
      return found({ type: "reset", streamId: first, code: payload.readUInt32BE(4) });
    case control.ping:
      return found({ type: "ping", id: payload.readUInt32BE(0) });
    case control.goAway:
      return found({ type: "goAway", lastStreamId: first });
    default:
      return found({ type: "ignored", control: type });
  }
}

function controlFrame(type: number, fin: boolean, parts: readonly Buffer[]): Buffer {
  const payload = Buffer.concat(parts);
  const head = Buffer.alloc(headBytes);
  head.writeUInt16BE(0x8000 | version);
  head.writeUInt16BE(type, 2);
  head.writeUInt8(fin ? finFlag : 0, 4);
  head.writeUIntBE(payload.length, 5, 3);
  return Buffer.concat([head, payload]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
