import { describe, expect, it } from "vitest";
import { SpdyEnding } from "#cli/proxy/spdy-ending.ts";

/** A control frame, then data of three bytes, then data of none. */
const frames = Buffer.from("8003000200000008000000010000000000000003000000036162630000000301000000", "hex");
const ends = [0, 16, 27, 35];
const reason = "SESSION_ENDED: the credential that opened this stream has ended. Sign in again.";

function payloadOf(frame: Buffer | undefined): string {
  expect(frame?.subarray(0, 5)).toEqual(Buffer.from([0, 0, 0, 1, 1]));
  expect(frame?.readUIntBE(5, 3)).toBe((frame?.length ?? 0) - 8);
  return frame?.subarray(8).toString() ?? "";
}

describe("a command's SPDY connection that ends before its time", () => {
  it("fails between frames only, however they came", () => {
    for (let length = 0; length <= frames.length; length += 1) {
      for (const size of [1, 3, 7, 64]) {
        const ending = new SpdyEnding("v4.channel.k8s.io");
        for (let at = 0; at < length; at += size) ending.pass(frames.subarray(at, Math.min(length, at + size)));
        expect([length, ending.failure(reason) !== undefined]).toEqual([length, ends.includes(length)]);
      }
    }
  });

  it.each(["v4.channel.k8s.io", "v5.channel.k8s.io"])("says a Status in %s", (version) => {
    expect(JSON.parse(payloadOf(new SpdyEnding(version).failure(reason)))).toMatchObject({
      ...{ kind: "Status", status: "Failure", code: 401 },
      details: { causes: [{ reason: "SESSION_ENDED", message: "the credential that opened this stream has ended" }] },
    });
  });

  it.each(["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io", ""])("says a text in %j", (version) => {
    expect(payloadOf(new SpdyEnding(version).failure(reason))).toMatch(
      /^SESSION_ENDED: the credential that opened this stream has ended\. /,
    );
  });

  it.each(["", "whatever", "NO_SUCH_CODE: x.", "toString: x."])("was lost, where nobody says why: %j", (text) => {
    expect(payloadOf(new SpdyEnding("").failure(text))).toMatch(/^AGENT_GONE: the connection through the gateway was lost\. /);
  });
});
