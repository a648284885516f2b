import { describe, expect, test } from "vitest";
import { parseKeyRing } from "#workers/key-ring.ts";
import type { KeyRing, Owner } from "#workers/key-ring.ts";

const [keyA, keyB] = ["A".repeat(43), "B".repeat(42) + "A"];
const alice: Owner = { secret: "secret-of-alice", purpose: "session" };

async function ring(text: string): Promise<KeyRing> {
  const parsed = await parseKeyRing(text);
  if (parsed.type === "invalid") throw new Error(parsed.problems.join("; "));
  return parsed.value;
}

test("what is sealed opens for its owner, and is sealed differently each time", async () => {
  const { seal, open } = await ring(`a:${keyA}`);
  const [first, second] = [await seal("tokens", alice), await seal("tokens", alice)];
  expect(first).not.toBe(second);
  expect(first).not.toContain("tokens");
  expect(await open(first, alice)).toBe("tokens");
});

test("a new first key seals, and the old one still opens what it sealed until it is taken out", async () => {
  const old = await (await ring(`a:${keyA}`)).seal("tokens", alice);
  const both = await ring(`b:${keyB}, a:${keyA}`);
  expect(await both.open(old, alice)).toBe("tokens");
  expect(await both.seal("tokens", alice)).toMatch(/^b\./);
  expect(await (await ring(`b:${keyB}`)).open(old, alice)).toBeUndefined();
});

describe("nothing opens", () => {
  test.each<[string, (sealed: string) => string, Owner]>([
    ["for another session", (sealed) => sealed, { ...alice, secret: "secret-of-bob" }],
    ["for another purpose", (sealed) => sealed, { ...alice, purpose: "sign-in" }],
    ["that was changed", (sealed) => sealed.slice(0, -2) + (sealed.endsWith("AA") ? "BB" : "AA"), alice],
    ["under another key's name", (sealed) => sealed.replace(/^a\./, "b."), alice],
    ["that is no sealed text", () => "tokens", alice],
    ["that is empty", () => "", alice],
  ])("%s", async (_name, change, owner) => {
    const { seal, open } = await ring(`a:${keyA},b:${keyA}`);
    expect(await open(change(await seal("tokens", alice)), owner)).toBeUndefined();
  });
});

test.each([
  ["", 1],
  ["a", 1],
  [keyA, 1],
  [`a:${keyA}A`, 1],
  [`a:${keyA.slice(1)}`, 1],
  [`A:${keyA}`, 1],
  [`a:${keyA},`, 1],
  [`a:${keyA},a:${keyB}`, 1],
  ["x,y", 2],
])("the keys %j are refused with %i problems, which do not show them", async (text, count) => {
  const parsed = await parseKeyRing(text);
  if (parsed.type === "parsed") throw new Error("taken");
  expect(parsed.problems).toHaveLength(count);
  expect(parsed.problems.join()).not.toContain(keyA);
});
