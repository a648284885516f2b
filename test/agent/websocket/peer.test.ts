import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { closeTimeoutMs } from "#agent/websocket/limits.ts";
import { closeAll, frame, listenTo, livePeer, rawPeer } from "./peer-maker.ts";

afterEach(closeAll);

describe("messages from the apiserver", () => {
  it("pass whole, in order, with their type, empty ones too", async () => {
    const { peer, far } = await livePeer();
    const heard = listenTo(peer);
    far.send("text");
    far.send(Buffer.from([1]));
    far.send(Buffer.alloc(0));
    far.send(Buffer.from([2, 255]));
    await heard.count(4);
    expect(heard.messages).toEqual([
      ["text", "text"],
      ["binary", "\x01"],
      ["binary", ""],
      ["binary", "\x02\xff"],
    ]);
  });

  it("that came behind the 101 are not lost", async () => {
    const { peer, far } = await rawPeer({ head: Buffer.concat([frame(2, "\x01"), frame(2, "\x03{}").subarray(0, 3)]) });
    const heard = listenTo(peer);
    far.write(frame(2, "\x03{}").subarray(3));
    await heard.count(2);
    expect(heard.messages.map(([, data]) => data)).toEqual(["\x01", "\x03{}"]);
  });

  it("in fragments come as one", async () => {
    const { peer, far } = await rawPeer();
    const heard = listenTo(peer);
    far.write(Buffer.concat([frame(2, "a", false), frame(9, "ping"), frame(0, "b", false), frame(0, "c")]));
    await heard.count(1);
    expect(heard.messages).toEqual([["binary", "abc"]]);
  });

  it("of 3 MiB arrive", async () => {
    const { peer, far } = await livePeer();
    const heard = listenTo(peer);
    far.send(Buffer.alloc(3 << 20, "x"));
    await heard.count(1);
    expect(heard.messages[0]?.[1].length).toBe(3 << 20);
  });

  it("wait while the reader does not read, and the apiserver is held", async () => {
    const { peer, far, near } = await livePeer();
    const heard = listenTo(peer);
    peer.pause();
    const piece = Buffer.alloc(1 << 20);
    for (let sent = 0; sent < 64; sent += 1) far.send(piece);
    const held = once(near, "close").then(() => "closed");
    expect([heard.messages.length < 2, far.bufferedAmount > 0, near.isPaused()]).toEqual([true, true, true]);
    peer.resume();
    await heard.count(64);
    peer.terminate();
    expect(await held).toBe("closed");
  });
});

describe("messages to the apiserver", () => {
  it.each(["random", "zero"] as const)("pass whole with their type, in pieces or not, with a %s mask", async (mask) => {
    const { peer, far } = await livePeer(mask);
    listenTo(peer);
    const got: (readonly [boolean, string])[] = [];
    const all = new Promise<void>((resolve) => {
      far.on("message", (data: Buffer, binary) => {
        got.push([binary, data.toString("latin1")]);
        if (got.length === 4) resolve();
      });
    });
    const done = (): void => undefined;
    const bytes = Buffer.from([0, 1, 2, 255]);
    peer.send(bytes, { text: false, final: true }, done);
    peer.send(Buffer.from("text"), { text: true, final: true }, done);
    peer.send(Buffer.from("one "), { text: true, final: false }, done);
    peer.send(Buffer.from("message"), { text: true, final: true }, done);
    peer.send(new Uint8Array(0), { text: false, final: true }, done);
    await all;
    expect(got).toEqual([
      [true, "\x00\x01\x02\xff"],
      [false, "text"],
      [false, "one message"],
      [true, ""],
    ]);
    expect([...bytes]).toEqual([0, 1, 2, 255]);
  });

  it("are masked with a key of their own each", async () => {
    const { peer, far } = await rawPeer();
    listenTo(peer);
    const keys = new Set<string>();
    const read = new Promise<void>((resolve) => {
      let bytes = Buffer.alloc(0);
      far.on("data", (chunk: Buffer) => {
        bytes = Buffer.concat([bytes, chunk]);
        if (bytes.length < 20 * 7) return;
        for (let at = 0; at < bytes.length; at += 7) keys.add(bytes.subarray(at + 2, at + 6).toString("hex"));
        resolve();
      });
    });
    for (let message = 0; message < 20; message += 1) peer.send(Buffer.from("x"), { text: false, final: true }, () => undefined);
    await read;
    expect(keys.size).toBeGreaterThan(15);
  });

  it("say when they have left, so that a stalled apiserver stalls their sender", async () => {
    const { peer, far } = await livePeer();
    listenTo(peer);
    far.pause();
    let written = 0;
    const piece = Buffer.alloc(1 << 20);
    const all = new Promise<void>((resolve) => {
      for (let sent = 0; sent < 64; sent += 1) {
        peer.send(piece, { text: false, final: true }, () => {
          written += 1;
          if (written === 64) resolve();
        });
      }
    });
    const pong = once(far, "message");
    expect(written).toBeLessThan(64);
    far.resume();
    await pong;
    await all;
  });

  it("that can no longer be sent say so too", async () => {
    const { peer, far } = await rawPeer();
    const heard = listenTo(peer);
    far.destroy();
    await heard.closed;
    await new Promise<void>((resolve) => {
      peer.send(Buffer.from("x"), { text: false, final: true }, resolve);
    });
  });
});

describe("a close by the apiserver", () => {
  it.each([
    [1000, ""],
    [1000, "done"],
    [1001, "going away"],
    [1011, "error in the kubelet: ü"],
    [4000, "own"],
  ])("with %i and %j is told exactly, and answered", async (code, reason) => {
    const { peer, far } = await livePeer();
    const heard = listenTo(peer);
    const answered = once(far, "close");
    far.send("last");
    far.close(code, reason);
    expect(await heard.closed).toEqual([code, reason]);
    expect(heard.messages).toEqual([["text", "last"]]);
    expect(((await answered) as [number])[0]).toBe(code);
  });

  it("without a code is 1005", async () => {
    const { peer, far } = await livePeer();
    const heard = listenTo(peer);
    far.close();
    expect(await heard.closed).toEqual([1005, ""]);
  });

  it("by the connection's end is 1006, whether it is reset or only ended", async () => {
    for (const end of ["reset", "end"]) {
      const { peer, far } = await rawPeer();
      const heard = listenTo(peer);
      if (end === "reset") far.resetAndDestroy();
      else far.end();
      expect(await heard.closed).toEqual([1006, ""]);
    }
  });

  it("before anybody listens is told when somebody does", async () => {
    const { peer, far, near } = await rawPeer();
    const closed = new Promise((resolve) => {
      near.on("close", resolve);
    });
    far.resetAndDestroy();
    await closed;
    expect(await listenTo(peer).closed).toEqual([1006, ""]);
  });

  it("in the middle of a message loses that message", async () => {
    const { peer, far } = await rawPeer();
    const heard = listenTo(peer);
    far.end(frame(2, "half", false));
    expect([await heard.closed, heard.messages]).toEqual([[1006, ""], []]);
  });
});

describe("a close by the user", () => {
  it.each([
    [1000, "bye", [1000, "bye"]],
    [undefined, "", [1005, ""]],
    [1005, "", [1005, ""]],
    [1006, "", [1005, ""]],
    [4999, "x".repeat(200), [4999, "x".repeat(123)]],
    [1011, "ü".repeat(100), [1011, "ü".repeat(61)]],
  ] as const)("with %s and %j reaches the apiserver as what a frame can say", async (code, reason, wanted) => {
    const { peer, far } = await livePeer();
    const heard = listenTo(peer);
    const closed = once(far, "close");
    peer.close(code, reason);
    const [farCode, farReason] = (await closed) as [number, Buffer];
    expect([farCode, farReason.toString()]).toEqual(wanted);
    expect((await heard.closed)[0]).toBe(wanted[0]);
  });

  it("comes behind what was sent before it", async () => {
    const { peer, far } = await livePeer();
    listenTo(peer);
    const got: string[] = [];
    far.on("message", (data: Buffer) => got.push(data.toString()));
    const closed = once(far, "close");
    peer.send(Buffer.from("a"), { text: false, final: true }, () => undefined);
    peer.send(Buffer.from("b"), { text: false, final: true }, () => undefined);
    peer.close(1000, "");
    await closed;
    expect(got).toEqual(["a", "b"]);
  });

  it("that the apiserver does not answer ends the connection after a while, as 1006", async () => {
    const { peer, far, clock } = await rawPeer();
    const heard = listenTo(peer);
    const received = once(far, "data");
    peer.close(1000, "");
    await received;
    clock.advance(closeTimeoutMs);
    expect(await heard.closed).toEqual([1006, ""]);
  });

  it("of a reader that had paused still finds the apiserver's answer", async () => {
    const { peer, far } = await livePeer();
    const heard = listenTo(peer);
    peer.pause();
    far.send("unread");
    peer.close(1000, "");
    expect((await heard.closed)[0]).toBe(1000);
  });
});
