import { once } from "node:events";
import { Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { maxReplayBytes, maxReplayTotalBytes } from "#agent/apiserver/limits.ts";
import { ReplayableBody, ReplayBudget } from "#agent/apiserver/replay.ts";
import { codeOf, readAll } from "./pool-maker.ts";

function makeBody(chunks: readonly string[], budget = new ReplayBudget()): ReplayableBody {
  return new ReplayableBody(
    Readable.from(
      chunks.map((chunk) => Buffer.from(chunk)),
      { objectMode: false },
    ),
    budget,
  );
}

/** Reads one chunk and gives up, as an attempt that is refused does. */
async function readOne(body: Readable): Promise<void> {
  const reader = body[Symbol.asyncIterator]();
  await reader.next();
  await reader.return?.();
}

describe("a body that may be sent again", () => {
  it("has the same bytes a second time", async () => {
    const body = makeBody(["a", "b", "c"]);
    expect([await readAll(body.open()), body.replayable, await readAll(body.open())]).toEqual(["abc", true, "abc"]);
  });

  it("goes on behind what the first attempt took", async () => {
    const body = makeBody(["a", "b", "c"]);
    await readOne(body.open());
    expect(await readAll(body.open())).toBe("abc");
  });

  it("gives a chunk that an abandoned attempt waited for to the next one, once", async () => {
    const source = new Readable({ read: () => undefined });
    const body = new ReplayableBody(source, new ReplayBudget());
    const first = body.open();
    first.on("error", () => undefined);
    first.read();
    first.destroy();
    const second = readAll(body.open());
    source.push("a");
    source.push("b");
    source.push(null);
    expect(await second).toBe("ab");
  });

  it("loses nothing to an attempt that was replaced while it still read", async () => {
    const source = new Readable({ read: () => undefined });
    const body = new ReplayableBody(source, new ReplayBudget());
    const first = body.open();
    const swallowed: Buffer[] = [];
    first.on("data", (chunk: Buffer) => swallowed.push(chunk));
    const piece = Buffer.alloc(maxReplayBytes / 2, "x");
    source.push(piece);
    await once(first, "data");
    const second = body.open();
    for (const rest of [piece, piece, piece, null]) {
      source.push(rest);
      for (let waited = 0; waited < 10; waited += 1) await turn();
    }
    expect((await readAll(second)).length).toBe(4 * piece.length);
  });

  it("stays whole for the running attempt when it is released", async () => {
    const body = makeBody(["a", "b", "c"]);
    await readAll(body.open());
    const second = body.open();
    const rest = readAll(second);
    body.release();
    expect([await rest, body.replayable]).toEqual(["abc", false]);
  });

  it("is not kept beyond the apiserver's own limit for bodies", async () => {
    const chunk = "x".repeat(1 << 20);
    const body = makeBody([chunk, chunk, chunk, chunk]);
    expect([(await readAll(body.open())).length, body.replayable]).toEqual([maxReplayBytes + (1 << 20), false]);
  });

  it("is not kept when all bodies together are too much, and is again when others are done", async () => {
    const budget = new ReplayBudget();
    expect(budget.take(maxReplayTotalBytes)).toBe(true);
    const starved = makeBody(["a"], budget);
    await readAll(starved.open());
    budget.give(maxReplayTotalBytes);
    const fed = makeBody(["a"], budget);
    await readAll(fed.open());
    expect([starved.replayable, fed.replayable]).toEqual([false, true]);
  });

  it("whose source breaks says so and is not sent again", async () => {
    const failure = new Error("the user has gone");
    const source = new Readable({ read: () => undefined });
    const body = new ReplayableBody(source, new ReplayBudget());
    const reading = codeOf(readAll(body.open()));
    source.destroy(failure);
    expect([await reading, body.failure, body.replayable]).toEqual([failure, failure, false]);
  });
});
