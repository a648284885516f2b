import { describe, expect, it } from "vitest";
import { parseSet, parseTable } from "#agent/dataplane/nftables/readback.ts";

/** As nft 1.0.6 prints it. */
const answer = (...items: readonly unknown[]): string => JSON.stringify({ nftables: [{ metainfo: { version: "1.0.6" } }, ...items] });

describe("a table that was read back", () => {
  it("has chains with hooks and the digests of their rules in order", () => {
    const structure = parseTable(
      answer(
        { table: { family: "ip", name: "sallyport" } },
        { set: { name: "layout-abc", type: "ipv4_addr" } },
        { map: { name: "services", map: "verdict" } },
        { chain: { name: "nat-output", type: "nat", hook: "output", prio: -100, policy: "accept" } },
        { chain: { name: "refuse" } },
        { rule: { chain: "nat-output", comment: "aa" } },
        { rule: { chain: "nat-output", comment: "bb" } },
        { rule: { chain: "refuse" } },
      ),
      [],
    );
    expect([...structure.sets]).toEqual(["layout-abc", "services"]);
    expect([...structure.chains]).toEqual([
      ["nat-output", { base: { type: "nat", hook: "output", priority: -100 }, digests: ["aa", "bb"] }],
      ["refuse", { base: undefined, digests: [""] }],
    ]);
  });

  it.each<[string, unknown, string, string]>([
    [
      "protocols by name",
      [{ concat: ["10.0.0.1", "tcp", 80] }, { goto: { target: "internal-2" } }],
      "10.0.0.1 . 6 . 80",
      "goto internal-2",
    ],
    ["protocols by number", [{ concat: ["10.0.0.1", 132, 80] }, { drop: null }], "10.0.0.1 . 132 . 80", "drop"],
    ["the first place", [{ concat: ["udp", 53, "none"] }, { concat: ["10.0.0.1", 53] }], "17 . 53 . 0:0", "10.0.0.1 . 53"],
    ["other places", [{ concat: ["fd00::1", "udp", 53, "0:a"] }, { concat: ["fd00::2", 53] }], "fd00::1 . 17 . 53 . 0:a", "fd00::2 . 53"],
    ["verdicts that return", ["0:2000", { jump: { target: "scan-2" } }], "0:2000", "jump scan-2"],
    ["verdicts of others", ["0:2000", { accept: null }], "0:2000", "?"],
    ["things unheard of", [{ strange: 1 }, { strange: 2 }], "?", "?"],
  ])("has elements of maps: %s", (_, element, key, value) => {
    const { contents } = parseTable(answer({ map: { name: "services", map: "verdict", elem: [element] } }), ["services"]);
    expect([...(contents.get("services") ?? [])]).toEqual([[key, value]]);
  });

  it.each<[string, unknown, string]>([
    ["ranges", { prefix: { addr: "10.96.0.0", len: 16 } }, "10.96.0.0/16"],
    ["ranges that are no prefix", { range: ["10.0.0.1", "10.0.0.3"] }, "10.0.0.1-10.0.0.3"],
    ["ranges in a key", { concat: ["10.0.0.1", "tcp", 80, { prefix: { addr: "10.0.0.0", len: 8 } }] }, "10.0.0.1 . 6 . 80 . 10.0.0.0/8"],
    ["elements that expire", { elem: { val: { concat: ["10.0.0.1", "0:2001"] }, timeout: 60, expires: 7 } }, "10.0.0.1 . 0:2001"],
    ["addresses in other words", "FD00:0::1", "fd00::1"],
  ])("has elements of sets: %s", (_, element, key) => {
    expect(parseSet(answer({ set: { name: "hairpin", elem: [element] } }), "hairpin")).toEqual([key]);
  });

  it("has no elements of another set, and none where there are none", () => {
    expect(parseSet(answer({ set: { name: "firewalled", elem: ["10.0.0.1"] } }), "hairpin")).toEqual([]);
    expect(parseSet(answer({ set: { name: "hairpin" } }), "hairpin")).toEqual([]);
  });

  it.each(["", "{}", "[]", '{"nftables": 1}'])("is not read from %j", (text) => {
    expect(() => parseTable(text, [])).toThrow(/./);
  });
});
