/** Forwards through a real gateway: bytes and datagrams as they are, directions that end by themselves, and ends with their reason. */
import { createSocket } from "node:dgram";
import type { Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { randomBytes } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ForwardTarget } from "#core/kube/forward-target.ts";
import { answerObjects, paths, pod, service, slices } from "#test/support/forward-cluster.ts";
import { forwardGateway, hear } from "#test/support/forward-client.ts";
import { refusedSocket } from "#test/support/client-socket.ts";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem({ agentProgram: "test/support/forward-agent.ts" });
const never = new AbortController().signal;

let server: Server;
let port: number;
/** Resolves with the next connection that the target gets. */
let accepted: Promise<Socket>;

beforeEach(async () => {
  server = createServer({ allowHalfOpen: true });
  server.on("connection", (socket) => socket.on("error", () => undefined)); // many tests break it
  accepted = once(server, "connection").then(([socket]: unknown[]) => socket as Socket); // an event of a net.Server
  accepted.catch(() => undefined); // a test without a connection
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  port = (server.address() as AddressInfo).port; // a TCP server's address is never text
  system.apiserver.onRequest = answerObjects({ [paths.pod("a")]: pod({ name: "a", address: "10.9.0.5" }) });
});

afterEach(() => {
  server.close();
});

function toPod(number: number, protocol: "tcp" | "udp" = "tcp"): ForwardTarget {
  return { type: "pod", namespace: "web", name: "a", protocol, port: { type: "number", port: number } };
}

async function client(subject = "alice", lifetimeSeconds = 3600) {
  return forwardGateway(system.gateway, await system.cluster.token(subject, {}, lifetimeSeconds));
}

const dials = (): readonly string[] => system.agent.lines.filter((line) => line.includes('"event":"dial"'));

describe("TCP", () => {
  test("carries bytes both ways, and each direction ends by itself", async () => {
    const connection = await (await client()).open(toPod(port), never);
    const heard = hear(connection);
    const target = await accepted;
    const upload = randomBytes(3 << 20);
    const received: Buffer[] = [];
    target.on("data", (chunk: Buffer) => received.push(chunk));
    connection.write(upload);
    connection.end();
    await once(target, "end");
    expect(Buffer.concat(received).equals(upload)).toBe(true);
    const download = randomBytes(5 << 20);
    target.end(download);
    await heard.ended;
    expect(heard.data().equals(download)).toBe(true);
    expect(connection.chosen).toBe(`pods/web/a/${port}`);
  });

  test("tells the audit log the port, the bytes of each way and the end", async () => {
    const connection = await (await client("auditor")).open(toPod(port), never);
    const heard = hear(connection);
    const target = await accepted;
    target.resume();
    connection.write(Buffer.from("four"));
    connection.end();
    await once(target, "end");
    target.end("sixsix");
    await heard.ended;
    const line = await system.agent.waitFor(/ResponseComplete.*oidc:auditor/);
    expect(JSON.parse(line)).toMatchObject({
      objectRef: { resource: "pods", namespace: "web", name: "a", subresource: "tcp" },
      annotations: {
        "sallyport.dev/forward-port": String(port),
        "sallyport.dev/forward-target": `pods/web/a/${port}`,
        "sallyport.dev/bytes-received": "4",
        "sallyport.dev/bytes-sent": "6",
        "sallyport.dev/close-reason": "completed",
      },
    });
  });

  test("tells both sides of a break", async () => {
    const connection = await (await client()).open(toPod(port), never);
    const heard = hear(connection);
    (await accepted).resetAndDestroy();
    expect(await heard.reset).toMatchObject({ code: "TRUNCATED", reason: expect.stringContaining("the target broke the connection") });
    const second = once(server, "connection");
    const other = await (await client()).open(toPod(port), never);
    const target = (await second)[0] as Socket; // an event of a net.Server
    target.resume();
    const broken = once(target, "error");
    other.reset("CANCEL");
    expect((await broken)[0]).toMatchObject({ code: "ECONNRESET" });
  });

  test("a target that reads nothing holds the upload back, and nobody else's", async () => {
    const connection = await (await client()).open(toPod(port), never);
    hear(connection);
    const target = await accepted; // paused: nobody reads
    connection.write(Buffer.alloc(64 << 20));
    const second = once(server, "connection");
    const other = await (await client()).open(toPod(port), never);
    const heard = hear(other);
    ((await second)[0] as Socket).end("quick"); // an event of a net.Server
    await heard.whenData((data) => data.toString() === "quick");
    expect(connection.queuedCost).toBeGreaterThan(32 << 20);
    let count = 0;
    target.on("data", (chunk: Buffer) => (count += chunk.length));
    connection.end();
    await once(target, "end");
    expect(count).toBe(64 << 20);
  });

  test("an upload goes on to its last byte behind the end of the target's direction", async () => {
    const connection = await (await client()).open(toPod(port), never);
    const heard = hear(connection);
    const target = await accepted; // paused: nobody reads
    target.end("enough");
    await heard.ended;
    const upload = randomBytes(12 << 20);
    connection.write(upload);
    connection.end();
    const other = forwardGateway(system.gateway, await system.cluster.token("alice"));
    expect(await other.describe(toPod(port))).toContain("pods/web/a"); // time for what could be lost
    const received: Buffer[] = [];
    target.on("data", (chunk: Buffer) => received.push(chunk));
    await once(target, "end");
    expect(Buffer.concat(received).equals(upload)).toBe(true);
  });

  test("ends when the credential does, with that reason", async () => {
    const connection = await (await client("bob", 3)).open(toPod(port), never);
    const heard = hear(connection);
    const target = await accepted;
    const closed = new Promise((resolve) => target.on("close", resolve)); // behind the error of its break
    target.resume();
    expect(await heard.reset).toMatchObject({ code: "EXPIRED" });
    await closed;
    expect(await system.agent.waitFor(/ResponseComplete.*oidc:bob/)).toContain("EXPIRED");
  });

  test("goes to a ready endpoint of a Service, and to another when no connection can be made", async () => {
    const closed = createServer().listen(0, "127.0.0.1");
    await once(closed, "listening");
    const closedPort = (closed.address() as AddressInfo).port; // a TCP server's address is never text
    closed.close();
    await once(closed, "close");
    const http = [{ name: "http", port: 80 }];
    const first = slices([{ name: "http", port: closedPort }], [{ address: "10.9.0.6", pod: "b" }]) as { items: object[] }; // as made above
    const second = slices([{ name: "http", port }], [{ address: "10.9.0.5", pod: "a" }]) as { items: object[] }; // as made above
    system.apiserver.onRequest = answerObjects({
      [paths.service("shop")]: service(http),
      [paths.slices()]: { items: [...first.items, ...second.items] },
      [paths.pod("a")]: pod({ name: "a", address: "10.9.0.5" }),
      [paths.pod("b")]: pod({ name: "b", address: "10.9.0.6" }),
    });
    const target = { type: "service", namespace: "web", name: "shop", protocol: "tcp", port: { type: "name", name: "http" } } as const;
    for (let round = 0; round < 8; round++) {
      const connection = await (await client()).open(target, never);
      expect(connection.chosen).toBe(`pods/web/a/${port}`);
      connection.reset("CANCEL");
    }
  });
});

describe("UDP", () => {
  let echo: UdpSocket;

  beforeEach(async () => {
    echo = createSocket("udp4");
    echo.on("message", (payload, from) => echo.send(payload, from.port, from.address));
    echo.bind(0, "127.0.0.1");
    await once(echo, "listening");
  });

  afterEach(() => {
    echo.close();
  });

  test("carries each datagram whole, the empty one and the largest among them", async () => {
    const connection = await (await client()).open(toPod(echo.address().port, "udp"), never);
    const heard = hear(connection);
    const sent = [Buffer.alloc(0), Buffer.from("one"), randomBytes(1_400), randomBytes(65_507)];
    for (const [index, payload] of sent.entries()) {
      connection.sendDatagram(payload);
      await heard.whenDatagrams(index + 1);
    }
    expect(heard.datagrams.map((payload) => payload.length)).toEqual([0, 3, 1_400, 65_507]);
    expect(Buffer.concat(heard.datagrams).equals(Buffer.concat(sent))).toBe(true);
    connection.end();
    const line = await system.agent.waitFor(/ResponseComplete.*datagrams-received/);
    expect(JSON.parse(line).annotations).toMatchObject({
      "sallyport.dev/datagrams-received": "4",
      "sallyport.dev/datagrams-sent": "4",
      "sallyport.dev/forward-protocol": "udp",
      "sallyport.dev/close-reason": "completed",
    });
  });

  test("ends with a reason when the target's port is closed", async () => {
    const { port: closedPort } = echo.address();
    echo.close();
    echo = createSocket("udp4").bind(0, "127.0.0.1");
    await once(echo, "listening");
    const connection = await (await client()).open(toPod(closedPort, "udp"), never);
    const heard = hear(connection);
    connection.sendDatagram(Buffer.from("x"));
    expect(await heard.ended).toContain("the target has closed the port");
  });
});

describe("a refusal is a Status, and nothing is dialled", () => {
  const forward = "/k/one/apis/forward.sallyport.dev/v1";

  test.each([
    ["a metadata address", "169.254.169.254", "link-local"],
    ["loopback", "127.0.0.1", "loopback"],
    ["an IPv4-mapped address", "::ffff:10.9.0.5", "IPv4-mapped"],
  ])("%s as a pod's", async (_what, address, reason) => {
    system.apiserver.onRequest = answerObjects({ [paths.pod("a")]: pod({ name: "a", address }) });
    const before = dials().length;
    await expect((await client()).open(toPod(80), never)).rejects.toMatchObject({
      code: "TARGET_REFUSED",
      message: expect.stringContaining(reason),
    });
    expect(dials()).toHaveLength(before);
  });

  test("an EndpointSlice that names an address which is not its pod's", async () => {
    system.apiserver.onRequest = answerObjects({
      [paths.service("shop")]: service([{ port: 80 }]),
      [paths.slices()]: slices([{ port: 22 }], [{ address: "10.0.0.1", pod: "a" }]),
      [paths.pod("a")]: pod({ name: "a", address: "10.9.0.5" }),
    });
    const before = dials().length;
    const target = { type: "service", namespace: "web", name: "shop", protocol: "tcp", port: { type: "number", port: 80 } } as const;
    await expect((await client()).open(target, never)).rejects.toMatchObject({ code: "TARGET_REFUSED" });
    expect(dials()).toHaveLength(before);
  });

  test("a user who may not forward to the pod", async () => {
    system.apiserver.review = () => false;
    const before = dials().length;
    const path = `${forward}/namespaces/web/pods/a/tcp?port=80`;
    const refused = await refusedSocket(system.gateway, path, {
      token: await system.cluster.token("mallory"),
      protocols: ["forward.sallyport.v1"],
    });
    expect(refused.status).toBe(403);
    expect(JSON.parse(await system.agent.waitFor(/ResponseComplete.*oidc:mallory/))).toMatchObject({
      responseStatus: { code: 403 },
      annotations: { "sallyport.dev/decision": "refused", "sallyport.dev/close-reason": "POLICY_DENIED" },
    });
    expect(JSON.parse(refused.body)).toMatchObject({
      kind: "Status",
      reason: "Forbidden",
      message: expect.stringContaining("pods/portforward"),
    });
    expect(system.apiserver.reviews).toMatchObject([
      {
        user: "oidc:mallory",
        resourceAttributes: { verb: "create", resource: "pods", subresource: "portforward", namespace: "web", name: "a" },
      },
    ]);
    expect(dials()).toHaveLength(before);
  });

  test.each([
    [`${forward}/namespaces/web/pods/a/tcp?port=80&port=22`, 400],
    [`${forward}/namespaces/web/pods/a/tcp?port=0`, 400],
    [`${forward}/namespaces/web/pods/a/sctp?port=80`, 400],
    [`${forward}/namespaces/web/secrets/a/tcp?port=80`, 400],
    [`${forward}/nodes/n1/tcp?port=http`, 400],
  ])("%s", async (path, status) => {
    const refused = await refusedSocket(system.gateway, path, {
      token: await system.cluster.token("alice"),
      protocols: ["forward.sallyport.v1"],
    });
    expect(refused.status).toBe(status);
    expect(system.apiserver.seen).toHaveLength(0);
  });

  test("an upgrade to another sub-protocol, and a stranger", async () => {
    const path = `${forward}/namespaces/web/pods/a/tcp?port=80`;
    const refused = await refusedSocket(system.gateway, path, {
      token: await system.cluster.token("alice"),
      protocols: ["v4.channel.k8s.io"],
    });
    expect(refused.status).toBe(400);
    expect((await refusedSocket(system.gateway, path, { protocols: ["forward.sallyport.v1"] })).status).toBe(401);
  });

  test("a plain GET says what would be dialled, after the same checks, and dials nothing", async () => {
    const before = dials().length;
    const path = `${forward}/namespaces/web/pods/a/tcp?port=80`;
    const answer = await ask(system.gateway, path, { token: await system.cluster.token("alice") });
    expect(JSON.parse(answer.body)).toEqual({ target: "pods/web/a/80", address: "10.9.0.5", port: 80, protocol: "tcp" });
    system.apiserver.review = () => false;
    expect((await ask(system.gateway, path, { token: await system.cluster.token("eve") })).status).toBe(403);
    expect(dials()).toHaveLength(before);
  });
});
