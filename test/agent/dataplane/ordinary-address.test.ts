import { expect, test } from "vitest";
import { createOrdinaryAddress } from "#agent/dataplane/ordinary-address.ts";

test.each([
  ["10.0.0.1", "IPv4", true],
  ["192.0.2.1", "IPv4", true],
  ["0.0.0.0", "IPv4", false],
  ["127.0.0.1", "IPv4", false],
  ["127.255.255.254", "IPv4", false],
  ["169.254.169.254", "IPv4", false],
  ["224.0.0.1", "IPv4", false],
  ["255.255.255.255", "IPv4", false],
  ["fd00::1", "IPv6", true],
  ["2001:db8::1", "IPv6", true],
  ["::", "IPv6", false],
  ["::1", "IPv6", false],
  ["fe80::1", "IPv6", false],
  ["ff02::1", "IPv6", false],
  ["::ffff:127.0.0.1", "IPv6", false],
  ["::ffff:10.0.0.1", "IPv6", true],
] as const)("%s of %s is an address that a Service may have: %j", (address, family, wanted) => {
  expect(createOrdinaryAddress()(address, family)).toBe(wanted);
});
