import fc from "fast-check";
import { resetCodes } from "#core/tunnel/frame.ts";
import type { Frame, ResetCode } from "#core/tunnel/frame.ts";

/** Any valid frame, small. */
export function arbitraryFrame(stream: fc.Arbitrary<number> = fc.integer({ min: 1, max: 0xff_ff_ff })): fc.Arbitrary<Frame> {
  const payload = fc.uint8Array({ maxLength: 40 });
  const eight = fc.uint8Array({ minLength: 8, maxLength: 8 });
  const code = fc.constantFrom(...(Object.keys(resetCodes) as ResetCode[])); // Object.keys widens the key
  const text = fc.string({ unit: "grapheme", maxLength: 10 });
  return fc.oneof(
    fc.record({ type: fc.constant("hello" as const), payload }),
    fc.record({ type: fc.constant("goaway" as const), payload }),
    fc.record({ type: fc.constant("status" as const), payload }),
    fc.record({ type: fc.constant("ping" as const), payload: eight }),
    fc.record({ type: fc.constant("pong" as const), payload: eight }),
    fc.record({ type: fc.constant("open" as const), stream, payload }),
    fc.record({ type: fc.constant("head" as const), stream, payload }),
    fc.record({ type: fc.constant("datagram" as const), stream, payload }),
    fc.record({ type: fc.constant("data" as const), stream, payload, messageEnd: fc.boolean(), text: fc.boolean() }),
    fc.record({ type: fc.constant("window" as const), stream, credit: fc.integer({ min: 1, max: 0xff_ff_ff_ff }) }),
    fc.record({ type: fc.constant("extend" as const), stream, expiresAtMs: fc.maxSafeNat() }),
    fc.record({ type: fc.constant("reset" as const), stream, code, reason: text }),
    fc.record({ type: fc.constant("end" as const), stream, closeCode: fc.integer({ min: 0, max: 65_535 }), closeReason: text }),
    fc.record({ type: fc.constant("end" as const), stream, closeCode: fc.constant(undefined), closeReason: fc.constant("") }),
  );
}
