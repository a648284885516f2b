import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decodeFrames, encodeFrames, frameTypes, resetCodes } from "#core/tunnel/frame.ts";

const page = readFileSync("docs/protocol.md", "utf8");
const vectors = [...page.matchAll(/^\| (.+?) \| `([0-9a-f ]+)` +\|$/gm)].map(([, name = "", hex = ""]) => ({ name, bytes: fromHex(hex) }));

describe("docs/protocol.md", () => {
  test("has a vector for every type of frame", () => {
    expect(new Set(vectors.map(({ bytes }) => bytes[0]))).toEqual(new Set(Object.values(frameTypes)));
  });

  test.each(vectors)("$name is what the codec reads and writes", ({ bytes }) => {
    const decoded = decodeFrames(bytes.slice());
    if (decoded.type === "invalid") throw new Error(decoded.reason);
    expect(decoded.frames).toHaveLength(1);
    expect(encodeFrames(decoded.frames)).toEqual(bytes);
  });

  test("names every reset code with its number", () => {
    for (const [name, number] of Object.entries(resetCodes)) expect(page).toMatch(new RegExp(`\\b${number}\\s${name}\\b`));
  });
});

function fromHex(text: string): Uint8Array {
  return Uint8Array.from(text.replaceAll(" ", "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
