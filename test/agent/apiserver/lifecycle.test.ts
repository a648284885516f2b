import { once } from "node:events";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import type { Probe, ProbeOutcome } from "#agent/apiserver/probe.ts";
import type { ApiserverPool, UpstreamResponse } from "#agent/apiserver/upstream.ts";
import { ManualClock } from "../manual-clock.ts";
import { closedPort, readHead, startHttpServer, startTcpServer } from "../scripted-server.ts";
import type { ScriptedServer } from "../scripted-server.ts";
import { codeOf, makePool, makeRequest, readAll } from "./pool-maker.ts";

const servers: ScriptedServer[] = [];
let pool: ApiserverPool | undefined;

afterEach(async () => {
  await pool?.close();
  await Promise.all(servers.splice(0).map(async (server) => server.close()));
});

async function keep(starting: Promise<ScriptedServer>): Promise<ScriptedServer> {
  const server = await starting;
  servers.push(server);
  return server;
}

/** Probes that a test answers; `next` moves the clock to the next one and answers it. */
class ScriptedProbes {
  readonly clock = new ManualClock();
  outcome: ProbeOutcome = "ready";
  readonly probe = (): Probe => ({ ask: async () => this.outcome, onLost: undefined, close: async () => undefined });

  async next(outcome: ProbeOutcome): Promise<void> {
    this.outcome = outcome;
    this.clock.advance(1500);
    await Promise.resolve();
    await Promise.resolve();
  }
}

async function started(urls: readonly string[]): Promise<{ readonly probes: ScriptedProbes; readonly pool: ApiserverPool }> {
  const probes = new ScriptedProbes();
  const made = makePool(urls, { clock: probes.clock, probe: probes.probe });
  pool = made;
  made.start();
  await Promise.resolve();
  await Promise.resolve();
  return { probes, pool: made };
}

/** A server on which watches open and stay; `send` writes to the last one. */
async function watchServer(
  contentType = "application/json",
): Promise<{ readonly server: ScriptedServer; readonly send: (text: string) => void }> {
  let write: (text: string) => void = () => undefined;
  const server = await keep(
    startHttpServer((_request, response) => {
      response.writeHead(200, { "content-type": contentType });
      response.flushHeaders();
      write = (text) => void response.write(text);
    }),
  );
  return { server, send: (text) => write(text) };
}

async function openWatch(from: ApiserverPool, target = "/api/v1/pods?watch=1"): Promise<UpstreamResponse> {
  return from.request(makeRequest({ target, longRunning: true }));
}

describe("when probes say that a server is not ready", () => {
  it("its watches end cleanly within ten seconds, and a list in flight finishes", async () => {
    const { server, send } = await watchServer();
    const { probes, pool: made } = await started([server.url]);
    const watch = await openWatch(made);
    const first = once(watch.body, "data");
    send('{"type":"ADDED"}\n');
    await first;
    const list = await openWatch(made, "/api/v1/pods");
    await probes.next("notReady");
    await probes.next("notReady");
    expect(made.state().servers[0]?.health).toBe("notReady");
    const ended = readAll(watch.body);
    probes.clock.advance(10_000);
    expect(await ended).toBe("");
    expect(list.body.destroyed).toBe(false);
    list.body.destroy();
  });

  it("a watch in the middle of an event ends behind it", async () => {
    const { server, send } = await watchServer();
    const { probes, pool: made } = await started([server.url]);
    const watch = await openWatch(made);
    const first = once(watch.body, "data");
    send('{"type":"ADDED",');
    const [half] = (await first) as [Buffer];
    await probes.next("notReady");
    await probes.next("notReady");
    probes.clock.advance(5_100);
    const rest = readAll(watch.body);
    send('"object":{}}\n');
    expect(half.toString() + (await rest)).toBe('{"type":"ADDED","object":{}}\n');
  });

  it("followed logs go on", async () => {
    const { server, send } = await watchServer("text/plain");
    const { probes, pool: made } = await started([server.url]);
    const log = await openWatch(made, "/api/v1/namespaces/a/pods/b/log?follow=true&watch=true");
    await probes.next("notReady");
    await probes.next("notReady");
    probes.clock.advance(60_000);
    const line = once(log.body, "data");
    send("still here\n");
    expect(String(((await line) as [Buffer])[0])).toBe("still here\n");
    log.body.destroy();
  });

  it("requests go on to it when there is no other", async () => {
    const server = await keep(startHttpServer((_request, response) => response.end("still")));
    const { probes, pool: made } = await started([server.url]);
    await probes.next("notReady");
    await probes.next("notReady");
    expect([made.state().ready, await readAll((await made.request(makeRequest())).body)]).toEqual([false, "still"]);
  });
});

describe("a server that has gone silent", () => {
  it("loses requests that wait for an answer after 15 s, so that a POST is told and not repeated", async () => {
    const arrived = Promise.withResolvers<undefined>();
    const server = await keep(startTcpServer((socket) => void readHead(socket).then(() => arrived.resolve(undefined))));
    const { probes, pool: made } = await started([server.url]);
    const answered = codeOf(made.request(makeRequest({ method: "POST" })));
    await arrived.promise;
    for (let probe = 0; probe < 9; probe += 1) await probes.next("unreachable");
    expect(made.state().servers[0]?.inFlight).toBe(1);
    await probes.next("unreachable");
    await probes.next("unreachable");
    expect(await answered).toBe("UPSTREAM_LOST");
  });

  it("loses its upgraded connections too", async () => {
    const { pool: made, probes, socket } = await upgraded(() => undefined);
    const closed = new Promise((resolve) => {
      socket.on("close", resolve);
    });
    for (let probe = 0; probe < 12; probe += 1) await probes.next("unreachable");
    await closed;
    expect(made.state().servers[0]?.inFlight).toBe(0);
  });

  it("keeps an upgraded connection on which bytes still come", async () => {
    let feed: (text: string) => void = () => undefined;
    const { probes, socket } = await upgraded((peer) => {
      feed = (text) => void peer.write(text);
    });
    socket.on("data", () => undefined);
    for (let probe = 0; probe < 20; probe += 1) {
      const heard = once(socket, "data");
      feed("x");
      await heard;
      await probes.next("unreachable");
    }
    expect(socket.destroyed).toBe(false);
  });

  it("keeps them while only its health is bad", async () => {
    const { probes, socket } = await upgraded(() => undefined);
    for (let probe = 0; probe < 40; probe += 1) await probes.next("notReady");
    expect(socket.destroyed).toBe(false);
  });

  async function upgraded(
    then: (peer: Socket) => void,
  ): Promise<{ readonly pool: ApiserverPool; readonly probes: ScriptedProbes; readonly socket: Duplex }> {
    const server = await keep(
      startTcpServer((peer) => {
        void readHead(peer).then((head) => {
          peer.write(switchingAnswer(head));
          then(peer);
        });
      }),
    );
    const begun = await started([server.url]);
    const outcome = await begun.pool.upgrade(makeRequest({ target: "/api/v1/namespaces/a/pods/b/exec" }));
    if (outcome.type !== "switched") throw new Error("the upgrade was answered");
    return { ...begun, socket: outcome.socket };
  }
});

describe("a watch whose apiserver dies", () => {
  it.each([
    ["between events", '{"type":"ADDED"}\n', "ended"],
    ["within an event", '{"type":"ADD', "broken"],
  ])("%s is %s", async (_when, text, wanted) => {
    const { server, send } = await watchServer();
    const { pool: made } = await started([server.url]);
    const watch = await openWatch(made);
    const first = once(watch.body, "data");
    send(text);
    await first;
    const rest = codeOf(readAll(watch.body));
    for (const socket of server.sockets) socket.resetAndDestroy();
    expect((await rest) === "fulfilled" ? "ended" : "broken").toBe(wanted);
  });

  it("makes a probe ask at once, so that a server that starts again is known to have ended", async () => {
    const { server } = await watchServer();
    const { probes, pool: made } = await started([server.url]);
    await probes.next("ready");
    probes.outcome = "refused";
    probes.clock.advance(100);
    const watch = await openWatch(made);
    const over = codeOf(readAll(watch.body));
    for (const socket of server.sockets) socket.resetAndDestroy();
    await over;
    await Promise.resolve();
    expect(made.state().servers[0]?.health).toBe("notReady");
  });

  it("makes no more than ten probes a second ask", async () => {
    const { server } = await watchServer();
    const { probes, pool: made } = await started([server.url]);
    await probes.next("ready");
    probes.outcome = "refused";
    const watch = await openWatch(made);
    const over = codeOf(readAll(watch.body));
    for (const socket of server.sockets) socket.resetAndDestroy();
    await over;
    await Promise.resolve();
    expect(made.state().servers[0]?.health).toBe("ready");
    probes.clock.advance(100);
    await Promise.resolve();
    await Promise.resolve();
    expect(made.state().servers[0]?.health).toBe("notReady");
  });

  it("is cut when it is a list, even between lines", async () => {
    const { server, send } = await watchServer();
    const { pool: made } = await started([server.url]);
    const list = await openWatch(made, "/api/v1/pods");
    const first = once(list.body, "data");
    send("{}\n");
    await first;
    const rest = codeOf(readAll(list.body));
    for (const socket of server.sockets) socket.resetAndDestroy();
    expect(await rest).not.toBe("fulfilled");
  });
});

describe("failed requests", () => {
  it("take out at most half of the servers", async () => {
    const breaking = (): Promise<ScriptedServer> => keep(startTcpServer((socket) => socket.destroy()));
    const { probes, pool: made } = await started([await breaking(), await breaking(), await breaking()].map(({ url }) => url));
    await probes.next("ready");
    for (let request = 0; request < 10; request += 1) await codeOf(made.request(makeRequest()));
    expect(made.state().servers.filter(({ health }) => health === "ejected")).toHaveLength(1);
  });

  it("of which one is refused take a server out until two good probes: what listens there again has only begun to start", async () => {
    const port = await closedPort();
    const answering = await keep(startHttpServer((_request, response) => void response.end("first")));
    const { probes, pool: made } = await started([`http://127.0.0.1:${port}`, answering.url]);
    await probes.next("ready");
    const ask = async (affinity: string): Promise<string> => readAll((await made.request(makeRequest({ affinity }))).body);
    const users = Array.from({ length: 20 }, (_, index) => `user-${index}`);
    for (const user of users) await ask(user);
    expect(made.state().servers[0]).toMatchObject({ health: "notReady", lastFailure: "ECONNREFUSED" });
    await keep(startTcpServer((socket) => void socket.end("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"), port));
    const before = await Promise.all(users.map((user) => ask(user)));
    expect(new Set(before)).toEqual(new Set(["first"]));
    await probes.next("ready");
    expect(made.state().servers[0]?.health).toBe("notReady");
    await probes.next("ready");
    expect(made.state().servers[0]?.health).toBe("ready");
  });

  it("are not needed where a probe is refused", async () => {
    const answering = await keep(startHttpServer((_request, response) => void response.end()));
    const { probes, pool: made } = await started([answering.url]);
    await probes.next("refused");
    expect(made.state().servers[0]?.health).toBe("notReady");
  });

  it.each([
    ["/api/v1/pods", true],
    ["/api/v1/namespaces/a/pods/b/proxy/", false],
    ["/apis/metrics.k8s.io/v1beta1/nodes", false],
  ])("with a 5xx that is no Status at %s count against the server: %s", async (target, counts) => {
    const broken = (): Promise<ScriptedServer> =>
      keep(startHttpServer((_request, response) => response.writeHead(502, { "content-type": "text/html" }).end("<html>")));
    const { probes, pool: made } = await started([(await broken()).url, (await broken()).url]);
    await probes.next("ready");
    for (let request = 0; request < 5; request += 1) await readAll((await made.request(makeRequest({ target }))).body);
    expect(made.state().servers.some(({ health }) => health === "ejected")).toBe(counts);
  });
});

it.each([
  ["/api/v1/pods", 1],
  ["/api/v1/namespaces/a/services/b/proxy/", 0],
])("a 401 at %s is told %i times as a refusal of the agent's own credential", async (target, told) => {
  let refusals = 0;
  const server = await keep(startHttpServer((_request, response) => response.writeHead(401).end()));
  pool = makePool([server.url], { onUnauthorized: () => (refusals += 1) });
  expect([(await pool.request(makeRequest({ target }))).status, refusals]).toEqual([401, told]);
});

describe("the list of servers", () => {
  it("can change while requests run: those that stay keep theirs, those that go lose only their watches", async () => {
    const gone = await watchServer();
    const stays = await keep(startHttpServer((_request, response) => response.end("stays")));
    const { probes, pool: made } = await started([gone.server.url]);
    const watch = await openWatch(made);
    const list = await openWatch(made, "/api/v1/pods");
    made.setServers([{ url: stays.url, ca: undefined, serverName: undefined }]);
    const ended = readAll(watch.body);
    probes.clock.advance(10_000);
    expect([await ended, await readAll((await made.request(makeRequest())).body), list.body.destroyed]).toEqual(["", "stays", false]);
    list.body.destroy();
  });

  it("keeps a server's health when it is named again", async () => {
    const server = await keep(startHttpServer((_request, response) => response.end()));
    const { probes, pool: made } = await started([server.url]);
    await probes.next("notReady");
    await probes.next("notReady");
    made.setServers([{ url: server.url, ca: undefined, serverName: undefined }]);
    expect(made.state().servers[0]?.health).toBe("notReady");
  });
});

function switchingAnswer(head: string): string {
  const key = /sec-websocket-key: (.*)\r\n/i.exec(head)?.[1] ?? "";
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`;
}

function acceptOf(key: string): string {
  // The fixed nonce of the pool maker has this answer (RFC 6455 section 4.2.2).
  return key === Buffer.alloc(16, 7).toString("base64") ? "CdXSYUsvsaMthlEXWDNURGWA/1o=" : "";
}
