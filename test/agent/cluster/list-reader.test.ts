import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "#core/json-fields.ts";
import { maxWatchedObjectBytes } from "#agent/cluster/limits.ts";
import { ListReader } from "#agent/cluster/list-reader.ts";
import { parseWatchEvent, WatchEventReader } from "#agent/cluster/watch-events.ts";

function readList(text: string, cuts: readonly number[] = []): { readonly items: readonly JsonObject[]; readonly frame: JsonObject } {
  const items: JsonObject[] = [];
  const reader = new ListReader((item) => items.push(item));
  const bytes = Buffer.from(text);
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b);
  let from = 0;
  for (const place of [...places, bytes.length]) {
    reader.read(bytes.subarray(from, place));
    from = place;
  }
  return { items, frame: reader.end() };
}

describe("a list's reader", () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue());

  it("gives the items that JSON.parse would give, wherever the bytes are cut", () => {
    const list = fc.record({ kind: fc.string(), metadata: object, items: fc.array(object, { maxLength: 5 }), trailing: fc.jsonValue() });
    fc.assert(
      fc.property(list, fc.constantFrom(0, 2), fc.array(fc.nat(), { maxLength: 8 }), (value, indent, cuts) => {
        const text = JSON.stringify(value, undefined, indent);
        const parsed = JSON.parse(text) as typeof value;
        expect(readList(text, cuts)).toEqual({ items: parsed.items, frame: { ...parsed, items: [] } });
      }),
    );
  });

  it("is not misled by items within objects and texts", () => {
    const text = '{"metadata":{"items":[{"a":1}],"note":"\\"items\\":["},"items":[{"items":[{"b":"}]"}]}]}';
    expect(readList(text)).toEqual({
      items: [{ items: [{ b: "}]" }] }],
      frame: { metadata: { items: [{ a: 1 }], note: '"items":[' }, items: [] },
    });
  });

  it("takes null for no items, as Go writes an empty list", () => {
    expect(readList('{"items":null,"metadata":{}}').items).toEqual([]);
  });

  it.each(["", "[]", '{"items":{}}', '{"items":[{}', '{"items":[{}}', '{"items":[[]]}', '{"items":[1]}', '{"items":[{}],"items":[2]}'])(
    "refuses %s",
    (text) => {
      expect(() => readList(text)).toThrow();
    },
  );

  it("refuses an object that has no end", () => {
    const reader = new ListReader(() => undefined);
    reader.read(Buffer.from('{"items":[{"a":"'));
    const chunk = Buffer.alloc(1 << 20, "x");
    expect(() => {
      for (let bytes = 0; bytes <= maxWatchedObjectBytes; bytes += chunk.length) reader.read(chunk);
    }).toThrow("longer than");
  });
});

describe("a watch's events", () => {
  it.each([
    ["no object", 1],
    ["no type", { object: { metadata: { resourceVersion: "1" } } }],
    ["an unknown type", { type: "CHANGED", object: { metadata: { resourceVersion: "1" } } }],
    ["no version", { type: "ADDED", object: { metadata: {} } }],
    ["a version that is a number", { type: "ADDED", object: { metadata: { resourceVersion: 1 } } }],
  ])("with %s are refused", (_what, value) => {
    expect(() => parseWatchEvent(value)).toThrow();
  });

  it("are read from lines, blank ones left out, and the unfinished one waits", () => {
    const reader = new WatchEventReader();
    const line = '{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}\n';
    expect([...reader.read(Buffer.from(`\n${line}${line.slice(0, 9)}`))]).toHaveLength(1);
    expect([...reader.read(Buffer.from(line.slice(9)))]).toEqual([{ type: "bookmark", resourceVersion: "7", endsInitial: false }]);
  });
});
