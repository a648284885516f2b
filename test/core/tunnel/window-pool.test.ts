import { describe, expect, test } from "vitest";
import { frameCostBytes, initialWindowBytes, maxDataBytes } from "#core/tunnel/limits.ts";
import { StreamEnd } from "#core/tunnel/stream.ts";
import { WindowPool } from "#core/tunnel/window-pool.ts";

/** Sends a stream what it granted and reads it at once, so that its window grows as far as it may. */
function readFast(stream: StreamEnd, pieces: number): void {
  let granted = initialWindowBytes;
  for (let count = 0; count < pieces; count++) {
    const length = Math.min(maxDataBytes, granted - frameCostBytes);
    const event = stream.receive({ type: "data", stream: 1, payload: new Uint8Array(length), messageEnd: false, text: false });
    const grant = stream.consumed(event.type === "data" ? event.cost : 0, 0);
    granted += (grant?.type === "window" ? grant.credit : 0) - length - frameCostBytes;
  }
}

/** The most that a stream could be sent now without its reader taking any. */
function openCredit(stream: StreamEnd): number {
  let credit = 0;
  for (;;) {
    const event = stream.receive({ type: "data", stream: 1, payload: new Uint8Array(1016), messageEnd: false, text: false });
    if (event.type !== "data") return credit;
    credit += event.cost;
  }
}

describe("windows of one receiver", () => {
  test("grow no further than what they share", () => {
    const pool = new WindowPool(initialWindowBytes);
    const first = new StreamEnd({ id: 1, pool });
    const second = new StreamEnd({ id: 1, pool });
    readFast(first, 40);
    readFast(second, 40);
    expect(openCredit(first) + openCredit(second)).toBeLessThanOrEqual(3 * initialWindowBytes);
  });

  test("grow freely without a pool", () => {
    const stream = new StreamEnd({ id: 1 });
    readFast(stream, 40);
    expect(openCredit(stream)).toBeGreaterThan(2 * initialWindowBytes);
  });

  test("give back what they took when their stream is reset", () => {
    const pool = new WindowPool(initialWindowBytes);
    const stream = new StreamEnd({ id: 1, pool });
    readFast(stream, 40);
    const other = {};
    expect(pool.take(other, initialWindowBytes)).toBe(false);
    stream.reset("CANCEL", "");
    expect(pool.take(other, initialWindowBytes)).toBe(true);
  });

  test("give back what they took when the last byte was read", () => {
    const pool = new WindowPool(initialWindowBytes);
    const stream = new StreamEnd({ id: 1, pool });
    readFast(stream, 40);
    const event = stream.receive({ type: "data", stream: 1, payload: new Uint8Array(10), messageEnd: false, text: false });
    stream.receive({ type: "end", stream: 1, closeCode: undefined, closeReason: "" });
    expect(pool.take({}, 1)).toBe(false);
    stream.consumed(event.type === "data" ? event.cost : 0, 0);
    expect(pool.take({}, initialWindowBytes)).toBe(true);
  });

  test("are given back only once", () => {
    const pool = new WindowPool(10);
    const stream = {};
    pool.take(stream, 6);
    pool.give(stream);
    pool.give(stream);
    expect(pool.take({}, 11)).toBe(false);
    expect(pool.take({}, 10)).toBe(true);
  });
});
