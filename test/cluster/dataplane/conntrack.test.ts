/** Real entries of the kernel's conntrack, made by real UDP through nftables rules, before and after reconciliation. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "#agent/clock.ts";
import { ConntrackReconciler, type ReconcileOutcome } from "#agent/dataplane/conntrack/reconciler.ts";
import { createConntrackRunner, createConntrackTable } from "#agent/dataplane/conntrack/tool.ts";
import type { IpFamily, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { endpoint, servicePort, serviceTable } from "#test/agent/dataplane/userspace/tables.ts";
import type { LineReader } from "../harness/line-reader.ts";
import { type Namespace, openNamespace } from "./namespace.ts";
import type { PeerAnswer, PeerRequest } from "./peers/main.ts";

/** The addresses of one family: a node, two pods, a Service. */
interface Addresses {
  readonly family: IpFamily;
  readonly node: string;
  readonly first: string;
  readonly second: string;
  readonly clusterIp: string;
  readonly other: string;
}

const families: readonly Addresses[] = [
  { family: "IPv4", node: "10.0.0.5", first: "10.1.0.1", second: "10.1.0.2", clusterIp: "10.96.0.10", other: "10.96.0.11" },
  { family: "IPv6", node: "fd00:a::5", first: "fd00:b::1", second: "fd00:b::2", clusterIp: "fd00:96::a", other: "fd00:96::b" },
];
const nodePort = 30_053;
const port = 53;
const targetPort = 5353;

let namespace: Namespace;
let peers: LineReader<PeerAnswer>;
let nextId = 0;

beforeEach(async () => {
  namespace = await openNamespace();
  peers = namespace.start<PeerAnswer>("peers");
});
afterEach(() => namespace.stop());

type Wish<Request> = Request extends unknown ? Omit<Request, "id"> : never;

async function wish(request: Wish<PeerRequest>): Promise<string> {
  const id = nextId++;
  peers.say(JSON.stringify({ ...request, id }));
  return (await peers.waitFor((line) => line.id === id)).answer;
}

/** Two pods that serve, and a wire by which packets to the addresses of Services leave that nobody translates. */
async function prepare({ family, node, first, second, clusterIp, other }: Addresses): Promise<void> {
  const bits = family === "IPv4" ? 32 : 128;
  for (const address of [node, first, second])
    await namespace.run("ip", ["addr", "add", `${address}/${bits}`, "dev", "lo", ...nodad(family)]);
  await namespace.run("ip", ["link", "add", "wire", "up", "type", "veth", "peer", "name", "end"]);
  await namespace.run("ip", ["link", "set", "end", "up"]);
  for (const address of [clusterIp, other]) await namespace.run("ip", ["route", "add", `${address}/${bits}`, "dev", "wire", "src", node]);
  for (const address of [first, second]) await wish({ type: "serve", address, port: targetPort });
}

function nodad(family: IpFamily): readonly string[] {
  return family === "IPv6" ? ["nodad"] : [];
}

/** Rules that send everything for the Service, its node port, and another Service beside it to one pod; none where no pod is given. */
async function program({ family, node, clusterIp, other }: Addresses, pod: string | undefined): Promise<void> {
  const ip = family === "IPv4" ? "ip" : "ip6";
  const to = family === "IPv4" ? `${pod}:${targetPort}` : `[${pod}]:${targetPort}`;
  const rule = (address: string, number: number): string => `${ip} daddr ${address} udp dport ${number} dnat to ${to}`;
  // Without any rule that asks for connections the kernel would not track them.
  const rules = pod === undefined ? ["ct state new counter"] : [rule(clusterIp, port), rule(other, port), rule(node, nodePort)];
  const chain = `chain output {\n type nat hook output priority -100\n${rules.join("\n")}\n}`;
  await namespace.run("nft", ["-f", "-"], `table ${ip} test\ndelete table ${ip} test\ntable ${ip} test {\n${chain}\n}\n`);
}

/** The Service with pods that serve. What the other Service's address does is nobody's concern. */
function tableOf({ family, node, clusterIp }: Addresses, pods: readonly string[]): ServiceTable {
  const serving = pods.map((pod) => endpoint(targetPort, pod));
  return serviceTable([servicePort({ family, protocol: "UDP", clusterIp, port, nodePort, endpoints: serving })], {
    family,
    nodePortAddresses: { type: "only", addresses: [node] },
  });
}

/** A new one each time, so that each reads the kernel's table. */
async function reconcile(table: ServiceTable, conntrack = [...namespace.enter, "conntrack"]): Promise<ReconcileOutcome> {
  const reconciler = new ConntrackReconciler({
    table: createConntrackTable(createConntrackRunner(conntrack)),
    clock: systemClock,
    isLocalAddress: () => false,
    onPeriodic: () => undefined,
  });
  const outcome = await reconciler.afterApply(table);
  await reconciler.stop();
  return outcome;
}

describe.each(families)("UDP entries of $family", (addresses) => {
  const { node, first, second, clusterIp, other } = addresses;
  const ask = (client: string, address: string, number: number) => wish({ type: "ask", client, address, port: number });

  test("to a pod that is gone are deleted, so that their clients reach the next one", async () => {
    await prepare(addresses);
    await program(addresses, first);
    expect([await ask("a", clusterIp, port), await ask("b", node, nodePort)]).toEqual([first, first]);
    await program(addresses, second);
    expect([await ask("a", clusterIp, port), await ask("b", node, nodePort)]).toEqual([first, first]);
    const outcome = await reconcile(tableOf(addresses, [second]));
    expect(outcome).toMatchObject({ type: "reconciled", deleted: 2, unreadable: 0 });
    expect([await ask("a", clusterIp, port), await ask("b", node, nodePort)]).toEqual([second, second]);
  });

  test("to a pod that serves on are kept, and those of other addresses too", async () => {
    await prepare(addresses);
    await program(addresses, first);
    const questions = () => Promise.all([ask("a", clusterIp, port), ask("b", node, nodePort), ask("c", other, port)]);
    expect(await questions()).toEqual([first, first, first]);
    await program(addresses, second);
    expect(await reconcile(tableOf(addresses, [first, second]))).toMatchObject({ type: "reconciled", deleted: 0 });
    expect(await reconcile(tableOf(addresses, []))).toMatchObject({ type: "reconciled", deleted: 0 });
    expect(await questions()).toEqual([first, first, first]);
    expect(await reconcile(tableOf(addresses, [second]))).toMatchObject({ type: "reconciled", deleted: 2 });
    expect(await ask("c", other, port)).toBe(first);
  });

  test("made before there were rules are deleted, so that their clients find the Service", async () => {
    await prepare(addresses);
    await program(addresses, undefined);
    await wish({ type: "tell", client: "early", address: clusterIp, port });
    await program(addresses, first);
    const outcome = await reconcile(tableOf(addresses, [first]));
    expect(outcome).toMatchObject({ type: "reconciled", deleted: 1 });
    expect(await ask("early", clusterIp, port)).toBe(first);
  });
});

test("an entry of another zone is another program's, and is left alone", async () => {
  const [addresses] = families;
  if (addresses === undefined) throw new Error("there is a first family");
  await prepare(addresses);
  await program(addresses, addresses.first);
  const zone = `chain zone {\n type filter hook output priority raw\n ip daddr ${addresses.clusterIp} ct zone set 7\n}`;
  await namespace.run("nft", ["-f", "-"], `table ip zones {\n${zone}\n}\n`);
  await wish({ type: "tell", client: "a", address: addresses.clusterIp, port });
  expect(await reconcile(tableOf(addresses, [addresses.second]))).toMatchObject({ type: "reconciled", deleted: 0 });
  expect(await namespace.run("conntrack", ["-L", "-p", "udp", "-w", "7"])).toContain(addresses.clusterIp);
});

test("a machine without the program is told so, and stays as it is", async () => {
  const [addresses] = families;
  if (addresses === undefined) throw new Error("there is a first family");
  expect(await reconcile(tableOf(addresses, [addresses.first]), ["/nonexistent/conntrack"])).toMatchObject({
    type: "failed",
    deleted: 0,
    message: expect.stringContaining("ENOENT; install the package conntrack"),
  });
});
