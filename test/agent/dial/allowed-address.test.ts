import { describe, expect, test } from "vitest";
import { createAddressProblem, sameAddress } from "#agent/dial/allowed-address.ts";

const problem = createAddressProblem({
  ownAddresses: () => ["10.244.0.9", "fd00:10::9", "127.0.0.1"],
  apiservers: () => ["https://10.0.0.1:6443", "https://[fd00:10::1]:6443", "https://kubernetes.example"],
});

describe("an address that is never dialled", () => {
  test.each([
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "0:0:0:0:0:ffff:10.1.2.3",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2001::1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::1",
    "100::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",
    "FD00:0EC2:0:0::254",
    "fd00:ec2::23",
    "fd20:ce::254",
  ])("%s is forbidden", (address) => {
    expect(problem(address, 80)).toMatch(/^it is forbidden: /);
  });

  test.each([
    "",
    "localhost",
    "example.com",
    "10.1",
    "010.0.0.1",
    "0x7f000001",
    "2130706433",
    "10.0.0.1 ",
    "fe80::1%eth0",
    "fd00::1%1",
    "[fd00::1]",
    "10.0.0.0/8",
    "10.0.0.1:80",
  ])("%j is no address", (text) => {
    expect(problem(text, 80)).toBe("it is no plain IP address");
  });

  test.each(["10.244.0.9", "fd00:10::9", "FD00:10:0:0::0009"])("%s is the agent's own", (address) => {
    expect(problem(address, 80)).toBe("it is the agent's own");
  });

  test.each([
    ["10.0.0.1", 6443],
    ["fd00:10::1", 6443],
    ["fd00:10:0::1", 6443],
  ])("%s port %i is an apiserver's", (address, port) => {
    expect(problem(address, port)).toBe("it is an apiserver's");
  });
});

describe("an address that may be dialled", () => {
  test.each(["10.244.1.7", "172.16.0.1", "192.168.1.1", "192.0.2.1", "100.64.0.1", "8.8.8.8", "fd00:10::8", "2001:db8::1", "2600::1"])(
    "%s",
    (address) => {
      expect(problem(address, 80)).toBeUndefined();
    },
  );

  test("another port of an apiserver's machine, which is a node", () => {
    expect(problem("10.0.0.1", 22)).toBeUndefined();
  });
});

test("an address is the same however it is written, and no text that is none is an address", () => {
  expect(sameAddress("fd00:10::9", "FD00:0010:0::9")).toBe(true);
  expect(sameAddress("10.0.0.1", "::ffff:10.0.0.1")).toBe(false);
  expect(sameAddress("", "")).toBe(false);
});
