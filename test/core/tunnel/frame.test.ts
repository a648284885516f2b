import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeFrames, encodeFrames, frameTypes, resetCodes, scanFrames, writeStreamId } from "#core/tunnel/frame.ts";
import type { Frame } from "#core/tunnel/frame.ts";
import { maxControlBytes, maxDataBytes, maxMessageBytes } from "#core/tunnel/limits.ts";
import { arbitraryFrame } from "./arbitrary-frame.ts";

const bytes = (...values: number[]) => new Uint8Array(values);

describe("the frame codec", () => {
  test("decodes what it encodes, many frames to a message", () => {
    fc.assert(
      fc.property(fc.array(arbitraryFrame(), { maxLength: 20 }), (frames) => {
        expect(decodeFrames(encodeFrames(frames))).toEqual({ type: "frames", frames });
      }),
      { numRuns: 300 },
    );
  });

  test("gives frames or one reason for any bytes, and never throws", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (message) => {
        expect(["frames", "invalid"]).toContain(decodeFrames(message).type);
      }),
      { numRuns: 5000 },
    );
  });

  test("survives any change of one byte of a valid message", () => {
    fc.assert(
      fc.property(
        fc.array(arbitraryFrame(), { minLength: 1, maxLength: 5 }),
        fc.nat(),
        fc.integer({ min: 0, max: 255 }),
        (frames, place, value) => {
          const message = encodeFrames(frames);
          message[place % message.length] = value;
          expect(["frames", "invalid"]).toContain(decodeFrames(message).type);
        },
      ),
      { numRuns: 2000 },
    );
  });

  const refused: readonly [string, Uint8Array][] = [
    ["half a header", bytes(3, 0, 0)],
    ["a length beyond the message", bytes(3, 0xff, 0xff, 0xff, 0, 0, 0, 1)],
    ["an unknown type below 0x40", bytes(0x3f, 0, 0, 0, 0, 0, 0, 1)],
    ["DATA on stream 0", bytes(3, 0, 0, 0, 0, 0, 0, 0)],
    ["HELLO on a stream", bytes(0, 0, 0, 0, 0, 0, 0, 1)],
    ["WINDOW without credit", bytes(4, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0)],
    ["WINDOW of three bytes", bytes(4, 0, 0, 3, 0, 0, 0, 1, 0, 0, 1)],
    ["PING of seven bytes", bytes(7, 0, 0, 7, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7)],
    ["RST without a code", bytes(6, 0, 0, 0, 0, 0, 0, 1)],
    ["END with half a code", bytes(5, 0, 0, 1, 0, 0, 0, 1, 3)],
    ["a reason that is not UTF-8", bytes(6, 0, 0, 3, 0, 0, 0, 1, 0, 1, 0xff)],
    ["EXTEND beyond any date", bytes(0x0e, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)],
    ["a message over 1 MiB", new Uint8Array(maxMessageBytes + 1)],
  ];
  test.each(refused)("refuses %s", (_name, message) => {
    expect(decodeFrames(message).type).toBe("invalid");
  });

  test("refuses payloads over their type's limit", () => {
    const tooMuchData: Frame = { type: "data", stream: 1, payload: new Uint8Array(maxDataBytes + 1), messageEnd: false, text: false };
    const tooMuchStatus: Frame = { type: "status", payload: new Uint8Array(maxControlBytes + 1) };
    expect(decodeFrames(encodeFrames([tooMuchData])).type).toBe("invalid");
    expect(decodeFrames(encodeFrames([tooMuchStatus])).type).toBe("invalid");
  });

  test("passes over unknown types from 0x40, so that later versions can add them", () => {
    const unknown = bytes(0x40, 0, 0, 2, 0, 0, 0, 9, 1, 2);
    const ping = encodeFrames([{ type: "ping", payload: new Uint8Array(8) }]);
    const message = new Uint8Array([...unknown, ...ping]);
    expect(decodeFrames(message)).toEqual({ type: "frames", frames: [{ type: "ping", payload: new Uint8Array(8) }] });
  });

  test("takes an unknown reset code for INTERNAL", () => {
    const message = bytes(6, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xfe);
    expect(decodeFrames(message)).toEqual({ type: "frames", frames: [{ type: "reset", stream: 1, code: "INTERNAL", reason: "" }] });
  });

  test("refuses a message with more frames than any real one has", () => {
    const empty: Frame = { type: "data", stream: 1, payload: new Uint8Array(0), messageEnd: false, text: false };
    expect(decodeFrames(encodeFrames(Array.from({ length: 16_385 }, () => empty))).type).toBe("invalid");
  });
});

describe("scanning for the switch", () => {
  test("finds each frame's place, and a stream id can be changed in place", () => {
    const message = encodeFrames([
      { type: "data", stream: 5, payload: bytes(1, 2, 3), messageEnd: true, text: false },
      { type: "window", stream: 0xab_cd_ef, credit: 7 },
    ]);
    const scanned = scanFrames(message);
    expect(scanned).toEqual({
      type: "spans",
      spans: [
        { type: frameTypes.data, stream: 5, start: 0, end: 11 },
        { type: frameTypes.window, stream: 0xab_cd_ef, start: 11, end: 23 },
      ],
    });
    writeStreamId(message, 0, 0x01_02_03);
    expect(decodeFrames(message)).toMatchObject({ frames: [{ stream: 0x01_02_03, messageEnd: true }, { stream: 0xab_cd_ef }] });
  });
});

test("the wire's reset codes are all different", () => {
  expect(new Set(Object.values(resetCodes)).size).toBe(Object.keys(resetCodes).length);
});
