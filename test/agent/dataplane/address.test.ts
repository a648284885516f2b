import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isInRange, mergeRanges, parseAddress, parseRange } from "#agent/dataplane/address.ts";

describe("an address", () => {
  it.each([
    ["10.0.0.1", "10.0.0.1"],
    ["010.000.00.08", "10.0.0.8"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["::ffff:a00:1", "10.0.0.1"],
    ["FD00:0:0:0:0:0:0:1", "fd00::1"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["::", "::"],
    ["::1", "::1"],
    ["2001:db8::", "2001:db8::"],
    ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
  ])("%s is read as %s", (given, wanted) => {
    expect(parseAddress(given)?.text).toBe(wanted);
  });

  it.each([
    "",
    "10.0.0",
    "10.0.0.256",
    "10.0.0.1.2",
    "10.0.0.1/8",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "fe80::1%eth0",
    "g::",
    "10.0.0.1; drop",
    "00010.0.0.1",
  ])("%j is none", (given) => {
    expect(parseAddress(given)).toBeUndefined();
  });

  it("is read back from its own text", () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (given) => {
        const address = parseAddress(given);
        expect(address).toBeDefined();
        expect(parseAddress(address?.text ?? "")).toEqual(address);
      }),
    );
  });
});

describe("a range", () => {
  it.each([
    [" 10.1.2.3/8 ", "10.0.0.0/8"],
    ["010.0.0.0/08", "10.0.0.0/8"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["fd00::1/16", "fd00::/16"],
  ])("%j is read as %s", (given, wanted) => {
    expect(parseRange(given)?.text).toBe(wanted);
  });

  it.each(["10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.0/-1", "/8", "::ffff:10.0.0.0/104"])("%j is none", (given) => {
    expect(parseRange(given)).toBeUndefined();
  });

  it.each([
    ["10.0.0.0/8", "10.255.255.255", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["10.0.0.0/8", "fd00::1", false],
  ])("%s has %s in it: %s", (range, address, wanted) => {
    const parsed = { range: parseRange(range), address: parseAddress(address) };
    expect(parsed.range !== undefined && parsed.address !== undefined && isInRange(parsed.range, parsed.address)).toBe(wanted);
  });

  it("within another is left out of a merged list", () => {
    const ranges = ["10.1.0.0/16", "11.0.0.0/8", "10.0.0.0/8", "10.0.0.0/8", "10.0.0.0/9"]
      .map(parseRange)
      .filter((range) => range !== undefined);
    expect(mergeRanges(ranges).map(({ text }) => text)).toEqual(["10.0.0.0/8", "11.0.0.0/8"]);
  });
});
