import { expect, test } from "vitest";
import { cutCloseReason, isSendableCloseCode } from "#core/kube/close-frame.ts";

test("codes that a frame may carry are those of RFC 6455 section 7.4", () => {
  const sendable = Array.from({ length: 5002 }, (_, code) => code).filter((code) => isSendableCloseCode(code));
  expect(sendable.filter((code) => code < 3000)).toEqual([1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]);
  expect([sendable.at(12), sendable.at(-1)]).toEqual([3000, 4999]);
});

test.each([
  ["short", "bye", "bye"],
  ["of exactly 123 bytes", "x".repeat(123), "x".repeat(123)],
  ["of 124 bytes", "x".repeat(124), "x".repeat(123)],
  ["whose cut would split a character", "ä".repeat(62), "ä".repeat(61)],
  ["whose cut would split a pair", `${"x".repeat(121)}😀`, "x".repeat(121)],
])("a reason %s fits a close frame", (_name, reason, fits) => {
  expect(cutCloseReason(reason)).toBe(fits);
});
