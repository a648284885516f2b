import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { maxEmptyMessages, maxMessageBytes, maxWaitingPongBytes, peerSilenceMs, pingIntervalMs } from "#agent/websocket/limits.ts";
import { closeAll, closePayload, frame, listenTo, livePeer, rawPeer } from "./peer-maker.ts";

afterEach(closeAll);

describe("a hostile apiserver", () => {
  const cases: readonly (readonly [string, Buffer, number])[] = [
    ["a masked frame", Buffer.from([0x82, 0x81, 1, 2, 3, 4, 5]), 1002],
    ["a compressed frame", Buffer.from([0xc2, 0x01, 0x00]), 1002],
    ["a reserved bit", Buffer.from([0xa2, 0x00]), 1002],
    ["an unknown opcode", Buffer.from([0x83, 0x00]), 1002],
    ["a continuation of nothing", frame(0, "x"), 1002],
    ["a new message within one", Buffer.concat([frame(2, "a", false), frame(2, "b")]), 1002],
    ["a fragmented ping", frame(9, "x", false), 1002],
    ["a ping that is too long", Buffer.from([0x89, 0x7e, 0x00, 0x7e]), 1002],
    ["a length of 2^63", Buffer.from([0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0]), 1009],
    ["a length above the limit", Buffer.concat([Buffer.from([0x82, 0x7f, 0, 0, 0, 0]), uint32(maxMessageBytes + 1)]), 1009],
    ["text that is not UTF-8", frame(1, "\xff\xfe"), 1007],
    ["a close with half a code", frame(8, "x"), 1002],
    ["a close with a code that no frame may have", frame(8, closePayload(1006)), 1002],
    ["a close whose reason is not UTF-8", frame(8, closePayload(1000, "\xff")), 1007],
    ["empty fragments without end", Buffer.concat([frame(2, "", false), ...Array.from({ length: 9000 }, () => frame(0, "", false))]), 1008],
  ];

  it.each(cases)("that sends %s is told the code and left, and the user sees 1006", async (_what, bytes, code) => {
    const { peer, far } = await rawPeer();
    const heard = listenTo(peer);
    const received: Buffer[] = [];
    far.on("data", (chunk: Buffer) => received.push(chunk));
    const ended = once(far, "close");
    far.write(bytes);
    expect([await heard.closed, heard.messages]).toEqual([[1006, ""], []]);
    await ended;
    const closeFrame = Buffer.concat(received).subarray(-8);
    expect(((closeFrame[6] ?? 0) ^ (closeFrame[2] ?? 0)) * 256 + ((closeFrame[7] ?? 0) ^ (closeFrame[3] ?? 0))).toBe(code);
    expect(heard.closes).toBe(1);
  });

  it("that sends nothing but empty messages is left with 1008 after as many as nobody means", async () => {
    const { peer, far } = await rawPeer();
    const heard = listenTo(peer);
    far.write(Buffer.concat(Array.from({ length: maxEmptyMessages }, () => frame(2, ""))));
    far.write(Buffer.concat([frame(2, "x"), ...Array.from({ length: maxEmptyMessages + 1 }, () => frame(1, ""))]));
    expect(await heard.closed).toEqual([1006, ""]);
    expect(heard.messages).toHaveLength(2 * maxEmptyMessages + 1);
  });

  it("that goes on after its close frame is not heard", async () => {
    const { peer, far } = await rawPeer();
    const heard = listenTo(peer);
    far.write(Buffer.concat([frame(8, closePayload(1000)), frame(2, "more")]));
    expect([await heard.closed, heard.messages]).toEqual([[1000, ""], []]);
  });

  function uint32(value: number): Buffer {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  }
});

describe("pings", () => {
  it("are not answered beyond what a peer that reads nothing may hold up here", async () => {
    const { peer, near, far } = await rawPeer();
    listenTo(peer);
    far.pause();
    const flood = Buffer.concat(Array.from({ length: 10_000 }, () => frame(9, "x".repeat(125))));
    for (let sent = 0; sent < 40; sent++) await new Promise((resolve) => far.write(flood, resolve));
    expect(near.writableLength).toBeLessThanOrEqual(maxWaitingPongBytes + 1_000);
  });

  it("are answered with their own bytes", async () => {
    const { peer, far } = await livePeer();
    listenTo(peer);
    const pong = once(far, "pong");
    far.ping("are you there");
    expect(String(((await pong) as [Buffer])[0])).toBe("are you there");
  });

  it("are sent every five seconds, and a peer that stays silent is left", async () => {
    const { peer, far, clock } = await rawPeer();
    const heard = listenTo(peer);
    const first = once(far, "data");
    clock.advance(pingIntervalMs);
    expect(((await first) as [Buffer])[0].subarray(0, 2)).toEqual(Buffer.from([0x89, 0x80]));
    clock.advance(peerSilenceMs + pingIntervalMs);
    expect(await heard.closed).toEqual([1006, ""]);
    expect(clock.waiting).toBe(0);
  });

  it("keep a peer that answers them", async () => {
    const { peer, far, clock } = await livePeer();
    const heard = listenTo(peer);
    for (let round = 0; round < 30; round += 1) {
      const ping = once(far, "ping");
      clock.advance(pingIntervalMs);
      await ping;
      far.send("heard");
      await heard.count(round + 1);
    }
    expect(heard.closes).toBe(0);
  });

  it("do not end a peer whose bytes were left unread by us", async () => {
    const { peer, far, clock } = await livePeer();
    const heard = listenTo(peer);
    peer.pause();
    clock.advance(10 * peerSilenceMs);
    peer.resume();
    far.send("still here");
    await heard.count(1);
    expect(heard.messages).toEqual([["text", "still here"]]);
  });
});
