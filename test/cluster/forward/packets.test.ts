/**
 * No packet to a forbidden address leaves the agent, not even a SYN: its dialer runs in a network namespace of its own, where the kernel counts
 * every packet that is sent, on loopback too.
 */
import { once } from "node:events";
import { createServer } from "node:net";
import { createSocket } from "node:dgram";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ForwardTarget } from "#core/kube/forward-target.ts";
import { node, paths, pod, service, slices } from "#test/support/forward-cluster.ts";
import { mustRun, runCommand, startCommand } from "#test/cluster/harness/command.ts";
import { LineReader } from "#test/cluster/harness/line-reader.ts";
import type { DialOrder } from "./order.ts";

const place = `sally-dial-${process.pid}`;
const outside = "10.99.0.1";
const inside = "10.99.0.2";
const port = 7070;
const counters = `table inet sent {
  chain out {
    type filter hook output priority 0;
    # Neighbour discovery of the kernel's own, which nobody dialled.
    meta l4proto ipv6-icmp accept
    counter
  }
}
`;
let dialer: LineReader<string>;
let asked = 0;

beforeAll(async () => {
  const device = `sd${process.pid % 10_000}`;
  await mustRun("ip", ["netns", "add", place]);
  await mustRun("ip", ["link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", place]);
  await mustRun("ip", ["addr", "add", `${outside}/24`, "dev", device]);
  await mustRun("ip", ["link", "set", device, "up"]);
  for (const words of [
    ["addr", "add", `${inside}/24`, "dev", "eth0"],
    ["link", "set", "lo", "up"],
    ["link", "set", "eth0", "up"],
    // Everything has a way out: nothing is kept in for want of a route.
    ["route", "add", "default", "via", outside],
    ["-6", "route", "add", "default", "dev", "eth0"],
  ])
    await mustRun("ip", ["-n", place, ...words]);
  await mustRun("ip", ["netns", "exec", place, "nft", "--file", "-"], { stdin: counters });
  const program = ["netns", "exec", place, process.execPath, "test/cluster/forward/main.ts"];
  dialer = new LineReader("dialer", startCommand("ip", program), (text) => text);
});

afterAll(async () => {
  await dialer.finish();
  await runCommand("ip", ["netns", "del", place]);
});

async function dial(target: ForwardTarget, objects: Readonly<Record<string, object>>): Promise<string> {
  const order: DialOrder = { target, objects: JSON.parse(JSON.stringify(objects)) };
  dialer.say(JSON.stringify(order));
  asked += 1;
  return (await dialer.take(asked))[asked - 1] ?? "";
}

async function sent(): Promise<number> {
  const list = await mustRun("ip", ["netns", "exec", place, "nft", "list", "chain", "inet", "sent", "out"]);
  return Number(/packets (\d+)/.exec(list)?.[1]);
}

const number = { type: "number", port } as const;

/** Every way in which an object can name an address. */
function routes(address: string): readonly (readonly [target: ForwardTarget, objects: Readonly<Record<string, object>>])[] {
  const family = address.includes(":") ? "IPv6" : "IPv4";
  const here = { [paths.pod("a")]: pod({ name: "a", address }) };
  const hosted = { [paths.pod("a")]: pod({ name: "a", address, hostNetwork: true }), [paths.node("n1")]: node(address) };
  const shop = {
    [paths.service("shop")]: service([{ port }]),
    [paths.slices()]: slices([{ port }], [{ address, pod: "a" }], family),
    [paths.pod("a")]: pod({ name: "a", address: "10.99.0.77" }),
  };
  return (["tcp", "udp"] as const).flatMap((protocol) => {
    const toPod: ForwardTarget = { type: "pod", namespace: "web", name: "a", protocol, port: number };
    const toService: ForwardTarget = { type: "service", namespace: "web", name: "shop", protocol, port: number };
    const toNode: ForwardTarget = { type: "node", name: "n1", protocol, port: number };
    const udpShop = { ...shop, [paths.service("shop")]: service([{ port, protocol: protocol.toUpperCase() }]) };
    const udpSlices = { [paths.slices()]: slices([{ port, protocol: protocol.toUpperCase() }], [{ address, pod: "a" }], family) };
    return [
      [toPod, here],
      [toPod, hosted],
      [toNode, { [paths.node("n1")]: node(address) }],
      [toService, { ...udpShop, ...udpSlices }],
      [toService, { ...udpShop, ...udpSlices, ...here }],
    ] as const;
  });
}

describe("a forbidden address is sent nothing", () => {
  test.each([
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "0.0.0.0",
    "::",
    "169.254.169.254",
    "169.254.1.1",
    "fe80::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.99.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
    "240.0.0.1",
    inside,
    "localhost",
    "metadata.google.internal",
    "0x7f.1",
    "2130706433",
  ])("%s", async (address) => {
    const before = await sent();
    for (const [target, objects] of routes(address)) expect([target, await dial(target, objects)]).toEqual([target, "TARGET_REFUSED"]);
    expect(await sent()).toBe(before);
  });

  test("an apiserver's address and port", async () => {
    const before = await sent();
    const target: ForwardTarget = { type: "node", name: "n1", protocol: "tcp", port: { type: "number", port: 6443 } };
    expect(await dial(target, { [paths.node("n1")]: node("10.99.0.9") })).toBe("TARGET_REFUSED");
    expect(await sent()).toBe(before);
  });
});

describe("an ordinary address is sent what was dialled, and the counter sees it", () => {
  test.each(["tcp", "udp"] as const)("by %s", async (protocol) => {
    const before = await sent();
    const target: ForwardTarget = { type: "pod", namespace: "web", name: "a", protocol, port: number };
    const objects = { [paths.pod("a")]: pod({ name: "a", address: outside }) };
    const listener =
      protocol === "tcp" ? createServer((socket) => socket.destroy()).listen(port, outside) : createSocket("udp4").bind(port, outside);
    await once(listener, "listening");
    expect(await dial(target, objects)).toBe("connected");
    listener.close();
    expect(await sent()).toBeGreaterThan(before);
  });
});
