import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { parseAuthenticationConfiguration } from "#identity/configuration.ts";
import { parseRegularExpression } from "#identity/regular-expression.ts";
import { parseStrictJson } from "#identity/strict-json.ts";
import type { TokenDoor } from "#identity/token-door.ts";
import { encodeBase64Url } from "#test/identity/base64url.ts";
import { makeConfigurationText, makeDoor, makeKey, makeToken, type SigningKey } from "#test/identity/makers.ts";

let key: SigningKey;
let door: TokenDoor;

beforeAll(async () => {
  key = await makeKey();
  door = makeDoor([key]);
});

const bytes = fc.uint8Array({ maxLength: 200 });
const part = fc.oneof(
  bytes.map(encodeBase64Url),
  fc.jsonValue().map((value) => encodeBase64Url(new TextEncoder().encode(JSON.stringify(value)))),
  fc.string(),
);

describe("whatever is sent", () => {
  it("verify answers with a refusal and does not throw", async () => {
    const tokens = fc.oneof(
      fc.string(),
      fc.array(part, { maxLength: 6 }).map((parts) => parts.join(".")),
    );
    await fc.assert(
      fc.asyncProperty(tokens, async (token) => {
        expect(await door.verify(token)).toMatchObject({ type: "refused" });
      }),
      { numRuns: 500 },
    );
  });

  it("a signed payload that is not a user's is refused and does not throw", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.jsonValue().map((value) => JSON.stringify(value)),
          bytes,
        ),
        async (payload) => {
          expect(await door.verify(await makeToken({ key, payload }))).toMatchObject({ type: "refused" });
        },
      ),
      { numRuns: 200 },
    );
  });

  it("changing one character of a token makes it invalid", async () => {
    const token = await makeToken({ key });
    const place = fc.record({ index: fc.nat(token.length - 1), character: fc.constantFrom("A", "Z", "a", "z", "0", "9", "-", "_", ".") });
    await fc.assert(
      fc.asyncProperty(place, async ({ index, character }) => {
        fc.pre(token[index] !== character);
        expect(await door.verify(token.slice(0, index) + character + token.slice(index + 1))).toMatchObject({ type: "refused" });
      }),
      { numRuns: 500 },
    );
  });

  it("JSON is read as JSON.parse reads it, or refused", () => {
    const limits = { maxDepth: 100, maxElements: 1000 };
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const text = JSON.stringify(value);
        const result = parseStrictJson(new TextEncoder().encode(text), limits);
        expect(result.type === "parsed" ? toPlain(result.value) : "malformed").toEqual(JSON.parse(text));
      }),
    );
  });

  it("a text that JSON.parse refuses is refused", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...Array.from('{}[]",:0123456789.eE+-truefalsn\\u ')) }), (text) => {
        const isParsed = parseStrictJson(new TextEncoder().encode(text), { maxDepth: 32, maxElements: 100 }).type === "parsed";
        expect(isParsed && !isJson(text)).toBe(false);
      }),
      { numRuns: 2000 },
    );
  });

  it("a configuration is parsed or refused with lines, and nothing is thrown", () => {
    const text = makeConfigurationText();
    const edit = fc.record({ start: fc.nat(text.length), length: fc.nat(20), insert: fc.string({ maxLength: 10 }) });
    fc.assert(
      fc.property(edit, ({ start, length, insert }) => {
        const result = parseAuthenticationConfiguration(text.slice(0, start) + insert + text.slice(start + length), "x");
        expect(result.type === "parsed" || result.problems.every((problem) => problem.line >= 1 && problem.message !== "")).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("a pattern of the plain kind matches what JavaScript's engine matches", () => {
    const pattern = fc.stringMatching(/^(?:[ab.]|\(a\|b\)|[ab][*+?]|\[ab\]|\[\^a\]|\^|\$){0,8}$/);
    fc.assert(
      fc.property(pattern, fc.stringMatching(/^[abc]{0,12}$/), (source, text) => {
        const result = parseRegularExpression(source);
        expect(result.type === "parsed" && result.expression.test(text)).toBe(new RegExp(source, "u").test(text));
      }),
      { numRuns: 2000 },
    );
  });
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function toPlain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(toPlain);
  if (!(value instanceof Map)) return value;
  const entries = [...value].map(([name, member]): [string, unknown] => [String(name), toPlain(member)]);
  // JSON.parse makes an own member of __proto__ too.
  return Object.fromEntries(entries);
}
