/** Upgrades: a connection is joined to the apiserver's only after a valid 101, and ends as its sub-protocol says. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import type { WebSocket } from "ws";
import { openSocket, refusedSocket } from "#test/support/client-socket.ts";
import { RawConnection, rawAsk } from "#test/support/raw-connection.ts";
import { acceptWebSocket } from "#test/support/scripted-apiserver.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();

const execPath = "/k/one/api/v1/namespaces/web/pods/p/exec?command=id&stdout=true";
const v5 = "v5.channel.k8s.io";

async function user(): Promise<{ readonly token: string; readonly protocols: readonly string[] }> {
  return { token: await system.cluster.token("alice"), protocols: [v5] };
}

function upgradeLines(token: string, lines: readonly string[] = []): readonly string[] {
  return [
    ...[`GET ${execPath} HTTP/1.1`, "Host: localhost", `Authorization: Bearer ${token}`, "Connection: Upgrade", "Upgrade: websocket"],
    ...["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", `Sec-WebSocket-Protocol: ${v5}`, ...lines],
  ];
}

function acceptOf(headers: Readonly<Record<string, string | string[] | undefined>>): string {
  const key = String(headers["sec-websocket-key"]);
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

/** The apiserver's end of the next upgrade. */
function nextUpgrade(protocol = v5): Promise<WebSocket> {
  return new Promise((resolve) => {
    system.apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head, protocol).then(resolve);
  });
}

describe("an upgrade that the apiserver does not take", () => {
  test.each([
    ["400", "no such container"],
    ["403", "not allowed"],
    ["404", "no such pod"],
    ["500", "kubelet is away"],
    ["503", "try later"],
  ])("gives the client the apiserver's own answer: %s", async (status, text) => {
    const body = JSON.stringify({ kind: "Status", message: text, code: Number(status) });
    system.apiserver.onUpgrade = (_request, socket) =>
      void socket.end(`HTTP/1.1 ${status} X\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    const refused = await refusedSocket(system.gateway, execPath, await user());
    expect(refused).toMatchObject({ status: Number(status), body });
  });

  test.each([
    ["200 with a body", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"],
    ["204", "HTTP/1.1 204 No Content\r\n\r\n"],
    ["a redirect", "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data\r\nContent-Length: 0\r\n\r\n"],
    ["a redirect on the same host", "HTTP/1.1 307 X\r\nLocation: /api/v1/elsewhere\r\nContent-Length: 0\r\n\r\n"],
    ["no HTTP", "SSH-2.0-OpenSSH\r\n"],
  ])("gives 502 when that answer is none to an upgrade: %s", async (_name, bytes) => {
    system.apiserver.onUpgrade = (_request, socket) => void socket.end(bytes);
    const refused = await refusedSocket(system.gateway, execPath, await user());
    expect(refused.status).toBe(502);
    expect(refused.headers["location"]).toBeUndefined();
    expect(system.apiserver.seen).toHaveLength(1);
  });

  test("lets nothing through that the client sent before or behind the answer", async () => {
    system.apiserver.onUpgrade = (_request, socket) => void socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    const connection = await RawConnection.open(system.gateway);
    const { token } = await user();
    connection.write(`${upgradeLines(token).join("\r\n")}\r\n\r\nSMUGGLED-EARLY`);
    const answer = await connection.answer();
    expect(answer?.status).toBe(403);
    connection.write("GET /api/v1/secrets HTTP/1.1\r\nHost: SMUGGLED-LATE\r\n\r\n");
    await connection.untilClosed();
    expect(system.apiserver.bytes()).not.toContain("SMUGGLED");
    expect(system.apiserver.seen).toHaveLength(1);
  });
});

describe("a 101 that is not one", () => {
  test.each([
    [
      "a wrong Sec-WebSocket-Accept",
      () => `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${"A".repeat(27)}=\r\nSec-WebSocket-Protocol: ${v5}\r\n`,
    ],
    ["no Sec-WebSocket-Accept", () => `Upgrade: websocket\r\nConnection: Upgrade\r\n`],
    [
      "a sub-protocol that was not offered",
      (accept: string) =>
        `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n`,
    ],
    ["another protocol", (accept: string) => `Upgrade: SPDY/3.1\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n`],
    [
      "an extension that was not offered",
      (accept: string) =>
        `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${v5}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n`,
    ],
  ])("is refused: %s", async (_name, lines) => {
    system.apiserver.onUpgrade = (request, socket) =>
      void socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines(acceptOf(request.headers))}\r\n`);
    const refused = await refusedSocket(system.gateway, execPath, await user());
    expect(refused.status).toBe(502);
  });

  test("to a request that asked for no upgrade is refused", async () => {
    system.apiserver.onRequest = (_request, response) =>
      void response.socket?.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    const answer = await rawAsk(system.gateway, [
      "GET /k/one/api/v1/pods HTTP/1.1",
      "Host: localhost",
      `Authorization: Bearer ${(await user()).token}`,
    ]);
    expect(answer?.status).toBe(502);
  });
});

describe("an upgrade to anything but WebSocket", () => {
  test.each([
    ["h2c", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"]],
    [
      "websocket and h2c",
      ["Connection: Upgrade", "Upgrade: websocket, h2c", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="],
    ],
    ["an unknown one", ["Connection: Upgrade", "Upgrade: foo"]],
    [
      "another version of WebSocket",
      ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="],
    ],
  ])("is refused, and the apiserver hears nothing of it: %s", async (_name, lines) => {
    const { token } = await user();
    const answer = await rawAsk(system.gateway, [
      "GET /k/one/api/v1/pods HTTP/1.1",
      "Host: localhost",
      `Authorization: Bearer ${token}`,
      ...lines,
    ]);
    expect(answer).toMatchObject({ status: 400, body: expect.stringContaining("REQUEST_INVALID") });
    expect(system.apiserver.seen).toEqual([]);
  });

  test("to SPDY is told which kubectl helps, after the user's right was checked by the apiserver", async () => {
    system.apiserver.onRequest = (_request, response) => void response.writeHead(400).end("{}");
    const { token } = await user();
    const answer = await rawAsk(system.gateway, [
      ...[`POST ${execPath} HTTP/1.1`, "Host: localhost", `Authorization: Bearer ${token}`, "Connection: Upgrade", "Upgrade: SPDY/3.1"],
      ...["X-Stream-Protocol-Version: v4.channel.k8s.io", "Content-Length: 0"],
    ]);
    expect(answer?.status).toBe(400);
    expect(JSON.parse(answer?.body ?? "").message).toMatch(/KUBECTL_REMOTE_COMMAND_WEBSOCKETS/);
  });

  test("to SPDY of a user who may not exec is told that instead", async () => {
    system.apiserver.onRequest = (_request, response) =>
      void response.writeHead(403, { "content-type": "application/json" }).end('{"message":"no"}');
    const { token } = await user();
    const lines = [
      "Host: localhost",
      `Authorization: Bearer ${token}`,
      "X-Stream-Protocol-Version: v4.channel.k8s.io",
      "Content-Length: 0",
    ];
    const answer = await rawAsk(system.gateway, [`POST ${execPath} HTTP/1.1`, ...lines]);
    expect(answer).toMatchObject({ status: 403, body: '{"message":"no"}' });
  });
});

describe("sub-protocols", () => {
  test("reach the apiserver in the client's order, and its choice comes back", async () => {
    const opened = nextUpgrade("v4.channel.k8s.io");
    const client = await openSocket(system.gateway, execPath, {
      ...(await user()),
      protocols: [v5, "v4.channel.k8s.io", "channel.k8s.io"],
    });
    await opened;
    expect(client.protocol).toBe("v4.channel.k8s.io");
    expect(system.apiserver.seen[0]?.headers).toContainEqual([
      expect.stringMatching(/^sec-websocket-protocol$/i),
      `${v5}, v4.channel.k8s.io, channel.k8s.io`,
    ]);
    client.socket.terminate();
  });

  test("with the name of SPDY over WebSocket pass for port-forward", async () => {
    const protocol = "SPDY/3.1+portforward.k8s.io";
    system.apiserver.onUpgrade = (request, socket) =>
      void socket.write(
        `HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(request.headers)}\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`,
      );
    const { token } = await user();
    const lines = upgradeLines(token).map((line) => line.replace(v5, protocol).replace(/exec\?\S+/, "portforward"));
    const connection = await RawConnection.open(system.gateway);
    connection.write(`${lines.join("\r\n")}\r\n\r\n`);
    expect(await connection.answer()).toMatchObject({
      status: 101,
      headers: expect.arrayContaining([["sec-websocket-protocol", protocol]]),
    });
    connection.close();
  });

  test("that are nothing but a bearer token are refused", async () => {
    const { token } = await user();
    const carrier = `base64url.bearer.authorization.k8s.io.${Buffer.from(token).toString("base64url")}`;
    const refused = await refusedSocket(system.gateway, execPath, { protocols: [carrier] });
    expect([400, 401]).toContain(refused.status);
    expect(system.apiserver.seen).toEqual([]);
  });
});

describe("an open WebSocket", () => {
  test("carries messages both ways with their borders, types and bytes, empty ones too", async () => {
    const opened = nextUpgrade();
    const client = await openSocket(system.gateway, execPath, await user());
    const far = await opened;
    far.on("message", (data, isBinary) => far.send(data, { binary: isBinary }));
    const sent = [Buffer.from([0]), Buffer.from("0text"), Buffer.alloc(0), randomBytes(1), randomBytes(300_000), randomBytes(3 << 20)];
    for (const [index, message] of sent.entries()) client.socket.send(message, { binary: index !== 1 });
    const received = await client.received(sent.length);
    expect(received.map(({ text, data }) => [text, createHash("sha256").update(data).digest("hex")])).toEqual(
      sent.map((message, index) => [index === 1, createHash("sha256").update(message).digest("hex")]),
    );
    client.socket.terminate();
  });

  test.each([
    ["1000", 1000, 1000],
    ["1001", 1001, 1001],
    ["1011", 1011, 1011],
    ["no code", undefined, 1005],
    ["a private code", 4000, 4000],
  ])("that the apiserver closes with %s ends so at the client, after its last message", async (_name, code, seen) => {
    const opened = nextUpgrade();
    const client = await openSocket(system.gateway, execPath, await user());
    const far = await opened;
    far.send(Buffer.from('\u0003{"status":"Success"}'));
    if (code === undefined) far.close();
    else far.close(code, "bye");
    expect((await client.closed).code).toBe(seen);
    expect(client.messages.map(({ data }) => data.toString())).toEqual(['\u0003{"status":"Success"}']);
  });

  test.each([
    [1000, 1000],
    [1001, 1001],
    [4000, 4000],
  ])("that the client closes with %i ends so at the apiserver", async (code, seen) => {
    const opened = nextUpgrade();
    const client = await openSocket(system.gateway, execPath, await user());
    const far = await opened;
    client.socket.close(code, "bye");
    expect((await once(far, "close"))[0]).toBe(seen);
  });

  test("whose apiserver breaks off tells a failure, never success", async () => {
    const { promise, resolve } = Promise.withResolvers<Duplex>();
    system.apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head, v5).then(() => resolve(socket));
    const client = await openSocket(system.gateway, execPath, await user());
    (await promise).destroy();
    const { code } = await client.closed;
    const [status] = client.messages;
    expect(code).toBe(1000);
    expect(status?.data[0]).toBe(3);
    expect(JSON.parse(status?.data.subarray(1).toString() ?? "")).toMatchObject({ kind: "Status", status: "Failure" });
  });

  test("whose client vanishes ends at the apiserver, and so does what runs there", async () => {
    const opened = nextUpgrade();
    const client = await openSocket(system.gateway, execPath, await user());
    const far = await opened;
    client.socket.terminate();
    expect((await once(far, "close"))[0]).toBe(1006);
  });

  test("whose client vanishes before the apiserver has answered leaves nothing open there, which is no fault", async () => {
    const { promise, resolve } = Promise.withResolvers<Duplex>();
    system.apiserver.onUpgrade = (_request, socket) => resolve(socket);
    const connection = await RawConnection.open(system.gateway);
    connection.write(`${upgradeLines((await user()).token).join("\r\n")}\r\n\r\n`);
    const far = await promise;
    connection.reset();
    far.resume();
    await once(far, "end");
    expect(await system.agent.waitFor(/close-reason":"CANCELLED"/)).toContain("exec?command=id");
    expect(system.agent.lines.filter((line) => line.includes('"event":"fault"'))).toEqual([]);
  });

  test.each([
    ["a reserved bit", Buffer.from([0xf2, 0x80, 0, 0, 0, 0])],
    ["a length of 2^63", Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
  ])("is ended by a client's broken frame, and the apiserver's end with it: %s", async (_name, bytes) => {
    const opened = nextUpgrade();
    const connection = await RawConnection.open(system.gateway);
    connection.write(`${upgradeLines((await user()).token).join("\r\n")}\r\n\r\n`);
    expect((await connection.answer())?.status).toBe(101);
    const far = await opened;
    const closed = once(far, "close");
    connection.write(bytes);
    await closed;
    connection.close();
  });
});
