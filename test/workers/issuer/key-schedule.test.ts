import { expect, test } from "vitest";
import { planKeys } from "#workers/issuer/key-schedule.ts";
import { issuerLimits } from "#workers/issuer/limits.ts";

const { signingMs, announcedMs, retiredMs } = issuerLimits;
const first = { id: "first", createdAtMs: 0 };
const second = { id: "second", createdAtMs: signingMs };
const both = [first, second];
const secondSignsMs = signingMs + announcedMs;
const goneMs = secondSignsMs + retiredMs;

test.each([
  ["no key yet: one is made", [], 0, { signing: undefined, wantsNewKey: true, expired: [] }],
  ["the very first key signs at once", [first], 0, { signing: "first", wantsNewKey: false, expired: [] }],
  ["until its time is over, no other is made", [first], signingMs - 1, { signing: "first", wantsNewKey: false, expired: [] }],
  ["then another is made, and the first still signs", [first], signingMs, { signing: "first", wantsNewKey: true, expired: [] }],
  ["a new key is known an hour before it signs", both, secondSignsMs - 1, { signing: "first", wantsNewKey: false, expired: [] }],
  ["and then it does", both, secondSignsMs, { signing: "second", wantsNewKey: false, expired: [] }],
  ["the old one is published while its tokens live", both, goneMs - 1, { signing: "second", wantsNewKey: false, expired: [] }],
  ["and no longer", both, goneMs, { signing: "second", wantsNewKey: false, expired: ["first"] }],
])("%s", (_name, keys, nowMs, wanted) => {
  const { ready, wantsNewKey, expired } = planKeys(keys, nowMs);
  expect({ signing: ready.at(-1)?.id, wantsNewKey, expired: expired.map(({ id }) => id) }).toEqual(wanted);
});

test("a key is published longer than any token that it signed can live", () => {
  expect(retiredMs).toBeGreaterThan(issuerLimits.tokenMs);
});
