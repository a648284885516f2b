import { describe, expect, test } from "vitest";
import { encodeProxyHeader } from "#agent/dataplane/userspace/proxy-protocol.ts";

const ipv4 = {
  family: "IPv4",
  clientAddress: "198.51.100.7",
  clientPort: 40_000,
  frontendAddress: "192.0.2.1",
  frontendPort: 443,
} as const;
const ipv6 = {
  family: "IPv6",
  clientAddress: "2001:db8::a",
  clientPort: 1,
  frontendAddress: "::ffff:192.0.2.1",
  frontendPort: 65_535,
} as const;

describe("the PROXY protocol's header", () => {
  test("says nothing unless it is asked for", () => {
    expect(encodeProxyHeader("none", ipv4)).toHaveLength(0);
  });

  test.each([
    [ipv4, "PROXY TCP4 198.51.100.7 192.0.2.1 40000 443\r\n"],
    [ipv6, "PROXY TCP6 2001:db8::a ::ffff:192.0.2.1 1 65535\r\n"],
  ])("is one line of text in version 1", (ends, wanted) => {
    expect(encodeProxyHeader("v1", ends).toString("latin1")).toBe(wanted);
  });

  test.each([
    [ipv4, "0d0a0d0a000d0a515549540a 21 11 000c c6336407 c0000201 9c40 01bb"],
    [ipv6, "0d0a0d0a000d0a515549540a 21 21 0024 20010db800000000000000000000000a 00000000000000000000ffffc0000201 0001 ffff"],
  ])("is signature, command, family, length, addresses and ports in version 2", (ends, wanted) => {
    expect(encodeProxyHeader("v2", ends).toString("hex")).toBe(wanted.replaceAll(" ", ""));
  });
});
