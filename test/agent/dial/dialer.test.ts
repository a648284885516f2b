/** What is dialled for a target, and what is not: against forged objects, other users' pods, and addresses that have moved on. */
import { describe, expect, test } from "vitest";
import type { Socket as UdpSocket } from "node:dgram";
import { Socket } from "node:net";
import { createAddressProblem } from "#agent/dial/allowed-address.ts";
import { Dialer } from "#agent/dial/dialer.ts";
import { ObjectReader } from "#agent/dial/reader.ts";
import type { TcpOutcome } from "#agent/dial/sockets.ts";
import type { ForwardTarget } from "#core/kube/forward-target.ts";
import { node, paths, pod, service, slices } from "#test/support/forward-cluster.ts";
import type { ClusterObjects, PodOptions } from "#test/support/forward-cluster.ts";

interface Scene {
  readonly objects: ClusterObjects;
  /** `verb resource/subresource namespace/name`; everything unless given. */
  readonly allowed?: (right: string) => boolean;
  /** What a connection to an address comes to; made unless given. */
  readonly outcome?: (address: string) => TcpOutcome;
  readonly random?: () => number;
}

function stage({ objects, allowed = () => true, outcome, random = () => 0.5 }: Scene) {
  const dialled: string[] = [];
  const asked: string[] = [];
  const read: string[] = [];
  const dialer = new Dialer({
    reader: new ObjectReader({
      get: async (path) => {
        read.push(path);
        const object = objects[path.split("?")[0] ?? ""];
        return object === undefined
          ? { type: "refused", status: 404, reason: "NotFound" }
          : { type: "object", object: object as Readonly<Record<string, unknown>> }; // JSON, as made above
      },
    }),
    reviews: {
      isAllowed: async (_user, { verb, resource, subresource, namespace, name }) => {
        const right = `${verb} ${[resource, subresource].filter((part) => part !== "").join("/")} ${namespace}/${name}`;
        asked.push(right);
        return allowed(right);
      },
    },
    sockets: {
      connectTcp: async (address, port) => {
        dialled.push(`${address} ${port}`);
        return outcome?.(address) ?? { type: "connected", socket: new Socket() };
      },
      openUdp: async (address, port) => {
        dialled.push(`${address} ${port} udp`);
        return {} as UdpSocket; // nothing is sent
      },
    },
    addressProblem: createAddressProblem({ ownAddresses: () => ["10.9.9.9"], apiservers: () => ["https://10.0.0.1:6443"] }),
    random,
  });
  return { dialer, dialled, asked, read };
}

const alice = { username: "alice", uid: "", groups: [], extra: {} };
const never = new AbortController().signal;

function target(text: string, protocol: "tcp" | "udp" = "tcp"): ForwardTarget {
  const [type = "", name = "", portText = ""] = text.split(/[/:]/);
  const port = /^\d+$/.test(portText) ? ({ type: "number", port: Number(portText) } as const) : ({ type: "name", name: portText } as const);
  if (type === "node") return { type, name, protocol, port };
  return { type: type as "pod" | "service" | "deployment", namespace: "web", name, protocol, port }; // the tests write no other
}

const podA = (more: Partial<PodOptions> = {}): ClusterObjects => ({ [paths.pod("a")]: pod({ name: "a", address: "10.1.0.5", ...more }) });

/** A Service "shop" with these endpoints, and the pods "a" (10.1.0.5) and "b" (10.1.0.6). */
function shop(endpoints: Parameters<typeof slices>[1], spec: object = {}): ClusterObjects {
  return {
    [paths.service("shop")]: service([{ name: "http", port: 80 }], spec),
    [paths.slices()]: slices([{ name: "http", port: 8080 }], endpoints),
    ...podA(),
    [paths.pod("b")]: pod({ name: "b", address: "10.1.0.6" }),
  };
}

describe("a pod", () => {
  test("is dialled at its address, for a user who may create its portforward", async () => {
    const { dialer, dialled, asked } = stage({ objects: podA() });
    const { chosen } = await dialer.connectTcp(target("pod/a:8080"), alice, never);
    expect([chosen.text, dialled, asked]).toEqual(["pods/web/a/8080", ["10.1.0.5 8080"], ["create pods/portforward web/a"]]);
  });

  test("has ports by the names of its containers' ports, of the same protocol", async () => {
    const ports = [
      { name: "dns", containerPort: 53, protocol: "UDP" },
      { name: "dns-tcp", containerPort: 5300 },
    ];
    const { dialer, dialled } = stage({ objects: podA({ ports }) });
    await dialer.openUdp(target("pod/a:dns", "udp"), alice);
    expect(dialled).toEqual(["10.1.0.5 53 udp"]);
    await expect(dialer.connectTcp(target("pod/a:dns"), alice, never)).rejects.toMatchObject({
      code: "TARGET_UNKNOWN",
      message: expect.stringContaining("its ports are dns 53/UDP, dns-tcp 5300/TCP"),
    });
  });

  test("is forbidden before it is read, whether it is there or not", async () => {
    const { dialer, dialled, read } = stage({ objects: {}, allowed: () => false });
    await expect(dialer.connectTcp(target("pod/a:80"), alice, never)).rejects.toMatchObject({ code: "POLICY_DENIED" });
    expect([dialled, read]).toEqual([[], []]);
  });

  test.each([["Succeeded"], ["Failed"], ["Pending"], [""]])(
    "in phase %j is not dialled: its address may be another's by now",
    async (phase) => {
      const { dialer, dialled } = stage({ objects: podA({ phase }) });
      await expect(dialer.connectTcp(target("pod/a:80"), alice, never)).rejects.toMatchObject({ code: "TARGET_UNREACHABLE" });
      expect(dialled).toEqual([]);
    },
  );

  test.each(["127.0.0.1", "169.254.169.254", "10.9.9.9", "::ffff:10.1.0.5", "not-an-address"])(
    "whose status says %s is not dialled",
    async (address) => {
      const { dialer, dialled } = stage({ objects: podA({ address }) });
      await expect(dialer.connectTcp(target("pod/a:80"), alice, never)).rejects.toMatchObject({ code: "TARGET_REFUSED" });
      expect(dialled).toEqual([]);
    },
  );

  test("in its node's network needs the right to the node too", async () => {
    const objects = { ...podA({ address: "10.0.0.7", hostNetwork: true }), [paths.node("n1")]: node("10.0.0.7") };
    const { dialer, dialled } = stage({ objects, allowed: (right) => right !== "create nodes/proxy /n1" });
    await expect(dialer.connectTcp(target("pod/a:80"), alice, never)).rejects.toMatchObject({ code: "POLICY_DENIED" });
    expect(dialled).toEqual([]);
    const second = stage({ objects });
    await second.dialer.connectTcp(target("pod/a:80"), alice, never);
    expect(second.asked).toEqual(["create pods/portforward web/a", "create nodes/proxy /n1"]);
  });

  test("in its node's network is not dialled at an address that is none of the node's", async () => {
    const objects = { ...podA({ address: "10.0.0.8", hostNetwork: true }), [paths.node("n1")]: node("10.0.0.7") };
    const { dialer, dialled } = stage({ objects });
    await expect(dialer.connectTcp(target("pod/a:80"), alice, never)).rejects.toMatchObject({ code: "TARGET_REFUSED" });
    expect(dialled).toEqual([]);
  });

  test("that was replaced by another of its name is no longer the same", async () => {
    const objects: Record<string, object> = { ...podA() };
    const { dialer } = stage({ objects });
    const chosen = await dialer.describe(target("pod/a:80"), alice);
    expect(await chosen.isCurrent()).toBe(true);
    Object.assign(objects, podA({ uid: "another" }));
    expect(await chosen.isCurrent()).toBe(false);
    Object.assign(objects, podA({ address: "10.1.0.9" }));
    expect(await chosen.isCurrent()).toBe(false);
    delete objects[paths.pod("a")];
    expect(await chosen.isCurrent()).toBe(false);
  });
});

describe("a Service", () => {
  test("is a ready endpoint's pod, at the endpoint's port", async () => {
    const { dialer, dialled, asked } = stage({
      objects: shop([
        { address: "10.1.0.5", pod: "a", conditions: { ready: false } },
        { address: "10.1.0.6", pod: "b" },
      ]),
    });
    const { chosen } = await dialer.connectTcp(target("service/shop:http"), alice, never);
    expect([chosen.text, dialled, asked]).toEqual(["pods/web/b/8080", ["10.1.0.6 8080"], ["create pods/portforward web/b"]]);
  });

  test("falls back to endpoints that still serve while they end", async () => {
    const { dialer, dialled } = stage({
      objects: shop([
        { address: "10.1.0.5", pod: "a", conditions: { ready: false, serving: true, terminating: true } },
        { address: "10.1.0.6", pod: "b", conditions: { ready: false, serving: false, terminating: true } },
      ]),
    });
    await dialer.connectTcp(target("service/shop:80"), alice, never);
    expect(dialled).toEqual(["10.1.0.5 8080"]);
  });

  test("tries another endpoint when a connection was never made, and few of them", async () => {
    const endpoints = Array.from({ length: 9 }, (_, index) => ({ address: `10.1.1.${index}`, pod: `p${index}` }));
    const pods = Object.fromEntries(endpoints.map(({ address, pod: name }) => [paths.pod(name), pod({ name, address })]));
    const { dialer, dialled } = stage({
      objects: { ...shop(endpoints), ...pods },
      outcome: () => ({ type: "failed", reason: "connection refused" }),
    });
    await expect(dialer.connectTcp(target("service/shop:80"), alice, never)).rejects.toMatchObject({
      code: "TARGET_UNREACHABLE",
      message: expect.stringContaining("connection refused"),
    });
    expect(dialled).toHaveLength(3);
  });

  test("with session affinity keeps a user at one pod, and moves them only when it goes", async () => {
    const both = [
      { address: "10.1.0.5", pod: "a" },
      { address: "10.1.0.6", pod: "b" },
    ];
    const random = Math.random;
    const { dialer } = stage({ objects: shop(both, { sessionAffinity: "ClientIP" }), random });
    const chosen = new Set<string>();
    for (let round = 0; round < 20; round++) chosen.add((await dialer.describe(target("service/shop:80"), alice)).text);
    expect(chosen.size).toBe(1);
    const left = both.filter(({ pod: name }) => ![...chosen][0]?.includes(`/${name}/`));
    const { dialer: after } = stage({ objects: shop(left, { sessionAffinity: "ClientIP" }), random });
    expect((await after.describe(target("service/shop:80"), alice)).text).toBe(`pods/web/${left[0]?.pod}/8080`);
  });

  test("without a port of that name or number says which ones it has", async () => {
    const { dialer } = stage({ objects: shop([{ address: "10.1.0.5", pod: "a" }]) });
    await expect(dialer.describe(target("service/shop:8080"), alice)).rejects.toMatchObject({
      code: "TARGET_UNKNOWN",
      message: expect.stringContaining("its ports are http 80/TCP"),
    });
    await expect(dialer.describe(target("service/shop:80", "udp"), alice)).rejects.toMatchObject({ code: "TARGET_UNKNOWN" });
  });

  test("of type ExternalName is refused", async () => {
    const objects = {
      [paths.service("shop")]: service([{ port: 80 }], { type: "ExternalName", externalName: "metadata.google.internal" }),
    };
    const { dialer, read } = stage({ objects });
    await expect(dialer.connectTcp(target("service/shop:80"), alice, never)).rejects.toMatchObject({ code: "TARGET_REFUSED" });
    expect(read).toEqual([paths.service("shop")]);
  });

  test.each([
    ["no pod", [{ address: "10.1.0.5" }]],
    ["a pod of another namespace", [{ address: "10.1.0.5", pod: "a", namespace: "kube-system" }]],
    ["a pod at another's address", [{ address: "10.1.0.6", pod: "a" }]],
    ["a pod at the metadata address", [{ address: "169.254.169.254", pod: "a" }]],
    ["a pod with another UID", [{ address: "10.1.0.5", pod: "a", uid: "old" }]],
    ["a pod that is not there", [{ address: "10.1.0.5", pod: "ghost" }]],
    ["a name that is a path", [{ address: "10.1.0.5", pod: "../secrets/a" }]],
    ["a name with a query", [{ address: "10.1.0.5", pod: "a?x=" }]],
  ])("with an endpoint of %s dials nothing", async (_what, endpoints) => {
    const { dialer, dialled, read } = stage({ objects: shop(endpoints) });
    await expect(dialer.connectTcp(target("service/shop:80"), alice, never)).rejects.toMatchObject({
      code: expect.stringMatching(/^TARGET_(?:REFUSED|UNREACHABLE)$/),
    });
    expect(dialled).toEqual([]);
    expect(read.filter((path) => path.includes("secrets") || path.includes("?x="))).toEqual([]);
  });

  test("goes past a forged endpoint to a true one", async () => {
    const objects = shop([
      { address: "169.254.169.254", pod: "a" },
      { address: "10.1.0.6", pod: "b" },
    ]);
    for (const random of [() => 0.1, () => 0.9, Math.random]) {
      const { dialer, dialled } = stage({ objects, random });
      await dialer.connectTcp(target("service/shop:80"), alice, never);
      expect(dialled).toEqual(["10.1.0.6 8080"]);
    }
  });

  test("tells a user who may neither read it nor forward to its pods the same, whether it is there or not", async () => {
    const absent = stage({ objects: {}, allowed: () => false });
    const there = stage({ objects: shop([{ address: "10.1.0.5", pod: "a" }]), allowed: () => false });
    const messages: unknown[] = [];
    for (const { dialer } of [absent, there])
      await dialer.describe(target("service/shop:80"), alice).catch((error: unknown) => messages.push(error));
    expect(messages[0]).toMatchObject({ code: "POLICY_DENIED" });
    expect(messages[1]).toEqual(messages[0]);
  });
});

describe("a Deployment", () => {
  const path = paths.deployment("shop");
  const selected = (...pods: object[]): ClusterObjects => ({
    [path]: { spec: { selector: { matchLabels: { app: "shop" } } } },
    [paths.pods()]: { items: pods },
    ...Object.fromEntries(pods.map((each) => [paths.pod((each as { metadata: { name: string } }).metadata.name), each])), // as made by pod()
  });
  const [a, b] = [pod({ name: "a", address: "10.1.0.5" }), pod({ name: "b", address: "10.1.0.6" })];

  test("is one of its ready pods for all of a user's connections", async () => {
    const { dialer, dialled, read } = stage({ objects: selected(a, b), random: Math.random });
    for (let round = 0; round < 9; round++) await dialer.connectTcp(target("deployment/shop:80"), alice, never);
    expect(new Set(dialled).size).toBe(1);
    expect(read).toContain(`${paths.pods()}?labelSelector=app%3Dshop&limit=250`);
  });

  test("follows when its pod goes", async () => {
    const gone = pod({ name: "a", address: "10.1.0.5", terminating: true });
    const { dialer, dialled } = stage({ objects: selected(gone, b) });
    await dialer.connectTcp(target("deployment/shop:80"), alice, never);
    expect(dialled).toEqual(["10.1.0.6 80"]);
  });

  test("without a pod that runs, or without a selector, reaches nothing", async () => {
    const none = stage({ objects: selected(pod({ name: "a", address: "10.1.0.5", phase: "Pending" })) });
    await expect(none.dialer.describe(target("deployment/shop:80"), alice)).rejects.toMatchObject({ code: "TARGET_UNREACHABLE" });
    const everything = stage({ objects: { ...selected(a), [path]: { spec: { selector: {} } } } });
    await expect(everything.dialer.describe(target("deployment/shop:80"), alice)).rejects.toMatchObject({ code: "TARGET_UNREACHABLE" });
  });
});

describe("a node", () => {
  test("is its InternalIP, for a user who may create nodes/proxy", async () => {
    const { dialer, dialled, asked } = stage({ objects: { [paths.node("n1")]: node("10.0.0.7") } });
    await dialer.connectTcp(target("node/n1:22"), alice, never);
    expect([dialled, asked]).toEqual([["10.0.0.7 22"], ["create nodes/proxy /n1"]]);
  });

  test.each([
    ["127.0.0.1", 80],
    ["169.254.169.254", 80],
    ["10.9.9.9", 80],
    ["10.0.0.1", 6443],
  ])("whose status says %s is not dialled at %i", async (address, port) => {
    const { dialer, dialled } = stage({ objects: { [paths.node("n1")]: node(address) } });
    await expect(dialer.connectTcp(target(`node/n1:${port}`), alice, never)).rejects.toMatchObject({ code: "TARGET_REFUSED" });
    expect(dialled).toEqual([]);
  });

  test("is forbidden to others before it is read", async () => {
    const { dialer, read } = stage({ objects: {}, allowed: () => false });
    await expect(dialer.describe(target("node/n1:22"), alice)).rejects.toMatchObject({ code: "POLICY_DENIED" });
    expect(read).toEqual([]);
  });
});
