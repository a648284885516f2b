/** The TCP balancer in front of servers that speak real TLS: what a client sees of servers that refuse, freeze, fall, come back or go. */
import { once } from "node:events";
import { connect, createServer as createTcpServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { connect as tlsConnect, createServer as createTlsServer } from "node:tls";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { Balancer } from "#agent/apiserver/balancer.ts";
import { deadServerMs, dialTimeoutMs, firstAnswerMs, probeIntervalMs, silentClientMs } from "#agent/apiserver/limits.ts";
import { isHandshakeOnly } from "#agent/apiserver/passage.ts";
import type { ProbeOutcome } from "#agent/apiserver/probe.ts";
import { ManualClock } from "../manual-clock.ts";
import { closedPort } from "../scripted-server.ts";
import { createAuthority } from "./certificates.ts";
import type { Issued } from "./certificates.ts";
import { plainTls } from "./pool-maker.ts";

let authority: string;
let issued: Issued;
const closers: (() => void)[] = [];

beforeAll(async () => {
  const made = await createAuthority("balanced cluster");
  authority = made.certificate;
  issued = await made.issue("kube-apiserver", ["kubernetes.default.svc"]);
});
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

interface TestServer {
  readonly url: string;
  readonly sockets: Socket[];
}

async function listening(server: Server, sockets: Socket[]): Promise<TestServer> {
  server.on("connection", (socket: Socket) => {
    sockets.push(socket);
    socket.on("error", () => undefined); // told by what its client sees
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, sockets }; // a TCP listener
}

/** Says its name to each client, and then what the client says. */
async function startEcho(name: string): Promise<TestServer> {
  const server = createTlsServer({ cert: issued.certificate, key: issued.key, allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.write(`${name}|`);
    socket.pipe(socket);
  });
  return listening(server, []);
}

/** Takes connections and says nothing, as a frozen process does; keeps what it got. */
async function startFrozen(): Promise<TestServer & { readonly got: () => Buffer; readonly spoken: Promise<void> }> {
  const chunks: Buffer[] = [];
  const { promise: spoken, resolve } = Promise.withResolvers<void>();
  const server = createTcpServer((socket) => {
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      resolve();
    });
  });
  return { ...(await listening(server, [])), got: () => Buffer.concat(chunks), spoken };
}

interface Bench {
  readonly clock: ManualClock;
  readonly balancer: Balancer;
  readonly port: number;
  /** What the next probes of each server say; ready unless it is set. */
  readonly outcomes: Map<string, ProbeOutcome>;
  /** Moves on by one interval, and lets the probes be answered. */
  readonly probed: (times: number) => Promise<void>;
  /** Resolves with the servers that never answer, as they were dialled, once so many dials were made. */
  readonly hung: (count: number) => Promise<readonly string[]>;
}

/** Dials that never end lead there. */
const unreachable = "https://192.0.2.1:6443";

async function balance(urls: readonly string[]): Promise<Bench> {
  const clock = new ManualClock();
  const outcomes = new Map<string, ProbeOutcome>();
  const dials: string[] = [];
  const waiters = new Set<() => void>();
  const balancer = new Balancer({
    servers: urls.map(addressOf),
    tls: () => plainTls,
    authorization: async () => undefined,
    clock,
    random: () => 0.5,
    dial: (host, port) => {
      if (!host.startsWith("192.0.2.")) return connect({ host, port, allowHalfOpen: true });
      dials.push(`https://${host}:${port}`);
      for (const waiter of waiters) waiter();
      return connect({ host: "never.test", port, lookup: () => undefined });
    },
    probe: ({ url }) => ({ ask: async () => outcomes.get(url) ?? "ready", onLost: undefined, close: async () => undefined }),
  });
  balancer.start();
  const server = createTcpServer({ allowHalfOpen: true }, (socket) => balancer.accept(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    void balancer.close();
    server.close();
  });
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  };
  await settle();
  const probed = async (times: number): Promise<void> => {
    for (let time = 0; time < times; time += 1) {
      clock.advance(probeIntervalMs * 1.1);
      await settle();
    }
  };
  const hung = (count: number): Promise<readonly string[]> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (dials.length >= count) resolve(dials);
      };
      waiters.add(look);
      look();
    });
  return { clock, balancer, port: (server.address() as AddressInfo).port, outcomes, probed, hung }; // a TCP listener
}

function addressOf(url: string) {
  return { url, ca: undefined, serverName: undefined };
}

/** A client of the balancer, which verifies the server itself. */
function dial(port: number): TLSSocket {
  const socket = tlsConnect({ host: "127.0.0.1", port, ca: authority, servername: "kubernetes.default.svc" });
  socket.on("error", () => undefined); // told by the close
  closers.push(() => socket.destroy());
  return socket;
}

async function read(socket: TLSSocket, wanted: string): Promise<string> {
  let text = "";
  while (!text.includes(wanted)) {
    const [chunk] = (await once(socket, "data")) as [Buffer]; // what a socket's event gives
    text += chunk.toString();
  }
  return text;
}

/** Which server a new client reaches. */
async function reached(port: number): Promise<{ readonly socket: TLSSocket; readonly name: string }> {
  const socket = dial(port);
  return { socket, name: (await read(socket, "|")).split("|")[0] ?? "" };
}

describe("a connection", () => {
  it("is the server's own TLS, and carries bytes both ways until both have ended", async () => {
    const { port, balancer } = await balance([(await startEcho("a")).url]);
    const { socket, name } = await reached(port);
    expect([name, socket.authorized]).toEqual(["a", true]);
    socket.end("question");
    expect(await read(socket, "question")).toBe("question");
    await once(socket, "close");
    await balancer.drained();
    expect(balancer.connections).toBe(0);
  });

  it("goes to the server with the fewest", async () => {
    const { port } = await balance([(await startEcho("a")).url, (await startEcho("b")).url, (await startEcho("c")).url]);
    const names: string[] = [];
    for (let count = 0; count < 6; count += 1) names.push((await reached(port)).name);
    expect(names.toSorted()).toEqual(["a", "a", "b", "b", "c", "c"]);
  });

  it("is spread over the servers among many that come at once, before any of them is through", async () => {
    const urls = [unreachable, unreachable.replace("2.1", "2.2"), unreachable.replace("2.1", "2.3")];
    const { port, hung } = await balance(urls);
    const clients = Array.from({ length: 30 }, () => connect(port, "127.0.0.1"));
    for (const client of clients) client.on("error", () => undefined).write(Buffer.from([22, 3, 1, 0, 0]));
    const dials = await hung(30);
    expect(urls.map((url) => dials.filter((dialled) => dialled === url).length)).toEqual([10, 10, 10]);
    for (const client of clients) client.destroy();
  });

  it("that is quiet for a day is still there", async () => {
    const { port, clock } = await balance([(await startEcho("a")).url]);
    const { socket } = await reached(port);
    clock.advance(86_400_000);
    socket.write("still here");
    expect(await read(socket, "still here")).toBe("still here");
  });

  it("costs a server nothing until its client speaks, and ends when that does not", async () => {
    const server = await startEcho("a");
    const { port, clock, balancer } = await balance([server.url]);
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    // Whoever comes later is taken later.
    await reached(port);
    expect([balancer.connections, server.sockets.length]).toEqual([2, 1]);
    clock.advance(silentClientMs);
    await once(socket, "close");
    expect(balancer.connections).toBe(1);
  });
});

describe("a server", () => {
  it("where nothing listens costs no client its connection", async () => {
    const { port, balancer } = await balance([`https://127.0.0.1:${await closedPort()}`, (await startEcho("b")).url]);
    for (let count = 0; count < 4; count += 1) expect((await reached(port)).name).toBe("b");
    expect(balancer.state().servers.map(({ health }) => health)).toContain("notReady");
  });

  it("that takes a connection and says nothing is left for one that answers the same ClientHello", async () => {
    const frozen = await startFrozen();
    const { port, clock } = await balance([frozen.url, (await startEcho("b")).url]);
    const client = reached(port);
    await frozen.spoken;
    clock.advance(firstAnswerMs);
    const { name, socket } = await client;
    expect([name, socket.authorized, isHandshakeOnly(frozen.got())]).toEqual(["b", true, true]);
  });

  it("that says nothing never has a client's early data sent to another", async () => {
    const [frozen, other] = [await startFrozen(), await startFrozen()];
    const { port, clock } = await balance([frozen.url, other.url]);
    const client = connect(port, "127.0.0.1");
    client.on("error", () => undefined);
    client.write(Buffer.concat([Buffer.from([22, 3, 1, 0, 2, 1, 0]), Buffer.from([23, 3, 3, 0, 1, 7])]));
    await frozen.spoken;
    clock.advance(firstAnswerMs);
    await once(client.resume(), "close");
    expect([frozen.sockets.length, other.sockets.length]).toEqual([1, 0]);
  });

  it("that cannot be dialled in time is left for the next", async () => {
    const { port, clock, hung } = await balance([unreachable, (await startEcho("b")).url]);
    const client = reached(port);
    await hung(1);
    clock.advance(dialTimeoutMs);
    expect((await client).name).toBe("b");
  });

  it("that is alone is waited for, however slow", async () => {
    const { port, clock } = await balance([(await startFrozen()).url]);
    const client = connect(port, "127.0.0.1");
    client.write(Buffer.from([22, 3, 1, 0, 0]));
    await once(client, "ready");
    clock.advance(firstAnswerMs * 4);
    expect(client.destroyed).toBe(false);
    client.destroy();
  });

  it("that is not ready gets no new connection, and keeps those it has", async () => {
    const [a, b] = [await startEcho("a"), await startEcho("b")];
    const { port, outcomes, probed } = await balance([a.url, b.url]);
    const first = await reached(port);
    expect(first.name).toBe("a");
    outcomes.set(a.url, "notReady");
    await probed(20);
    for (let count = 0; count < 3; count += 1) expect((await reached(port)).name).toBe("b");
    first.socket.write("a watch goes on");
    expect(await read(first.socket, "goes on")).toBe("a watch goes on");
  });

  it("is tried all the same when none is ready", async () => {
    const a = await startEcho("a");
    const { port, outcomes, probed, balancer } = await balance([a.url]);
    outcomes.set(a.url, "notReady");
    await probed(2);
    expect([balancer.state().ready, (await reached(port)).name]).toEqual([false, "a"]);
  });

  it("that has come back gets a small share at first", async () => {
    const [a, b] = [await startEcho("a"), await startEcho("b")];
    const { port, outcomes, probed, clock } = await balance([a.url, b.url]);
    outcomes.set(a.url, "unreachable");
    await probed(2);
    outcomes.set(a.url, "ready");
    await probed(2);
    const names: string[] = [];
    for (let count = 0; count < 9; count += 1) names.push((await reached(port)).name);
    expect(names.filter((name) => name === "a").length).toBeLessThan(2);
    clock.advance(60_000);
    expect((await reached(port)).name).toBe("a");
  });

  it("that is dead loses its silent connections, and no other server its own", async () => {
    const [a, b] = [await startEcho("a"), await startEcho("b")];
    const { port, outcomes, probed } = await balance([a.url, b.url]);
    const [onA, onB] = [await reached(port), await reached(port)];
    expect([onA.name, onB.name]).toEqual(["a", "b"]);
    outcomes.set(a.url, "unreachable");
    const lost = new Promise((resolve) => onA.socket.on("close", resolve).resume());
    await probed(Math.ceil((2 * deadServerMs) / probeIntervalMs) + 2);
    await lost;
    onB.socket.write("untouched");
    expect(await read(onB.socket, "untouched")).toBe("untouched");
  });

  it("that breaks a connection off breaks it at the client too", async () => {
    const a = await startEcho("a");
    const { port } = await balance([a.url]);
    const { socket } = await reached(port);
    const closed = new Promise((resolve) => socket.on("close", resolve));
    a.sockets[0]?.resetAndDestroy();
    await closed;
  });

  it("that leaves the list keeps its connections, and one that joins gets new ones", async () => {
    const [a, b] = [await startEcho("a"), await startEcho("b")];
    const { port, balancer } = await balance([a.url]);
    const { socket } = await reached(port);
    balancer.setServers([addressOf(b.url)]);
    for (let count = 0; count < 3; count += 1) expect((await reached(port)).name).toBe("b");
    socket.write("kept");
    expect(await read(socket, "kept")).toBe("kept");
  });
});

describe("what may be sent to a second server", () => {
  it.each<[string, readonly number[], boolean]>([
    ["nothing", [], true],
    ["a handshake record", [22, 3, 1, 0, 2, 1, 0], true],
    ["two of them", [22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 1, 1], true],
    ["a part of one", [22, 3, 1, 2, 0, 1], true],
    ["one with early data behind", [22, 3, 1, 0, 1, 1, 23, 3, 3, 0, 1, 1], false],
    ["an alert", [21, 3, 3, 0, 2, 1, 0], false],
    ["HTTP", [...Buffer.from("GET / HTTP/1.1")], false],
  ])("%s: %j", (_name, bytes, wanted) => {
    expect(isHandshakeOnly(Uint8Array.from(bytes))).toBe(wanted);
  });
});
