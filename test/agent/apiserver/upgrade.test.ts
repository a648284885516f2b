import { once } from "node:events";
import type { Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { dialTimeoutMs, upgradeTimeoutMs } from "#agent/apiserver/limits.ts";
import type { ApiserverPool, UpstreamRequest } from "#agent/apiserver/upstream.ts";
import { acceptValue } from "#agent/apiserver/upgrade.ts";
import { ManualClock } from "../manual-clock.ts";
import { closedPort, readHead, startTcpServer } from "../scripted-server.ts";
import type { ScriptedServer } from "../scripted-server.ts";
import { codeOf, makePool, makeRequest, readAll } from "./pool-maker.ts";

const servers: ScriptedServer[] = [];
let pool: ApiserverPool | undefined;

afterEach(async () => {
  await pool?.close();
  await Promise.all(servers.splice(0).map(async (server) => server.close()));
});

const key = Buffer.alloc(16, 7).toString("base64");
const exec = "/api/v1/namespaces/a/pods/b/exec?command=sh&stdin=true";
const portForward = "SPDY/3.1+portforward.k8s.io";

/** A 101 that is right, with lines changed (undefined takes one out) or added. */
function switching(changed: Readonly<Record<string, string | undefined>> = {}): string {
  const lines = { Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Accept": acceptValue(key), ...changed };
  const kept = Object.entries(lines).filter((line): line is [string, string] => line[1] !== undefined);
  return `HTTP/1.1 101 Switching Protocols\r\n${kept.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
}

/** A pool whose one server answers each upgrade with a text; it keeps the heads that it got. */
async function poolAgainst(
  answer: string | ((socket: Socket) => void),
): Promise<{ readonly pool: ApiserverPool; readonly heads: string[]; readonly server: ScriptedServer }> {
  const heads: string[] = [];
  const server = await startTcpServer((socket) => {
    void readHead(socket).then((head) => {
      heads.push(head);
      if (typeof answer === "string") socket.write(answer, "latin1");
      else answer(socket);
    });
  });
  servers.push(server);
  pool = makePool([server.url]);
  return { pool, heads, server };
}

function makeUpgrade(protocols: string | undefined, request: Partial<UpstreamRequest> = {}): UpstreamRequest {
  const offered = protocols === undefined ? [] : [["Sec-WebSocket-Protocol", protocols] as const];
  return makeRequest({ target: exec, headers: offered, longRunning: true, ...request });
}

it("the accept value is the one of RFC 6455's own example", () => {
  expect(acceptValue("dGhlIHNhbXBsZSBub25jZQ==")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

describe("an upgrade request", () => {
  it("asks for websocket, with handshake headers of its own only", async () => {
    const { pool: made, heads } = await poolAgainst(switching());
    await made.upgrade(
      makeUpgrade(undefined, {
        headers: [
          ["Sec-WebSocket-Key", "ZXZpbA=="],
          ["Sec-WebSocket-Version", "8"],
          ["Sec-WebSocket-Extensions", "permessage-deflate"],
          ["Connection", "Impersonate-User"],
          ["Upgrade", "h2c"],
          ["HTTP2-Settings", "AAMAAABk"],
          ["Host", "elsewhere.example"],
          ["Content-Length", "5"],
          ["Impersonate-User", "alice"],
          ["Impersonate-Group", "a"],
          ["Impersonate-Group", "b"],
          ["Origin", "https://console.example"],
        ],
      }),
    );
    expect(heads[0]?.replace(/^Host: .*\r\n/m, "")).toBe(
      [
        `GET ${exec} HTTP/1.1`,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        `Sec-WebSocket-Key: ${key}`,
        "Impersonate-User: alice",
        "Impersonate-Group: a",
        "Impersonate-Group: b",
        "Origin: https://console.example",
        "",
        "",
      ].join("\r\n"),
    );
  });

  it.each([
    ["v5.channel.k8s.io, v4.channel.k8s.io", "v5.channel.k8s.io, v4.channel.k8s.io"],
    [portForward, portForward],
    ["base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io", "v4.channel.k8s.io"],
    ["v5.channel.k8s.io , base64url.bearer.authorization.k8s.io.c2VjcmV0,v4.channel.k8s.io", "v5.channel.k8s.io, v4.channel.k8s.io"],
  ])("that offers %s offers %s", async (given, offered) => {
    const { pool: made, heads } = await poolAgainst(switching());
    await made.upgrade(makeUpgrade(given));
    expect(/^Sec-WebSocket-Protocol: (.*)\r$/m.exec(heads[0] ?? "")?.[1]).toBe(offered);
  });

  it.each([
    ["offers nothing but a bearer token", makeUpgrade("base64url.bearer.authorization.k8s.io.c2VjcmV0")],
    ["offers what is no sub-protocol", makeUpgrade("v5.channel.k8s.io, a b")],
    ["is a POST", makeUpgrade("v5.channel.k8s.io", { method: "POST" })],
  ])("that %s is refused before any connection", async (_what, request) => {
    const { pool: made, server } = await poolAgainst(switching());
    expect([await codeOf(made.upgrade(request)), server.connections()]).toEqual(["REQUEST_INVALID", 0]);
  });
});

describe("an upgrade's answer", () => {
  it.each([["v5.channel.k8s.io"], [portForward]])(
    "that chooses the offered %s is a connection, with the bytes behind it",
    async (protocol) => {
      const { pool: made } = await poolAgainst(`${switching({ "Sec-WebSocket-Protocol": protocol, "Audit-ID": "1" })}\x82\x01\x01`);
      const outcome = await made.upgrade(makeUpgrade(protocol));
      expect(outcome).toMatchObject({ type: "switched", protocol, head: Buffer.from("\x82\x01\x01", "latin1") });
      expect(outcome.type === "switched" && outcome.headers.filter(([name]) => /^(connection|upgrade)$/i.test(name))).toEqual([]);
    },
  );

  it("without a sub-protocol is a connection without one", async () => {
    const { pool: made } = await poolAgainst(switching());
    expect(await made.upgrade(makeUpgrade("v5.channel.k8s.io"))).toMatchObject({ type: "switched", protocol: undefined });
  });

  const hostile: readonly (readonly [string, string])[] = [
    ["a wrong accept value", switching({ "Sec-WebSocket-Accept": acceptValue("bm90IHRoZSBrZXkgc2VudA==") })],
    ["no accept value", switching({ "Sec-WebSocket-Accept": undefined })],
    ["a sub-protocol that was not offered", switching({ "Sec-WebSocket-Protocol": "v4.channel.k8s.io" })],
    ["two sub-protocols", switching({ "Sec-WebSocket-Protocol": "v5.channel.k8s.io", "sec-websocket-protocol": "v5.channel.k8s.io" })],
    ["an extension", switching({ "Sec-WebSocket-Extensions": "permessage-deflate" })],
    ["another protocol than websocket", switching({ Upgrade: "SPDY/3.1" })],
    ["no Upgrade header", switching({ Upgrade: undefined })],
    ["no Connection: Upgrade", switching({ Connection: "keep-alive" })],
    ["200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
    ["204", "HTTP/1.1 204 No Content\r\n\r\n"],
    ["301", "HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"],
    ["302 to another host", "HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n"],
    [
      "307 with an upgrade",
      "HTTP/1.1 307 Temporary Redirect\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    ],
    ["both Content-Length and chunks", "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["no HTTP", "SSH-2.0-OpenSSH_9.6\r\n\r\n"],
    ["a flood of informational responses", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(500)],
  ];

  it.each(hostile)("with %s is UPSTREAM_INVALID, its connection is closed and none other made", async (_name, answer) => {
    const closed = Promise.withResolvers<undefined>();
    const { pool: made, server } = await poolAgainst((socket) => {
      socket.on("close", () => closed.resolve(undefined));
      socket.write(answer, "latin1");
    });
    expect(await codeOf(made.upgrade(makeUpgrade("v5.channel.k8s.io")))).toBe("UPSTREAM_INVALID");
    await closed.promise;
    expect(server.connections()).toBe(1);
  });

  it.each([400, 401, 403, 404, 426, 429, 500, 503])("of %i passes with its body, and its connection is closed", async (status) => {
    const closed = Promise.withResolvers<undefined>();
    const { pool: made } = await poolAgainst((socket) => {
      socket.on("close", () => closed.resolve(undefined));
      socket.write(`HTTP/1.1 ${status} Refused\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 4\r\n\r\nwhy?HTTP/1.1 200 OK\r\n`);
    });
    const outcome = await made.upgrade(makeUpgrade("v5.channel.k8s.io"));
    if (outcome.type !== "answered") throw new Error("it was switched");
    const { response } = outcome;
    expect([response.status, await readAll(response.body), response.headers.slice(0, 2)]).toEqual([
      status,
      "why?",
      [
        ["X-A", "1"],
        ["X-A", "2"],
      ],
    ]);
    await closed.promise;
  });
});

describe("an upgrade that fails", () => {
  it("goes to another server when nothing of it was written", async () => {
    const { server } = await poolAgainst(switching());
    await pool?.close();
    pool = makePool([`http://127.0.0.1:${await closedPort()}`, server.url]);
    for (const affinity of ["a", "b", "c", "d", "e", "f"]) {
      expect((await pool.upgrade(makeUpgrade(undefined, { affinity }))).type).toBe("switched");
    }
  });

  it("is never sent again once it was written", async () => {
    const asked: string[] = [];
    const start = async (): Promise<ScriptedServer> => {
      const server = await startTcpServer((socket) => {
        void readHead(socket).then((head) => {
          asked.push(head);
          socket.resetAndDestroy();
        });
      });
      servers.push(server);
      return server;
    };
    pool = makePool([(await start()).url, (await start()).url]);
    expect([await codeOf(pool.upgrade(makeUpgrade(undefined))), asked.length]).toEqual(["UPSTREAM_LOST", 1]);
  });

  it("because no server can be reached is UPSTREAM_UNREACHABLE", async () => {
    pool = makePool([`http://127.0.0.1:${await closedPort()}`]);
    expect(await codeOf(pool.upgrade(makeUpgrade(undefined)))).toBe("UPSTREAM_UNREACHABLE");
  });

  it("because no answer comes is UPSTREAM_TIMEOUT, with the connection closed", async () => {
    const clock = new ManualClock();
    const arrived = Promise.withResolvers<Socket>();
    const { server } = await poolAgainst((socket) => arrived.resolve(socket));
    await pool?.close();
    pool = makePool([server.url], { clock });
    const upgraded = codeOf(pool.upgrade(makeUpgrade(undefined)));
    const socket = await arrived.promise;
    const closed = once(socket, "close");
    clock.advance(dialTimeoutMs + upgradeTimeoutMs);
    expect(await upgraded).toBe("UPSTREAM_TIMEOUT");
    await closed;
    expect(clock.waiting).toBe(0);
  });

  it.each(["before the answer", "after the switch"])("because its user goes %s closes the connection", async (when) => {
    const arrived = Promise.withResolvers<Socket>();
    const { pool: made } = await poolAgainst((socket) => {
      if (when === "after the switch") socket.write(switching());
      arrived.resolve(socket);
    });
    const aborter = new AbortController();
    const reason = new Error("the user has gone");
    const upgraded = codeOf(made.upgrade(makeUpgrade(undefined, { signal: aborter.signal })));
    const closed = once(await arrived.promise, "close");
    if (when === "after the switch") await upgraded;
    aborter.abort(reason);
    await closed;
    expect(await upgraded).toBe(when === "after the switch" ? "fulfilled" : reason);
  });
});

describe("an upgrade to another protocol than WebSocket", () => {
  const spdy = (protocols: readonly string[], request: Partial<UpstreamRequest> = {}): UpstreamRequest =>
    makeRequest({
      ...{ method: "POST", target: exec, longRunning: true, protocol: "SPDY/3.1" },
      headers: [
        ...protocols.map((protocol) => ["X-Stream-Protocol-Version", protocol] as const),
        ["Content-Length", "7"],
        ["Upgrade", "h2c"],
      ],
      ...request,
    });
  const switched = (lines: readonly string[] = ["Upgrade: SPDY/3.1"]): string =>
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;

  it("asks for it by the client's method, without a body and with what is offered", async () => {
    const { pool: made, heads } = await poolAgainst(switched());
    await made.upgrade(spdy(["v4.channel.k8s.io", "v3.channel.k8s.io"]));
    expect(heads[0]?.replace(/^Host: .*\r\n/m, "")).toBe(
      [
        ...[`POST ${exec} HTTP/1.1`, "Connection: Upgrade", "Upgrade: SPDY/3.1", "Content-Length: 0"],
        ...["X-Stream-Protocol-Version: v4.channel.k8s.io", "X-Stream-Protocol-Version: v3.channel.k8s.io", "", ""],
      ].join("\r\n"),
    );
  });

  it("writes nothing behind the head of a POST or a GET", async () => {
    for (const method of ["POST", "GET"]) {
      const { pool: made, server } = await poolAgainst((socket) => {
        socket.write(switched());
        socket.on("data", (chunk: Buffer) => socket.end(`got ${chunk.toString()}`));
      });
      const opened = await made.upgrade(spdy([], { method }));
      if (opened.type !== "switched") throw new Error("it was not switched");
      opened.socket.write("first bytes");
      const [chunk] = (await once(opened.socket, "data")) as [Buffer]; // what a socket's event gives
      expect([chunk.toString(), server.connections()]).toEqual(["got first bytes", 1]);
    }
  });

  it("gives the connection, what was chosen, and the bytes behind the head", async () => {
    const { pool: made } = await poolAgainst(`${switched(["Upgrade: spdy/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"])}bytes`);
    const opened = await made.upgrade(spdy(["v4.channel.k8s.io"]));
    expect(opened).toMatchObject({ type: "switched", protocol: "v4.channel.k8s.io", head: Buffer.from("bytes") });
  });

  it.each([
    ["to another protocol", switched(["Upgrade: websocket"])],
    ["to two", switched(["Upgrade: SPDY/3.1", "Upgrade: h2c"])],
    ["to none", switched([])],
    ["without Connection: Upgrade", switched().replace("Connection: Upgrade", "Connection: close")],
    ["to a stream protocol that was not offered", switched(["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v5.channel.k8s.io"])],
    [
      "to two stream protocols",
      switched(["Upgrade: SPDY/3.1", ...["v4", "v4"].map((name) => `X-Stream-Protocol-Version: ${name}.channel.k8s.io`)]),
    ],
    ["with 200", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["with a redirect", "HTTP/1.1 307 X\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"],
  ])("is invalid when it is answered %s", async (_what, answer) => {
    const { pool: made } = await poolAgainst(answer);
    expect(await codeOf(made.upgrade(spdy(["v4.channel.k8s.io"])))).toBe("UPSTREAM_INVALID");
  });

  it.each(["SPDY/3.1, h2c", "a b", "", "a\r\nb"])(
    "is refused before any connection when it names no one protocol: %j",
    async (protocol) => {
      const { pool: made, server } = await poolAgainst(switched());
      expect([await codeOf(made.upgrade(spdy([], { protocol }))), server.connections()]).toEqual(["REQUEST_INVALID", 0]);
    },
  );
});
