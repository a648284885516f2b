/**
 * How streams end: whatever the apiserver said last reaches the client as it was, and a failure on the way is told in the stream's own
 * protocol, so that no client takes it for success (kubectl takes a close with 1000 and no Status for exit code 0).
 */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { describe, expect, test } from "vitest";
import type { WebSocket } from "ws";
import { openSocket } from "#test/support/client-socket.ts";
import type { ClientSocketFixture } from "#test/support/client-socket.ts";
import { RawConnection } from "#test/support/raw-connection.ts";
import { acceptWebSocket } from "#test/support/scripted-apiserver.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();

const pod = "/k/one/api/v1/namespaces/web/pods/p";
const exec = `${pod}/exec?command=id&stdout=true`;
const v5 = "v5.channel.k8s.io";
const success = '{"metadata":{},"status":"Success"}';
const exitCode3 =
  '{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}';

interface Stream {
  readonly client: ClientSocketFixture;
  /** The apiserver's end. */
  readonly far: WebSocket;
  /** The connection under it. */
  readonly connection: Duplex;
}

async function openStream(path: string, protocol: string): Promise<Stream> {
  const { promise, resolve } = Promise.withResolvers<{ far: WebSocket; connection: Duplex }>();
  system.apiserver.onUpgrade = (request, socket, head) =>
    void acceptWebSocket(request, socket, head, protocol === "" ? undefined : protocol).then((far) => resolve({ far, connection: socket }));
  const client = await openSocket(system.gateway, path, {
    token: await system.cluster.token("alice"),
    protocols: protocol === "" ? [] : [protocol],
    headers: { origin: "https://localhost" },
  });
  return { client, ...(await promise) };
}

/** A client's upgrade with a sub-protocol that the library refuses to name, because `/` may not stand in one (RFC 6455 section 4.1). */
function tunnelLines(token: string, protocol: string): readonly string[] {
  return [
    ...[`GET ${pod}/portforward HTTP/1.1`, "Host: localhost", `Authorization: Bearer ${token}`, "Connection: Upgrade"],
    ...["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="],
    `Sec-WebSocket-Protocol: ${protocol}`,
  ];
}

function switchingLines(request: IncomingMessage, protocol: string): readonly string[] {
  const key = String(request.headers["sec-websocket-key"]);
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  return [
    ...["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"],
    ...[`Sec-WebSocket-Accept: ${accept}`, `Sec-WebSocket-Protocol: ${protocol}`],
  ];
}

/** What a client saw: each message as text, and the close. */
async function ending(client: ClientSocketFixture): Promise<{ readonly messages: readonly string[]; readonly code: number }> {
  const { code } = await client.closed;
  return { messages: client.messages.map(({ data }) => data.toString("latin1")), code };
}

describe("what the apiserver says last comes to the client as it was", () => {
  test.each<readonly [string, readonly string[], number | undefined, number]>([
    ["Success, 1000", [`\u0003${success}`], 1000, 1000],
    ["exit code 3, 1000", [`\u0003${exitCode3}`], 1000, 1000],
    ["a Status in three messages, 1000", ["\u0003{", `\u0003${success.slice(1, 9)}`, `\u0003${success.slice(9)}`], 1000, 1000],
    ["no Status, 1000", ["\u0001done"], 1000, 1000],
    ["Success, 1001", [`\u0003${success}`], 1001, 1001],
    ["Success, 1011", [`\u0003${success}`], 1011, 1011],
    ["Success, no code", [`\u0003${success}`], undefined, 1005],
    ["nothing, 1000", [], 1000, 1000],
    ["nothing, 1008", [], 1008, 1008],
    ["service restart, 1012", [], 1012, 1012],
    ["try again later, 1013", [], 1013, 1013],
    ["bad gateway, 1014", [], 1014, 1014],
    ["a registered code, 3000", [], 3000, 3000],
    ["the last private code, 4999", [], 4999, 4999],
  ])("%s", async (_name, messages, code, seen) => {
    const { client, far } = await openStream(exec, v5);
    for (const message of messages) far.send(Buffer.from(message, "latin1"));
    if (code === undefined) far.close();
    else far.close(code, "bye");
    expect(await ending(client)).toEqual({ messages, code: seen });
  });

  test("a reason of 123 bytes, the most that a close holds", async () => {
    const { client, far } = await openStream(exec, v5);
    far.close(1000, "ä".repeat(61) + "x");
    expect(await client.closed).toEqual({ code: 1000, reason: "ä".repeat(61) + "x" });
  });
});

describe("an apiserver that breaks off", () => {
  const failure = /^\{"kind":"Status","apiVersion":"v1".*"status":"Failure"/;

  interface Broken {
    readonly path: string;
    readonly protocol: string;
    readonly code: number;
    /** What channel 3 says, where the stream has one. */
    readonly told?: RegExp;
  }

  test.each<readonly [string, Broken]>([
    ["exec", { path: exec, protocol: v5, code: 1000, told: failure }],
    ["attach", { path: `${pod}/attach?stdout=true`, protocol: v5, code: 1000, told: failure }],
    ["exec of older clients", { path: exec, protocol: "v4.channel.k8s.io", code: 1000, told: failure }],
    ["exec of the oldest clients, whose errors are text", { path: exec, protocol: "channel.k8s.io", code: 1011, told: /connection/ }],
    ["exec without a sub-protocol", { path: exec, protocol: "", code: 1011, told: /connection/ }],
    ["port-forward of older clients", { path: `${pod}/portforward?ports=80`, protocol: "v4.channel.k8s.io", code: 1011 }],
    ["logs", { path: `${pod}/log?follow=true`, protocol: "binary.k8s.io", code: 1011 }],
    ["a socket of an application", { path: `${pod}/proxy/ws`, protocol: "", code: 1011 }],
    ["a watch, which its client resumes", { path: "/k/one/api/v1/namespaces/web/pods?watch=true", protocol: "", code: 1000 }],
  ])("%s", async (_name, { path, protocol, code, told }) => {
    const { client, far, connection } = await openStream(path, protocol);
    far.send(Buffer.from("\u0001first"));
    await client.received(1);
    connection.destroy();
    const end = await ending(client);
    expect(end.code).toBe(code);
    expect(end.messages.slice(1).map((message) => [message.charCodeAt(0), message.slice(1)])).toEqual(
      told === undefined ? [] : [[3, expect.stringMatching(told)]],
    );
  });

  test("port-forward, whose client reads a close with 1000 as the end of all data", async () => {
    const protocol = "SPDY/3.1+portforward.k8s.io";
    const { promise, resolve } = Promise.withResolvers<Duplex>();
    system.apiserver.onUpgrade = (request, socket) => {
      socket.write(`${switchingLines(request, protocol).join("\r\n")}\r\n\r\n`);
      socket.write(Buffer.from([0x82, 1, 7]));
      resolve(socket);
    };
    const connection = await RawConnection.open(system.gateway);
    connection.write(`${tunnelLines(await system.cluster.token("alice"), protocol).join("\r\n")}\r\n\r\n`);
    expect((await connection.answer())?.status).toBe(101);
    await connection.until((received) => received === "\u0082\u0001\u0007");
    (await promise).destroy();
    // Behind the message, a close frame: its opcode, its length, the code.
    const bytes = Buffer.from(await connection.until((received) => received.length > 6), "latin1");
    expect([bytes[3], bytes.readUInt16BE(5)]).toEqual([0x88, 1011]);
    connection.close();
  });

  test.each(["v4.base64.channel.k8s.io", "base64.channel.k8s.io"])("exec whose messages are text: %s", async (protocol) => {
    const { client, connection } = await openStream(exec, protocol);
    connection.destroy();
    const { code } = await client.closed;
    const [last] = client.messages;
    expect([last?.text, last?.data.toString("latin1")[0]]).toEqual([true, "3"]);
    const told = Buffer.from(last?.data.toString("latin1").slice(1) ?? "", "base64").toString("utf8");
    expect(told).toMatch(protocol.startsWith("v4") ? failure : /apiserver|connection/);
    expect(code).toBe(protocol.startsWith("v4") ? 1000 : 1011);
  });

  test("behind a Success gives what no client takes for success", async () => {
    const { client, far, connection } = await openStream(exec, v5);
    far.send(Buffer.from(`\u0003${success}`));
    await client.received(1);
    connection.destroy();
    const { messages } = await ending(client);
    const errorChannel = messages.map((message) => message.slice(1)).join("");
    // kubectl reads the whole channel as one Status.
    expect(() => JSON.parse(errorChannel)).toThrow(SyntaxError);
  });
});
