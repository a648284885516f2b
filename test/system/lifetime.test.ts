/** A stream ends with the token that opened it, in the way that its client understands; a renewed sign-in keeps it open. */
import { describe, expect, test } from "vitest";
import { openSocket } from "#test/support/client-socket.ts";
import { RawConnection } from "#test/support/raw-connection.ts";
import { acceptWebSocket } from "#test/support/scripted-apiserver.ts";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();

const podPath = "/k/one/api/v1/namespaces/web/pods/p";
/** How long the tokens of these tests live, and how long after that a stream may still run. */
const lifetimeSeconds = 2;
const graceMs = 10_000;

function accept(protocol: string): void {
  system.apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head, protocol);
}

async function closesInTime<Value>(closed: Promise<Value>): Promise<Value> {
  const startedMs = Date.now();
  const value = await closed;
  expect(Date.now() - startedMs).toBeLessThan(lifetimeSeconds * 1000 + graceMs);
  return value;
}

/** A streamed GET: its answer's head, and all of it once the connection closed. */
async function follow(path: string, token: string): Promise<RawConnection> {
  const connection = await RawConnection.open(system.gateway);
  connection.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\n\r\n`);
  await connection.until((received) => received.includes("first"));
  return connection;
}

function keepOpen(): void {
  system.apiserver.onRequest = (_request, response) => void response.writeHead(200, { "content-type": "text/plain" }).write("first\n");
}

describe("when its token expires", () => {
  test.each(["exec?command=id&stdout=true", "attach?stdout=true"])(
    "an open %s says so in a Status on the error channel and closes with 1000",
    async (stream) => {
      accept("v5.channel.k8s.io");
      const token = await system.cluster.token("alice", {}, lifetimeSeconds);
      const client = await openSocket(system.gateway, `${podPath}/${stream}`, { token, protocols: ["v5.channel.k8s.io"] });
      expect((await closesInTime(client.closed)).code).toBe(1000);
      const last = client.messages.at(-1)?.data ?? Buffer.alloc(0);
      expect(last[0]).toBe(3);
      expect(JSON.parse(last.subarray(1).toString())).toMatchObject({
        ...{ kind: "Status", status: "Failure", code: 401, reason: "Unauthorized" },
        details: { causes: [{ reason: "SESSION_ENDED" }] },
      });
    },
  );

  test.each([
    ["channel.k8s.io", "exec?command=id"],
    ["v4.channel.k8s.io", "portforward?ports=80"],
  ])("a stream that cannot carry a Status closes with 1011: %s on %s", async (protocol, stream) => {
    accept(protocol);
    const token = await system.cluster.token("alice", {}, lifetimeSeconds);
    const client = await openSocket(system.gateway, `${podPath}/${stream}`, { token, protocols: [protocol] });
    expect(await closesInTime(client.closed)).toMatchObject({ code: 1011, reason: expect.stringContaining("SESSION_ENDED") });
  });

  test("a watch ends cleanly, so that its client asks again", async () => {
    keepOpen();
    const connection = await follow("/k/one/api/v1/pods?watch=1", await system.cluster.token("alice", {}, lifetimeSeconds));
    const received = await closesInTime(connection.untilClosed());
    expect(received).toMatch(/\r\n0\r\n\r\n$/);
    expect(received).toMatch(/warning: 299 - "sallyport: this stream ends at/i);
  });

  test("only what stays open is told its end", async () => {
    system.apiserver.onRequest = (_request, response) => void response.writeHead(403, { "content-type": "application/json" }).end("{}");
    const answer = await ask(system.gateway, `${podPath}/log?follow=true`, { token: await system.cluster.token("alice") });
    expect(answer.status).toBe(403);
    expect(answer.headers["warning"]).toBeUndefined();
  });

  test("followed logs are cut, so that nobody takes them for complete", async () => {
    keepOpen();
    const connection = await follow(`${podPath}/log?follow=true`, await system.cluster.token("alice", {}, lifetimeSeconds));
    const received = await closesInTime(connection.untilClosed());
    expect(received).toContain("first");
    expect(received).not.toMatch(/\r\n0\r\n\r\n$/);
  });

  test("the apiserver's side ends too, and the agent's log says why", async () => {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    system.apiserver.onRequest = (request, response) => {
      request.socket.once("close", () => resolve());
      response.writeHead(200).write("first\n");
    };
    const connection = await follow("/k/one/api/v1/pods?watch=1", await system.cluster.token("bob", {}, lifetimeSeconds));
    await closesInTime(closed);
    expect(
      await system.agent.waitFor(/"username":"oidc:bob".*close-reason":"(?:EXPIRED|completed)"|close-reason":"EXPIRED"/),
    ).toBeDefined();
    connection.close();
  });

  test("a request with it is refused with the word that makes clients sign in again", async () => {
    const answer = await ask(system.gateway, podPath, { token: await system.cluster.token("alice", {}, -3600) });
    expect(answer.status).toBe(401);
    expect(answer.headers["www-authenticate"]).toMatch(/^Bearer/);
    expect(JSON.parse(answer.body).details.causes[0].reason).toBe("TOKEN_EXPIRED");
  });
});

describe("a later token", () => {
  test("of the same user keeps an open stream alive past the first one's end", async () => {
    accept("v5.channel.k8s.io");
    const token = await system.cluster.token("carol", {}, lifetimeSeconds);
    const client = await openSocket(system.gateway, `${podPath}/exec?command=id`, { token, protocols: ["v5.channel.k8s.io"] });
    await ask(system.gateway, podPath, { token: await system.cluster.token("carol", {}, 3600) });
    // Another user's stream with the same first end is the clock: when it has closed, this one would have too.
    const other = await openSocket(system.gateway, `${podPath}/exec?command=id`, {
      token: await system.cluster.token("dave", {}, lifetimeSeconds),
      protocols: ["v5.channel.k8s.io"],
    });
    await other.closed;
    expect(client.socket.readyState).toBe(client.socket.OPEN);
    client.socket.terminate();
  });

  test.each([
    ["another user", async () => system.cluster.token("mallory", {}, 3600)],
    ["the same user with fewer groups", async () => system.cluster.token("erin", {}, 3600)],
  ])("of %s keeps nothing alive", async (_name, later) => {
    accept("v5.channel.k8s.io");
    const token = await system.cluster.token("erin", { groups: ["dev"] }, lifetimeSeconds);
    const client = await openSocket(system.gateway, `${podPath}/exec?command=id`, { token, protocols: ["v5.channel.k8s.io"] });
    await ask(system.gateway, podPath, { token: await later() });
    expect((await closesInTime(client.closed)).code).toBe(1000);
  });
});
