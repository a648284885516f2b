import { expect, test } from "vitest";
import { decodeFrames, frameTypes, scanFrames } from "#core/tunnel/frame.ts";
import { maxMessageBytes } from "#core/tunnel/limits.ts";

const bytes = (...values: readonly number[]) => new Uint8Array(values);

test.each<readonly [string, Uint8Array, RegExp]>([
  ["is larger than any may be", new Uint8Array(maxMessageBytes + 8), /^message of \d+ bytes$/],
  ["holds a frame that ends behind it", bytes(frameTypes.data, 0, 0, 2, 0, 0, 0, 1, 9), /longer than its message/],
  ["ends inside a header", bytes(frameTypes.data, 0, 0), /truncated/],
  ["holds an unknown type", bytes(0x3f, 0, 0, 0, 0, 0, 0, 0), /unknown frame type 63/],
  ["holds data on the connection's own stream", bytes(frameTypes.data, 0, 0, 0, 0, 0, 0, 0), /data frame on stream 0/],
])("a message that %s is refused with the reason, by the switch and by the ends", (_name, message, reason) => {
  expect(scanFrames(message)).toEqual({ type: "invalid", reason: expect.stringMatching(reason) });
  expect(decodeFrames(message)).toEqual({ type: "invalid", reason: expect.stringMatching(reason) });
});
