import { describe, expect, test } from "vitest";
import { decodeFrames, encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame } from "#core/tunnel/frame.ts";
import { linkStream, Switchboard } from "#core/tunnel/switchboard.ts";

const none = new Uint8Array(0);
const data = (stream: number, ...bytes: number[]): Frame => ({
  type: "data",
  stream,
  payload: new Uint8Array(bytes),
  messageEnd: false,
  text: false,
});

function board() {
  const table = new Switchboard<string, string>();
  table.addLane("lane");
  return table;
}

describe("the switchboard", () => {
  test("gives each link an id of its lane and carries frames both ways under the right ids", () => {
    const table = board();
    table.join("lane", "a");
    table.join("lane", "b");
    const message = encodeFrames([data(linkStream, 7)]);
    expect(table.fromLink("b", message)).toMatchObject({ circuit: { lane: "lane", id: 2 }, closed: false });
    expect(decodeFrames(message)).toMatchObject({ frames: [{ stream: 2 }] });
    const [delivery] = table.fromLane("lane", encodeFrames([data(2, 1), data(2, 2)]));
    expect(delivery).toMatchObject({ type: "link", link: "b", ended: false, closed: false });
    expect(delivery?.type === "link" && decodeFrames(delivery.bytes)).toMatchObject({
      frames: [{ stream: linkStream }, { stream: linkStream }],
    });
  });

  test("never gives one link's frames to another, in any order of frames", () => {
    const table = board();
    for (const link of ["a", "b", "c"]) table.join("lane", link);
    const order = [3, 1, 1, 2, 3, 3, 2, 1];
    const deliveries = table.fromLane("lane", encodeFrames(order.map((stream) => data(stream, stream))));
    const got = deliveries.flatMap((delivery) => {
      if (delivery.type !== "link") throw new Error(delivery.type);
      const decoded = decodeFrames(delivery.bytes.slice());
      return decoded.type === "frames" ? decoded.frames.map((frame) => [delivery.link, "payload" in frame && frame.payload[0]]) : [];
    });
    expect(got).toEqual(order.map((stream) => [["a", "b", "c"][stream - 1], stream]));
  });

  test("says when the agent's direction ends, and forgets a circuit that was reset", () => {
    const table = board();
    table.join("lane", "a");
    const end: Frame = { type: "end", stream: 1, closeCode: undefined, closeReason: "" };
    const reset: Frame = { type: "reset", stream: 1, code: "INTERNAL", reason: "" };
    expect(table.fromLane("lane", encodeFrames([end]))).toMatchObject([{ ended: true, closed: false }]);
    expect(table.fromLane("lane", encodeFrames([reset]))).toMatchObject([{ closed: true }]);
    expect(table.circuitOf("a")).toBeUndefined();
  });

  test("drops frames that crossed a link's end, and keeps the rest of the message", () => {
    const table = board();
    table.join("lane", "a");
    table.join("lane", "b");
    table.part("a");
    expect(table.fromLane("lane", encodeFrames([data(1, 1), data(2, 2)]))).toMatchObject([{ type: "link", link: "b" }]);
  });

  const hostile: readonly [string, Frame][] = [
    ["opens a stream", { type: "open", stream: 1, payload: none }],
    ["sends for a stream that was never opened", data(99, 1)],
  ];
  test.each(hostile)("reports a lane that %s", (_name, frame) => {
    const table = board();
    table.join("lane", "a");
    expect(table.fromLane("lane", encodeFrames([data(1, 1), frame, data(1, 2)]))).toMatchObject([{ type: "link" }, { type: "violation" }]);
  });

  test("one lane's frames never reach a stream of another lane", () => {
    const table = board();
    table.addLane("other");
    table.join("lane", "a");
    expect(table.fromLane("other", encodeFrames([data(1, 1)]))).toMatchObject([{ type: "violation" }]);
  });

  test("refuses frames before a lane has joined and frames of another stream on a link", () => {
    const table = board();
    table.join("lane", "a");
    expect(table.fromLane("stranger", encodeFrames([data(1, 1)]))).toMatchObject([{ type: "violation" }]);
    expect(table.fromLink("a", encodeFrames([data(2, 1)]))).toEqual({ fault: "frame of another stream on a link" });
  });

  test("skips ids that are still in use when they wrap round", () => {
    const table = board();
    table.restore({ lane: "lane", link: "old", id: 0xff_ff_ff });
    expect(table.join("lane", "first")?.id).toBe(1);
    table.restore({ lane: "lane", link: "last", id: 0xff_ff_fe });
    expect(table.join("lane", "next")?.id).toBe(2);
  });

  test("gives back a lost lane's circuits so that their users can be told", () => {
    const table = board();
    table.join("lane", "a");
    expect(table.removeLane("lane").map((circuit) => circuit.link)).toEqual(["a"]);
    expect(table.join("lane", "b")).toBeUndefined();
  });
});
