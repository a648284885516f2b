import { describe, expect, test } from "vitest";
import { decodeFrames, frameTypes, scanFrames } from "#core/tunnel/frame.ts";
import { batchBytes, frameHeaderBytes, initialWindowBytes } from "#core/tunnel/limits.ts";
import { Multiplexer } from "#core/tunnel/multiplexer.ts";
import { linkStream, Switchboard } from "#core/tunnel/switchboard.ts";
import type { Delivery } from "#core/tunnel/switchboard.ts";

/** Frames of a peer that means harm, for each test: cheap enough to be made on every run, in both runtimes. */
const wantedFrames = 1_000_000;
const maxStreams = 8;
/** What fills each frame, but for some DATA of which two are more than a window. */
const filledBytes = 20;
const largeDataBytes = 40_000;

type Roll = (below: number) => number;

/** Seeded (xorshift32), so that a failure is the same each time. */
function dice(seed: number): Roll {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const { hello, open, data, ping, pong, goaway, status, window, extend, end, reset } = frameTypes;
const ignorable = 0x40;
const types = [...Object.values(frameTypes), ignorable];
const connectionTypes: ReadonlySet<number> = new Set([hello, ping, pong, goaway, status, ignorable]);

function payloadLength(type: number, roll: Roll): number {
  if (type === window) return 4;
  if (type === ping || type === pong || type === extend) return 8;
  if (type === data && roll(4) === 0) return largeDataBytes;
  return type === end || type === reset ? 2 + roll(10) : roll(filledBytes);
}

/** Writes a well-formed frame with any flags and payload; the offset behind it. */
function writeFrame(
  message: Uint8Array,
  at: number,
  frame: { readonly type: number; readonly stream: number; readonly roll: Roll },
): number {
  const { type, stream, roll } = frame;
  const length = payloadLength(type, roll);
  const id = connectionTypes.has(type) ? 0 : stream;
  message.set([type, 0, length >>> 8, length & 0xff, roll(4), id >>> 16, (id >>> 8) & 0xff, id & 0xff], at);
  for (let index = 0; index < Math.min(length, filledBytes); index++)
    message[at + frameHeaderBytes + index] = index < 2 ? roll(2) : 1 + roll(126);
  return at + frameHeaderBytes + length;
}

function newMessage(frames: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(frames * (frameHeaderBytes + largeDataBytes));
}

describe("a million hostile frames", () => {
  test("in messages of which one bit was changed give frames or a reason, and the switch takes all that the ends take", () => {
    const roll = dice(1);
    const framesPerMessage = 8;
    const message = newMessage(framesPerMessage);
    const outcomes = { frames: 0, invalid: 0 };
    for (let frames = 0; frames < wantedFrames; frames += framesPerMessage) {
      let length = 0;
      for (let index = 0; index < framesPerMessage; index++)
        length = writeFrame(message, length, { type: types[roll(types.length)] ?? hello, stream: 1 + roll(1 << 20), roll });
      const bytes = message.subarray(0, length);
      const place = roll(length);
      bytes[place] = (bytes[place] ?? 0) ^ (1 << roll(8));
      const decoded = decodeFrames(bytes);
      outcomes[decoded.type] += 1;
      if (decoded.type === "frames" && scanFrames(bytes).type !== "spans") throw new Error("the switch refuses what the ends take");
    }
    expect(Math.min(outcomes.frames, outcomes.invalid)).toBeGreaterThan(10_000);
  });

  test("that come to an agent neither crash it nor make it hold more than its windows", () => {
    const roll = dice(2);
    const message = newMessage(1);
    const agent = new Multiplexer({ role: "agent", batchBytes, maxStreams });
    const events = new Map<string, number>();
    for (let frames = 0; frames < wantedFrames; frames++) {
      const length = writeFrame(message, 0, { type: types[roll(types.length)] ?? hello, stream: 1 + roll(12), roll });
      // A real lane closes at a violation; this one has to stand all that comes behind it too.
      for (const { type } of agent.receive(message.subarray(0, length))) events.set(type, (events.get(type) ?? 0) + 1);
      while (agent.nextMessage() !== undefined);
      if (agent.streamCount > maxStreams) throw new Error(`${agent.streamCount} streams are open`);
      if (agent.streams().some((stream) => stream.receivedBytes > initialWindowBytes))
        throw new Error("a stream took more than its window");
    }
    expect(Math.min(events.get("open") ?? 0, events.get("stream") ?? 0, events.get("violation") ?? 0)).toBeGreaterThan(10_000);
  });

  test("that come to the edge neither crash it nor make it hold more than its windows", () => {
    const roll = dice(3);
    const message = newMessage(1);
    const edge = new Multiplexer({ role: "edge", batchBytes, maxStreams });
    const events = new Map<string, number>();
    let highestId = 0;
    for (let frames = 0; frames < wantedFrames; frames++) {
      for (let stream = edge.open(new Uint8Array(0)); stream !== undefined; stream = edge.open(new Uint8Array(0))) highestId = stream.id;
      const stream = Math.max(1, highestId + 3 - roll(2 * maxStreams));
      const length = writeFrame(message, 0, { type: types[roll(types.length)] ?? hello, stream, roll });
      for (const { type } of edge.receive(message.subarray(0, length))) events.set(type, (events.get(type) ?? 0) + 1);
      while (edge.nextMessage() !== undefined);
      if (edge.streams().some(({ receivedBytes }) => receivedBytes > initialWindowBytes))
        throw new Error("a stream took more than its window");
    }
    expect(events.get("open")).toBeUndefined();
    expect(Math.min(events.get("stream") ?? 0, events.get("violation") ?? 0)).toBeGreaterThan(10_000);
  });

  test("that go through the switch reach the link that their stream is joined to and no other, and leave no circuit behind", () => {
    const roll = dice(4);
    const message = newMessage(1);
    const table = new Switchboard<string, number>();
    table.addLane("lane");
    const idOf = new Map<number, number>();
    const outcomes = new Map<string, number>();
    let newest = 0;
    for (let frames = 0; frames < wantedFrames; frames++) {
      while (table.load("lane") < maxStreams) idOf.set(++newest, table.join("lane", newest)?.id ?? 0);
      const highestId = idOf.get(newest) ?? 0;
      const stream = Math.max(1, highestId + 3 - roll(2 * maxStreams));
      const type = types[roll(types.length)] ?? hello;
      const length = writeFrame(message, 0, { type, stream, roll });
      for (const delivery of table.fromLane("lane", message.subarray(0, length))) {
        outcomes.set(delivery.type, (outcomes.get(delivery.type) ?? 0) + 1);
        const fault = faultOf(delivery, { type, stream, highestId, idOf });
        if (fault !== undefined) throw new Error(fault);
      }
      if (roll(10) === 0) table.part(newest - roll(maxStreams));
      idOf.delete(newest - 10 * maxStreams);
      if (table.circuitCount !== table.load("lane")) throw new Error("a circuit was left behind");
    }
    expect(Math.min(...["link", "lane", "violation"].map((type) => outcomes.get(type) ?? 0))).toBeGreaterThan(10_000);
  });
});

interface Sent {
  readonly type: number;
  readonly stream: number;
  readonly highestId: number;
  readonly idOf: ReadonlyMap<number, number>;
}

/** What is wrong with what the switch made of a frame. */
function faultOf(delivery: Delivery<number>, sent: Sent): string | undefined {
  if (delivery.type === "lane") return undefined;
  const isHostile = sent.type === open || sent.stream > sent.highestId;
  if (delivery.type === "violation") return isHostile ? undefined : delivery.reason;
  if (isHostile) return "a frame that no agent may send came through";
  if (sent.idOf.get(delivery.link) !== sent.stream) return "a link got another stream's frame";
  return delivery.bytes[7] === linkStream ? undefined : "a link's frame has the lane's id";
}
