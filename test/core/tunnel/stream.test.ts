import { describe, expect, test } from "vitest";
import type { Frame } from "#core/tunnel/frame.ts";
import { frameCostBytes, initialWindowBytes, maxDataBytes, maxQueuedDatagrams, maxWindowBytes } from "#core/tunnel/limits.ts";
import { StreamEnd } from "#core/tunnel/stream.ts";

const plain = { messageEnd: false, text: false };
const data = (length: number, messageEnd = false): Extract<Frame, { type: "data" }> => ({
  type: "data",
  stream: 1,
  payload: new Uint8Array(length),
  messageEnd,
  text: false,
});

function drain(stream: StreamEnd): Frame[] {
  const frames: Frame[] = [];
  for (let frame = stream.nextFrame(maxDataBytes); frame !== undefined; frame = stream.nextFrame(maxDataBytes)) frames.push(frame);
  return frames;
}

describe("sending", () => {
  test("stops where the credit ends, and goes on when more comes", () => {
    const stream = new StreamEnd({ id: 1 });
    stream.queueData(new Uint8Array(initialWindowBytes * 2), plain);
    const first = drain(stream);
    expect(stream.sentBytes).toBe(initialWindowBytes - first.length * frameCostBytes);
    expect(stream.isSendable).toBe(false);
    expect(stream.receive({ type: "window", stream: 1, credit: 100 })).toEqual({ type: "writable" });
    expect(drain(stream)).toMatchObject([{ type: "data", payload: { length: 100 - frameCostBytes } }]);
  });

  test("marks only the last piece of a split message as its end", () => {
    const stream = new StreamEnd({ id: 1, sendBonus: 1 << 20 });
    stream.queueData(new Uint8Array(maxDataBytes * 2 + 1), { messageEnd: true, text: true });
    expect(drain(stream).map((frame) => frame.type === "data" && frame.messageEnd)).toEqual([false, false, true]);
  });

  test("sends an empty message, for which an empty channel message of kubectl stands", () => {
    const stream = new StreamEnd({ id: 1 });
    stream.queueData(new Uint8Array(0), { messageEnd: true, text: false });
    expect(drain(stream)).toMatchObject([{ type: "data", messageEnd: true, payload: { length: 0 } }]);
  });

  test("ends behind its data and takes nothing after that", () => {
    const stream = new StreamEnd({ id: 1 });
    stream.queueData(new Uint8Array(1), plain);
    stream.queueEnd(1000, "bye");
    stream.queueData(new Uint8Array(1), plain);
    expect(drain(stream).map((frame) => frame.type)).toEqual(["data", "end"]);
    expect(stream.isClosed).toBe(false);
    stream.receive({ type: "end", stream: 1, closeCode: undefined, closeReason: "" });
    expect(stream.isClosed).toBe(true);
  });

  test("sends datagrams as credit allows, each whole or not at all", () => {
    const stream = new StreamEnd({ id: 1 });
    const half = new Uint8Array(initialWindowBytes / 2);
    for (let count = 0; count < 3; count++) stream.queueDatagram(half);
    expect(drain(stream)).toHaveLength(1);
    stream.receive({ type: "window", stream: 1, credit: half.length });
    expect(drain(stream)).toMatchObject([{ type: "datagram", payload: half }]);
    expect([stream.sentBytes, stream.droppedDatagrams]).toEqual([2 * half.length, 0]);
  });

  test("takes no more datagrams than it has granted, and grants again what its reader has consumed", () => {
    const stream = new StreamEnd({ id: 1 });
    const payload = new Uint8Array(initialWindowBytes / 2 - frameCostBytes);
    const datagram = { type: "datagram", stream: 1, payload } as const;
    expect(stream.receive(datagram)).toEqual({ type: "datagram", payload, cost: initialWindowBytes / 2 });
    stream.receive(datagram);
    expect(stream.consumed(initialWindowBytes / 2, 0)).toMatchObject({ type: "window", credit: initialWindowBytes / 2 });
    stream.receive(datagram);
    expect(stream.receive(datagram)).toMatchObject({ type: "violation", code: "FLOW" });
  });

  test("drops the oldest datagram when too many wait", () => {
    const stream = new StreamEnd({ id: 1 });
    for (let number = 0; number <= maxQueuedDatagrams; number++) stream.queueDatagram(new Uint8Array([number]));
    const frames = drain(stream);
    expect(frames).toHaveLength(maxQueuedDatagrams);
    expect(frames[0]).toMatchObject({ type: "datagram", payload: new Uint8Array([1]) });
    expect(stream.droppedDatagrams).toBe(1);
  });

  test("sends nothing after a reset from either side", () => {
    const stream = new StreamEnd({ id: 1 });
    stream.queueData(new Uint8Array(9), plain);
    expect(stream.receive({ type: "reset", stream: 1, code: "CANCEL", reason: "" })).toEqual({ type: "reset", code: "CANCEL", reason: "" });
    expect(drain(stream)).toEqual([]);
    expect(stream.reset("INTERNAL", "")).toBeUndefined();
    expect(stream.receive(data(1))).toEqual({ type: "ignored" });
  });
});

describe("receiving", () => {
  test("refuses more than was granted, empty frames counted by their headers", () => {
    const stream = new StreamEnd({ id: 1 });
    const empties = initialWindowBytes / frameCostBytes;
    for (let count = 0; count < empties; count++) expect(stream.receive(data(0)).type).toBe("data");
    expect(stream.receive(data(0))).toMatchObject({ type: "violation", code: "FLOW" });
  });

  test("refuses a second OPEN and anything after END", () => {
    const stream = new StreamEnd({ id: 1 });
    expect(stream.receive({ type: "open", stream: 1, payload: new Uint8Array(0) })).toMatchObject({ type: "violation", code: "PROTOCOL" });
    stream.receive({ type: "end", stream: 1, closeCode: undefined, closeReason: "" });
    expect(stream.receive(data(1))).toMatchObject({ type: "violation", code: "PROTOCOL" });
  });

  test("refuses credit beyond any window", () => {
    const stream = new StreamEnd({ id: 1 });
    expect(stream.receive({ type: "window", stream: 1, credit: 0xff_ff_ff_ff })).toMatchObject({ type: "violation", code: "FLOW" });
  });

  test("grants nothing to a reader that takes nothing", () => {
    const stream = new StreamEnd({ id: 1 });
    stream.receive(data(initialWindowBytes - frameCostBytes));
    expect(stream.receive(data(0))).toMatchObject({ type: "violation" });
  });

  test("doubles the window of a reader that keeps up, up to the limit", () => {
    const stream = new StreamEnd({ id: 1 });
    let window = initialWindowBytes;
    let granted = initialWindowBytes;
    for (let turn = 0; turn < 4000; turn++) {
      const event = stream.receive(data(8192));
      if (event.type !== "data") throw new Error(event.type);
      granted -= event.cost;
      const frame = stream.consumed(event.cost, turn / 100);
      if (frame?.type === "window") granted += frame.credit;
      window = Math.max(window, granted);
    }
    expect(window).toBe(maxWindowBytes);
  });

  test("keeps the window of a slow reader as it was", () => {
    const stream = new StreamEnd({ id: 1 });
    let granted = initialWindowBytes;
    for (let turn = 0; turn < 500; turn++) {
      const event = stream.receive(data(8192));
      if (event.type !== "data") throw new Error(event.type);
      granted -= event.cost;
      const frame = stream.consumed(event.cost, turn * 1000);
      if (frame?.type === "window") granted += frame.credit;
      expect(granted).toBeLessThanOrEqual(initialWindowBytes);
    }
  });
});
