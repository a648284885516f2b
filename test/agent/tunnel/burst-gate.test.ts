import { describe, expect, test } from "vitest";
import { BurstGate, burstBytesPerMs, largestBurstBytes } from "#agent/tunnel/burst-gate.ts";
import { smallestBurstBytes } from "#core/tunnel/limits.ts";

/** A gate whose lane has just measured its round trip. */
function gateWith(roundTripMs: number): BurstGate {
  const gate = new BurstGate();
  gate.ask(0);
  gate.answered(roundTripMs);
  return gate;
}

describe("a lane's bursts", () => {
  test("end with a question, and go on with its answer", () => {
    const gate = gateWith(0.1);
    expect(gate.sent(smallestBurstBytes - 1, 1)).toBe(false);
    expect(gate.isOpen).toBe(true);
    expect(gate.sent(1, 2)).toBe(true);
    expect(gate.isOpen).toBe(false);
    gate.answered(3);
    expect(gate.isOpen).toBe(true);
    expect(gate.sent(smallestBurstBytes - 1, 4)).toBe(false);
  });

  test.each([
    { roundTripMs: 0.1, bytes: smallestBurstBytes },
    { roundTripMs: 30, bytes: 30 * burstBytesPerMs },
    { roundTripMs: 60_000, bytes: largestBurstBytes },
  ])("are $bytes bytes where a round trip takes $roundTripMs ms", ({ roundTripMs, bytes }) => {
    const gate = gateWith(roundTripMs);
    expect(gate.sent(bytes - 1, 0)).toBe(false);
    expect(gate.sent(1, 0)).toBe(true);
  });

  test("keep to the shortest round trip: a busy reader is no long way", () => {
    const gate = gateWith(1);
    gate.sent(largestBurstBytes, 10);
    gate.answered(500);
    expect(gate.sent(burstBytesPerMs, 501)).toBe(true);
  });

  test("are short as long as nobody knows the round trip", () => {
    expect(new BurstGate().sent(smallestBurstBytes, 0)).toBe(true);
  });

  test("take no notice of an answer that nobody asked for", () => {
    const gate = gateWith(30);
    gate.answered(31);
    expect(gate.isOpen).toBe(true);
    expect(gate.sent(smallestBurstBytes, 32)).toBe(false);
  });
});
