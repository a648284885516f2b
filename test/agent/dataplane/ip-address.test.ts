import { describe, expect, test } from "vitest";
import { canonicalAddress, createAddressRanges } from "#agent/dataplane/ip-address.ts";

describe("an IP address", () => {
  test.each([
    ["10.0.0.1", "IPv4", "10.0.0.1"],
    ["010.0.0.1", "IPv4", undefined],
    ["10.0.0", "IPv4", undefined],
    ["fd00::1", "IPv4", undefined],
    ["FD00:0:0::0001", "IPv6", "fd00::1"],
    ["::ffff:192.0.2.1", "IPv6", "::ffff:192.0.2.1"],
    ["fe80::1%eth0", "IPv6", undefined],
    ["10.0.0.1", "IPv6", undefined],
    ["", "IPv6", undefined],
  ] as const)("%j as %s has the one text %j", (address, family, wanted) => {
    expect(canonicalAddress(address, family)).toBe(wanted);
  });
});

describe("address ranges", () => {
  test.each([
    [["10.0.0.0/8"], "IPv4", "10.255.0.1", true],
    [["10.0.0.0/8"], "IPv4", "11.0.0.1", false],
    [["0.0.0.0/0"], "IPv4", "203.0.113.9", true],
    [[" 10.0.0.0/8 "], "IPv4", "10.1.1.1", true],
    [["fd00::/8"], "IPv6", "fd12::1", true],
    [["fe80::/10"], "IPv6", "fe80::1%eth0", true],
    [["::/0"], "IPv4", "10.0.0.1", false],
    [["10.0.0.0/33", "10.0.0.0", "10.0.0.0/", "10.0.0.0/8/8", "nonsense/8", "10.0.0.0/-1", ""], "IPv4", "10.0.0.1", false],
    [[], "IPv4", "10.0.0.1", false],
  ] as const)("%j of %s hold %s: %j", (cidrs, family, address, wanted) => {
    expect(createAddressRanges(cidrs, family)(address)).toBe(wanted);
  });
});
