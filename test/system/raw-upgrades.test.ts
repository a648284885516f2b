/** Upgrades to other protocols than WebSocket, carried in one: what the gateway takes, what the apiserver gets, and how both end. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import { openSocket, refusedSocket } from "#test/support/client-socket.ts";
import { RawConnection } from "#test/support/raw-connection.ts";
import { agentToken } from "#test/support/scripted-apiserver.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem({ variables: { UPLOAD_BUFFER_MIB: "1", MAX_STREAMS_PER_USER: "3" } });

const pod = "/api/v1/namespaces/web/pods/p";
const exec = `/k/one${pod}/exec?command=id&stdout=true`;
const raw = "v1.raw.sallyport.dev";
const streams = "v4.channel.k8s.io, v3.channel.k8s.io";
const spdy = { "sallyport-upgrade": "POST SPDY/3.1", "x-stream-protocol-version": streams };

interface Asked {
  readonly token: string;
  readonly protocols: readonly string[];
  readonly headers: Readonly<Record<string, string>>;
}

async function asked(
  headers: Readonly<Record<string, string>> = spdy,
  protocols: readonly string[] = [raw],
  name = "alice",
): Promise<Asked> {
  return { token: await system.cluster.token(name), protocols, headers };
}

function switchTo(protocol = "SPDY/3.1", lines = "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"): string {
  return `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n${lines}\r\n`;
}

/** The apiserver's end of the next upgrade, which it takes. */
function nextUpgrade(answer = switchTo()): Promise<{ readonly request: IncomingMessage; readonly socket: Duplex }> {
  return new Promise((resolve) => {
    system.apiserver.onUpgrade = (request, socket) => {
      socket.write(answer);
      resolve({ request, socket });
    };
  });
}

/** The agent has ended its connection, in order or not. */
function isOver(socket: Duplex): Promise<void> {
  return new Promise((resolve) => socket.on("end", () => resolve()).on("close", () => resolve()));
}

describe("a WebSocket that is to carry another upgrade", () => {
  test.each<[string, Readonly<Record<string, string>>, readonly string[], string?]>([
    ["without its sub-protocol", spdy, ["v5.channel.k8s.io"]],
    ["without any sub-protocol", spdy, []],
    ["without its header", {}, [raw]],
    ["with another sub-protocol beside", spdy, [raw, "v5.channel.k8s.io"]],
    ["that a web page opens", { ...spdy, origin: "https://evil.example" }, [raw]],
    ["to WebSocket", { "sallyport-upgrade": "GET websocket" }, [raw]],
    ["to h2c", { "sallyport-upgrade": "GET h2c" }, [raw]],
    ["to h2c behind services/proxy", { "sallyport-upgrade": "GET h2c" }, [raw], "/k/one/api/v1/namespaces/web/services/s/proxy/"],
    ["to HTTP/2.0", { "sallyport-upgrade": "GET HTTP/2.0" }, [raw]],
    ["to TLS/1.3", { "sallyport-upgrade": "GET TLS/1.3" }, [raw], "/k/one/api/v1/namespaces/web/services/s/proxy/"],
    ["to a list", { "sallyport-upgrade": "POST SPDY/3.1,h2c" }, [raw]],
    ["to a list with a space", { "sallyport-upgrade": "POST SPDY/3.1, h2c" }, [raw]],
    ["by DELETE", { "sallyport-upgrade": "DELETE SPDY/3.1" }, [raw]],
    ["by a method in small letters", { "sallyport-upgrade": "post SPDY/3.1" }, [raw]],
    ["to an unknown protocol", { "sallyport-upgrade": "GET foo" }, [raw]],
    ["to an unknown protocol of a kubelet", { "sallyport-upgrade": "GET foo" }, [raw], "/k/one/api/v1/nodes/n/proxy/run"],
    ["to SPDY on a path of no resource", spdy, [raw], "/k/one/version"],
    ["with a stream protocol that is none", { ...spdy, "x-stream-protocol-version": "v4 channel" }, [raw]],
  ])("is refused: %s", async (_name, headers, protocols, path = exec) => {
    const refused = await refusedSocket(system.gateway, path, await asked(headers, protocols));
    expect([refused.status, JSON.parse(refused.body).kind, system.apiserver.seen]).toEqual([400, "Status", []]);
  });

  test("is refused twice over: its header is repeated", async () => {
    const connection = await RawConnection.open(system.gateway);
    connection.write(await handshake(["Sallyport-Upgrade: GET SPDY/3.1"]));
    expect([(await connection.answer())?.status, system.apiserver.seen]).toEqual([400, []]);
    connection.close();
  });

  test("to a kubelet's exec is no reading of it", async () => {
    const refused = await refusedSocket(system.gateway, "/k/one/api/v1/nodes/n/proxy/containerLogs/a/b/c", await asked());
    expect([refused.status, system.apiserver.seen]).toEqual([403, []]);
  });

  test("becomes the client's own request, as the user, with the stream protocols that it offers", async () => {
    const upgraded = nextUpgrade();
    const client = await openSocket(system.gateway, exec, await asked({ ...spdy, "kubectl-command": "kubectl exec", cookie: "c=1" }));
    await upgraded;
    const [seen] = system.apiserver.seen;
    expect([seen?.method, seen?.target, client.protocol]).toEqual(["POST", `${pod}/exec?command=id&stdout=true`, raw]);
    const lines = (seen?.headers ?? []).map(([name, value]) => `${name.toLowerCase()}: ${value}`);
    expect(lines).toEqual(expect.arrayContaining(["connection: Upgrade", "upgrade: SPDY/3.1", "content-length: 0"]));
    expect(lines).toEqual(expect.arrayContaining(["impersonate-user: oidc:alice", `authorization: Bearer ${agentToken}`]));
    expect(lines).toContain("kubectl-command: kubectl exec");
    expect(lines.filter((line) => line.startsWith("x-stream"))).toEqual([
      "x-stream-protocol-version: v4.channel.k8s.io",
      "x-stream-protocol-version: v3.channel.k8s.io",
    ]);
    expect(lines.filter((line) => /^(?:sallyport|sec-websocket|cookie|transfer-encoding)/.test(line))).toEqual([]);
    client.socket.terminate();
  });

  test("needs the right to create, and is decided before the apiserver is asked", async () => {
    system.apiserver.review = () => false;
    const refused = await refusedSocket(system.gateway, exec, await asked(spdy, [raw], "bob"));
    expect([refused.status, system.apiserver.seen]).toEqual([403, []]);
    expect(system.apiserver.reviews[0]).toMatchObject({ resourceAttributes: { verb: "create", resource: "pods", subresource: "exec" } });
  });

  test("is written to the audit log as what it carries", async () => {
    const upgraded = nextUpgrade();
    const client = await openSocket(system.gateway, exec, await asked(spdy, [raw], "audited"));
    await upgraded;
    client.socket.terminate();
    const line = await system.agent.waitFor(/"ResponseComplete".*oidc:audited/);
    expect(JSON.parse(line)).toMatchObject({ verb: "create", objectRef: { subresource: "exec" }, responseStatus: { code: 101 } });
  });

  test("counts among its user's streams", async () => {
    const open = async () => {
      const upgraded = nextUpgrade();
      const client = await openSocket(system.gateway, exec, await asked(spdy, [raw], "many"));
      await upgraded;
      return client;
    };
    const clients = [await open(), await open(), await open()];
    expect((await refusedSocket(system.gateway, exec, await asked(spdy, [raw], "many"))).status).toBe(429);
    for (const client of clients) client.socket.terminate();
  });
});

describe("an upgrade that the apiserver does not take", () => {
  test.each([400, 403, 404, 500, 503])("gives the client its own answer: %i", async (status) => {
    const body = JSON.stringify({ kind: "Status", message: "its own words", code: status });
    system.apiserver.onUpgrade = (_request, socket) =>
      void socket.end(`HTTP/1.1 ${status} X\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    expect(await refusedSocket(system.gateway, exec, await asked())).toMatchObject({ status, body });
  });

  test.each([
    ["200 with a body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"],
    ["a redirect", "HTTP/1.1 307 X\r\nLocation: /api/v1/elsewhere\r\nContent-Length: 0\r\n\r\n"],
    ["no HTTP", "SSH-2.0-OpenSSH\r\n"],
    ["a switch to WebSocket", switchTo("websocket")],
    ["a switch to two protocols", switchTo("SPDY/3.1, h2c")],
    ["a switch to none", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\n\r\n"],
    ["a switch that Connection does not say", switchTo().replace("Connection: Upgrade", "Connection: keep-alive")],
    ["a stream protocol that was not offered", switchTo("SPDY/3.1", "X-Stream-Protocol-Version: v9.channel.k8s.io\r\n")],
    ["two stream protocols", switchTo("SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n".repeat(2))],
  ])("gives 502 when that answer is none to an upgrade: %s", async (_name, bytes) => {
    const closed = new Promise<void>((resolve) => {
      system.apiserver.onUpgrade = (_request, socket) => {
        socket.write(bytes);
        void isOver(socket.resume()).then(resolve);
      };
    });
    const refused = await refusedSocket(system.gateway, exec, await asked());
    expect([refused.status, system.apiserver.seen.length]).toEqual([502, 1]);
    await closed;
  });

  test("lets nothing through that the client sent before or behind the answer", async () => {
    system.apiserver.onUpgrade = (_request, socket) => void socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    const connection = await RawConnection.open(system.gateway);
    connection.write(`${await handshake([])}SMUGGLED-EARLY`);
    expect((await connection.answer())?.status).toBe(403);
    connection.write("GET /api/v1/secrets HTTP/1.1\r\nHost: SMUGGLED-LATE\r\n\r\n");
    await connection.untilClosed();
    expect(system.apiserver.bytes()).not.toContain("SMUGGLED");
  });
});

async function handshake(more: readonly string[]): Promise<string> {
  const lines = [
    ...[`GET ${exec} HTTP/1.1`, "Host: localhost", `Authorization: Bearer ${await system.cluster.token("alice")}`],
    ...["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="],
    ...[`Sec-WebSocket-Protocol: ${raw}`, "Sallyport-Upgrade: POST SPDY/3.1", `X-Stream-Protocol-Version: ${streams}`, ...more],
  ];
  return `${lines.join("\r\n")}\r\n\r\n`;
}

describe("an upgraded connection", () => {
  async function open(name = "alice", lifetimeSeconds = 3600) {
    const upgraded = nextUpgrade();
    const token = await system.cluster.token(name, {}, lifetimeSeconds);
    const client = await openSocket(system.gateway, exec, { token, protocols: [raw], headers: spdy });
    const { socket } = await upgraded;
    const bytes: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => bytes.push(chunk));
    return { client, socket, sent: () => Buffer.concat(bytes).toString() };
  }

  test("begins with the apiserver's head, then carries bytes both ways until the apiserver ends", async () => {
    const { client, socket, sent } = await open();
    const [opening] = await client.received(1);
    expect(opening?.text).toBe(true);
    expect(JSON.parse(opening?.data.toString() ?? "")).toMatchObject({
      headers: expect.arrayContaining([["X-Stream-Protocol-Version", "v4.channel.k8s.io"]]),
      window: 1 << 19,
    });
    client.socket.send(Buffer.from("from the client"));
    await once(socket, "data");
    socket.end("from the cluster");
    expect((await client.closed).code).toBe(1000);
    const told = client.messages.filter(({ text }) => text).map(({ data }) => data.toString());
    expect(told.slice(1)).toEqual([JSON.stringify({ taken: 15 })]);
    expect(client.messages.filter(({ text }) => !text).map(({ data }) => data.toString())).toEqual(["from the cluster"]);
    expect(sent()).toBe("from the client");
  });

  test("carries on one way when the client has ended the other with an empty message", async () => {
    const { client, socket, sent } = await open();
    client.socket.send(Buffer.from("question"));
    client.socket.send(Buffer.alloc(0));
    await once(socket, "end");
    expect(sent()).toBe("question");
    socket.end("answer");
    expect((await client.closed).code).toBe(1000);
    expect(client.messages.at(-1)?.data.toString()).toBe("answer");
  });

  test("ends at the apiserver when its client closes or vanishes", async () => {
    for (const leave of ["close", "terminate"] as const) {
      const { client, socket } = await open();
      const closed = isOver(socket);
      client.socket[leave]();
      await closed;
    }
  });

  test("that breaks at the apiserver is no end in order", async () => {
    const { client, socket } = await open();
    (socket as Socket).resetAndDestroy(); // of an HTTP server
    expect(await client.closed).toMatchObject({ code: 1011, reason: expect.stringContaining("AGENT_GONE") });
  });

  test("is ended by a text message, which is no byte of it", async () => {
    const { client, socket, sent } = await open();
    const closed = isOver(socket);
    client.socket.send("text");
    await closed;
    expect([(await client.closed).code, sent()]).toEqual([1011, ""]);
  });

  test("ends with its credential, and says so", async () => {
    const { client, socket } = await open("short", 2);
    const closed = isOver(socket);
    expect(await client.closed).toMatchObject({ code: 1011, reason: expect.stringContaining("SESSION_ENDED") });
    await closed;
  });

  test("whose client sends without waiting to be told ends before it fills the gateway", async () => {
    const { client, socket } = await open();
    socket.pause();
    // More than the connections on the way hold, beside what the gateway does.
    for (let megabyte = 0; megabyte < 48; megabyte++) client.socket.send(Buffer.alloc(1 << 20));
    expect(await client.closed).toMatchObject({ code: 1011, reason: expect.stringContaining("TOO_LARGE") });
  });

  test("reaches an application with any protocol, and its query", async () => {
    const upgraded = nextUpgrade(switchTo("foo", "X-From: app\r\n"));
    const path = "/k/one/api/v1/namespaces/web/services/s:80/proxy/socket?a=1&b=%2F";
    const client = await openSocket(system.gateway, path, await asked({ "sallyport-upgrade": "GET foo", "x-own": "kept" }));
    const { request, socket } = await upgraded;
    expect([request.method, request.url, request.headers.upgrade, request.headers["x-own"], request.headers["content-length"]]).toEqual([
      ...["GET", path.slice("/k/one".length), "foo", "kept", undefined],
    ]);
    socket.end("bye");
    await client.closed;
    expect(client.messages[0]?.data.toString()).toContain('["X-From","app"]');
  });
});
