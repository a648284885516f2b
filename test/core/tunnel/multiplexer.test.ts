import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeFrames, encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame } from "#core/tunnel/frame.ts";
import { batchBytes, maxBatchFrames, maxDataBytes } from "#core/tunnel/limits.ts";
import { Multiplexer } from "#core/tunnel/multiplexer.ts";
import type { LaneEvent } from "#core/tunnel/multiplexer.ts";
import type { StreamEnd } from "#core/tunnel/stream.ts";

const none = new Uint8Array(0);
const plain = { messageEnd: false, text: false };

function pair() {
  return { edge: new Multiplexer({ role: "edge", batchBytes }), agent: new Multiplexer({ role: "agent", batchBytes }) };
}

/** Carries all messages that wait from one end to the other. */
function carry(from: Multiplexer, to: Multiplexer): LaneEvent[] {
  const events: LaneEvent[] = [];
  for (let message = from.nextMessage(); message !== undefined; message = from.nextMessage()) events.push(...to.receive(message));
  return events;
}

function openOne(edge: Multiplexer, agent: Multiplexer): { readonly near: StreamEnd; readonly far: StreamEnd } {
  const near = edge.open(none);
  const event = carry(edge, agent)[0];
  if (near === undefined || event?.type !== "open") throw new Error("no stream");
  return { near, far: event.stream };
}

describe("a lane's two ends", () => {
  test("carry a request and its answer and forget the stream at both ends", () => {
    const { edge, agent } = pair();
    const { near, far } = openOne(edge, agent);
    near.queueEnd();
    edge.ready(near);
    far.queueHead(new Uint8Array([1]));
    far.queueData(new Uint8Array([2, 3]), plain);
    far.queueEnd();
    agent.ready(far);
    carry(edge, agent);
    const events = carry(agent, edge);
    agent.release(far);
    expect(events.map((event) => event.type === "stream" && event.event.type)).toEqual(["head", "data", "end"]);
    expect([edge.streamCount, agent.streamCount]).toEqual([0, 0]);
  });

  test("answer PING before all data", () => {
    const { edge, agent } = pair();
    const { far } = openOne(edge, agent);
    far.queueData(new Uint8Array(1000), plain);
    agent.ready(far);
    edge.control({ type: "ping", payload: new Uint8Array(8) });
    carry(edge, agent);
    const message = agent.nextMessage();
    expect(message?.[0]).toBe(8);
  });

  test("give each ready stream its turn, so that a bulk copy starves nobody", () => {
    const { edge, agent } = pair();
    const bulk = openOne(edge, agent);
    const small = openOne(edge, agent);
    bulk.far.receive({ type: "window", stream: bulk.far.id, credit: 1 << 22 });
    bulk.far.queueData(new Uint8Array(1 << 20), plain);
    small.far.queueData(new Uint8Array(10), plain);
    agent.ready(bulk.far);
    agent.ready(small.far);
    const message = agent.nextMessage();
    const first = message === undefined ? [] : edge.receive(message);
    expect(first.some((event) => event.type === "stream" && event.stream === small.near)).toBe(true);
  });

  test.each<readonly [string, (edge: Multiplexer, near: StreamEnd) => void]>([
    [
      "empty messages",
      (edge, near) => {
        near.receive({ type: "window", stream: near.id, credit: 1 << 30 });
        for (let index = 0; index < 40_000; index++) near.queueData(none, { messageEnd: true, text: false });
        edge.ready(near);
      },
    ],
    [
      "control frames",
      (edge, near) => {
        for (let index = 0; index < 40_000; index++) edge.control({ type: "window", stream: near.id, credit: 1 });
      },
    ],
  ])("put no more frames into a message than the other end takes: %s", (_name, fill) => {
    const { edge, agent } = pair();
    const { near } = openOne(edge, agent);
    fill(edge, near);
    const counts: number[] = [];
    for (let message = edge.nextMessage(); message !== undefined; message = edge.nextMessage()) {
      const decoded = decodeFrames(message);
      counts.push(decoded.type === "frames" ? decoded.frames.length : -1);
    }
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(40_000);
    expect(Math.max(...counts)).toBeLessThanOrEqual(maxBatchFrames + 1);
  });

  test("hold back one stalled stream and nothing else", () => {
    const { edge, agent } = pair();
    const stalled = openOne(edge, agent);
    const lively = openOne(edge, agent);
    stalled.far.queueData(new Uint8Array(1 << 20), plain);
    agent.ready(stalled.far);
    carry(agent, edge);
    expect(stalled.far.isSendable).toBe(false);
    lively.far.queueData(new Uint8Array(5), plain);
    agent.ready(lively.far);
    expect(carry(agent, edge)).toMatchObject([{ type: "stream", event: { type: "data" } }]);
  });

  test("carry seeded bytes both ways unchanged while readers take them at random times", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ size: fc.integer({ min: 0, max: 60_000 }), reads: fc.boolean() }), { minLength: 1, maxLength: 40 }),
        (steps) => {
          const { edge, agent } = pair();
          const { near, far } = openOne(edge, agent);
          const sent: number[] = [];
          const received: number[] = [];
          const unread: number[] = [];
          const take = (events: readonly LaneEvent[]) => {
            for (const event of events) {
              if (event.type !== "stream" || event.event.type !== "data") continue;
              received.push(...event.event.payload.subarray(0, 1), event.event.payload.length);
              unread.push(event.event.cost);
            }
          };
          let value = 0;
          for (const step of steps) {
            value = (value * 31 + 7) % 251;
            far.queueData(new Uint8Array(step.size).fill(value), plain);
            sent.push(step.size);
            agent.ready(far);
            take(carry(agent, edge));
            if (step.reads) for (const cost of unread.splice(0)) edge.control(near.consumed(cost, 0));
            carry(edge, agent);
          }
          for (let turn = 0; turn < 5000 && far.queuedBytes > 0; turn++) {
            for (const cost of unread.splice(0)) edge.control(near.consumed(cost, 0));
            carry(edge, agent);
            agent.ready(far);
            take(carry(agent, edge));
          }
          expect(near.receivedBytes).toBe(sent.reduce((sum, size) => sum + size, 0));
          expect(far.queuedBytes).toBe(0);
        },
      ),
      { numRuns: 40 },
    );
  });

  test("refuse streams beyond the limit without closing the lane", () => {
    const edge = new Multiplexer({ role: "edge", batchBytes });
    const agent = new Multiplexer({ role: "agent", batchBytes, maxStreams: 1 });
    edge.open(none);
    const second = edge.open(none);
    carry(edge, agent);
    expect(carry(agent, edge)).toMatchObject([{ type: "stream", stream: second, event: { type: "reset", code: "REFUSED" } }]);
  });
});

describe("a hostile peer", () => {
  const hostile: readonly [string, "edge" | "agent", Frame][] = [
    ["an agent that opens a stream", "edge", { type: "open", stream: 1, payload: none }],
    [
      "an agent that answers a stream that was never opened",
      "edge",
      { type: "data", stream: 9, payload: none, messageEnd: false, text: false },
    ],
    ["an edge that sends DATA before OPEN", "agent", { type: "data", stream: 1, payload: none, messageEnd: false, text: false }],
    ["an edge that grants credit to nobody", "agent", { type: "window", stream: 7, credit: 1 }],
  ];
  test.each(hostile)("%s breaks the lane", (_name, role, frame) => {
    const end = new Multiplexer({ role, batchBytes });
    expect(end.receive(encodeFrames([frame]))).toMatchObject([{ type: "violation" }]);
  });

  test("a second OPEN of an open stream breaks the lane", () => {
    const agent = new Multiplexer({ role: "agent", batchBytes });
    const open: Frame = { type: "open", stream: 1, payload: none };
    expect(agent.receive(encodeFrames([open, open])).at(-1)).toMatchObject({ type: "violation" });
  });

  test.each<readonly [string, (index: number) => Frame]>([
    ["pings", () => ({ type: "ping", payload: new Uint8Array(8) })],
    ["streams beyond the limit", (index) => ({ type: "open", stream: 1 + (index % 0xff_ff_ff), payload: none })],
  ])("a peer that floods %s and reads no answer breaks the lane before they fill the memory", (_name, frame) => {
    const agent = new Multiplexer({ role: "agent", batchBytes, maxStreams: 1 });
    let sent = 0;
    let last: LaneEvent | undefined;
    for (let message = 0; message < 100 && last?.type !== "violation"; message++) {
      const frames = Array.from({ length: 10_000 }, (_, index) => frame(sent + index));
      last = agent.receive(encodeFrames(frames)).at(-1);
      sent += frames.length;
    }
    expect(sent).toBeLessThan(200_000);
    expect(last).toMatchObject({ type: "violation", reason: expect.stringContaining("not read") });
  });

  test("DATA beyond the credit resets that stream and nothing else", () => {
    const { edge, agent } = pair();
    const { near } = openOne(edge, agent);
    const flood: Frame = { type: "data", stream: near.id, payload: new Uint8Array(maxDataBytes), messageEnd: false, text: false };
    expect(edge.receive(encodeFrames([flood])).at(-1)).toMatchObject({ type: "stream", event: { type: "violation", code: "FLOW" } });
    expect(carry(edge, agent)).toMatchObject([{ type: "stream", event: { type: "reset", code: "FLOW" } }]);
  });

  test("stream ids wrap round past live streams without cross-talk", () => {
    const edge = new Multiplexer({ role: "edge", batchBytes, firstId: 0xff_ff_fe });
    const agent = new Multiplexer({ role: "agent", batchBytes });
    const early = openOne(edge, agent);
    const late = openOne(edge, agent);
    const first = openOne(edge, agent);
    edge.reset(late.near, "CANCEL", "");
    carry(edge, agent);
    expect([early, late, first].map(({ near }) => near.id)).toEqual([0xff_ff_fe, 0xff_ff_ff, 1]);
    for (let turn = 0; turn < 3; turn++) openOne(edge, agent);
    for (const { far } of [early, first]) {
      far.queueData(new Uint8Array([far.id & 0xff]), plain);
      agent.ready(far);
    }
    expect(carry(agent, edge)).toMatchObject([
      { type: "stream", stream: early.near, event: { type: "data", payload: new Uint8Array([0xfe]) } },
      { type: "stream", stream: first.near, event: { type: "data", payload: new Uint8Array([1]) } },
    ]);
  });
});
