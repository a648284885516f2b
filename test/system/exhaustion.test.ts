/** What one client can cost: every oversized, endless or malformed request has an end, and the next client does not notice. */
import { createServer } from "node:http";
import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { RawConnection, rawAsk } from "#test/support/raw-connection.ts";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const streamsPerUser = 5;
const system = useWholeSystem({ agentArguments: ["--max-streams-per-user", String(streamsPerUser)] });

const podPath = "/k/one/api/v1/namespaces/web/pods/p";

async function get(lines: readonly string[]) {
  return rawAsk(system.gateway, [
    `GET ${podPath} HTTP/1.1`,
    "Host: localhost",
    `Authorization: Bearer ${await system.cluster.token("alice")}`,
    ...lines,
  ]);
}

async function isServing(): Promise<void> {
  const answer = await ask(system.gateway, podPath, { token: await system.cluster.token("somebody else") });
  expect(answer).toMatchObject({ status: 200, body: "{}" });
}

describe("a request's head", () => {
  test.each([
    ["one header of 70 KiB", [`X-Large: ${"a".repeat(70 << 10)}`]],
    ["128 KiB in many headers", Array.from({ length: 128 }, (_, index) => `X-${index}: ${"a".repeat(1024)}`)],
    ["10,000 headers", Array.from({ length: 10_000 }, (_, index) => `X-${index}: a`)],
  ])("with %s is refused, and the gateway serves on", async (_name, lines) => {
    const answer = await get(lines);
    expect([431, 400, undefined]).toContain(answer?.status);
    expect(system.apiserver.seen).toEqual([]);
    await isServing();
  });

  test("of 65 KiB is refused with a Status that says so", async () => {
    const answer = await get([`X-Large: ${"a".repeat(65 << 10)}`]);
    expect(answer?.status).toBe(431);
    expect(JSON.parse(answer?.body ?? "")).toMatchObject({ kind: "Status", code: 431 });
  });
});

describe("watches of one user", () => {
  test("beyond the limit are refused with 429 and Retry-After, and go on when one was closed", async () => {
    const closed: Promise<unknown>[] = [];
    system.apiserver.onRequest = (request, response) => {
      closed.push(once(request.socket, "close"));
      response.writeHead(200).write("first\n");
    };
    const token = await system.cluster.token("watcher");
    const open = async () => {
      const connection = await RawConnection.open(system.gateway);
      connection.write(`GET /k/one/api/v1/pods?watch=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`);
      await connection.until((received) => /first|HTTP\/1\.1 429/.test(received));
      return connection;
    };
    const watches = await Promise.all(Array.from({ length: streamsPerUser }, open));
    expect(watches.filter((watch) => watch.received.includes("first"))).toHaveLength(streamsPerUser);
    const refused = await open();
    expect(refused.received).toMatch(/^HTTP\/1\.1 429/);
    expect(refused.received).toMatch(/retry-after: 1\r\n/i);
    watches[0]?.reset();
    await Promise.race(closed);
    expect((await open()).received).toContain("first");
    for (const watch of watches) watch.reset();
  });
});

describe("a flood without a valid token", () => {
  test("causes no tunnel frame, no request to the apiserver and no fetch of keys", async () => {
    let fetches = 0;
    const issuer = createServer((_request, response) => {
      fetches += 1;
      response.writeHead(404).end();
    });
    issuer.listen(0, "127.0.0.1");
    await once(issuer, "listening");
    const token = await system.gateway.admin.token({ sub: "root", groups: ["admins"] });
    const hub = async () =>
      JSON.parse(
        (
          await ask(system.gateway, "/gateway/v1/clusters/one/hub", {
            token: await system.gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] }),
          })
        ).body,
      );
    const before = await hub();
    const bad = [undefined, "a.b.c", token, `${token}x`, await system.cluster.token("alice", { aud: "other" })];
    const answers = await Promise.all(
      Array.from({ length: 100 }, async (_, index) =>
        ask(system.gateway, podPath, { ...(bad[index % bad.length] !== undefined && { token: bad[index % bad.length] ?? "" }) }),
      ),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([401]));
    expect(system.apiserver.bytes()).not.toContain("/pods/p");
    expect((await hub()).handled).toBe(before.handled);
    expect(fetches).toBe(0);
    issuer.close();
  });
});

describe("a framing with two readings", () => {
  const smuggled = "GET /k/one/api/v1/secrets HTTP/1.1\r\nHost: localhost\r\n\r\n";

  test.each([
    ["Content-Length beside Transfer-Encoding", ["Content-Length: 4", "Transfer-Encoding: chunked"], `0\r\n\r\n${smuggled}`],
    ["two lengths", ["Content-Length: 2", "Content-Length: 40"], `{}${smuggled}`],
    ["an unknown coding", ["Transfer-Encoding: xchunked"], `0\r\n\r\n${smuggled}`],
    ["chunked before another coding", ["Transfer-Encoding: chunked, gzip"], `0\r\n\r\n${smuggled}`],
    ["gzip before chunked", ["Transfer-Encoding: gzip, chunked"], `0\r\n\r\n${smuggled}`],
    ["a negative length", ["Content-Length: -1"], smuggled],
    ["a length with a sign", ["Content-Length: +2"], `{}${smuggled}`],
    ["a chunk that is no number", ["Transfer-Encoding: chunked"], `zz\r\n{}\r\n0\r\n\r\n${smuggled}`],
    ["a chunk longer than it says", ["Transfer-Encoding: chunked"], `1\r\n{}\r\n0\r\n\r\n${smuggled}`],
  ])("never lets a second request through: %s", async (_name, lines, body) => {
    const token = await system.cluster.token("alice");
    const connection = await RawConnection.open(system.gateway);
    const head = ["POST /k/one/api/v1/namespaces/web/pods HTTP/1.1", "Host: localhost", `Authorization: Bearer ${token}`, ...lines];
    connection.write(`${head.join("\r\n")}\r\n\r\n${body}`);
    await connection.answer();
    connection.close();
    await isServing();
    expect(system.apiserver.seen.map((request) => request.target)).not.toContain("/api/v1/secrets");
    expect(system.apiserver.bytes()).not.toContain("GET /k/one");
  });

  test("a DELETE in chunks arrives as one request", async () => {
    const lines = [
      "DELETE /k/one/api/v1/namespaces/web/pods/p HTTP/1.1",
      "Host: localhost",
      `Authorization: Bearer ${await system.cluster.token("alice")}`,
    ];
    const answer = await rawAsk(system.gateway, [...lines, "Transfer-Encoding: chunked"], "2\r\n{}\r\n0\r\n\r\n");
    expect(answer?.status).toBe(200);
    expect(system.apiserver.seen).toMatchObject([{ method: "DELETE" }]);
  });

  test.each([
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"],
    ["a length beside chunks", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"],
    ["a bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"],
    ["a line feed in a header's name", "HTTP/1.1 200 OK\r\nX-A\n: b\r\nContent-Length: 0\r\n\r\n"],
    ["no HTTP at all", "hello\r\n\r\n"],
    ["nothing", ""],
  ])("of the apiserver's answer gives 502 or breaks off, and the next answer is clean: %s", async (_name, bytes) => {
    system.apiserver.onRequest = (request) => void request.socket.end(Buffer.from(bytes, "latin1"));
    const answer = await get([]);
    expect([502, 503, undefined, 200]).toContain(answer?.status);
    expect(answer?.status === 200 && answer.body !== "").toBe(false);
    system.apiserver.reset();
    await isServing();
  });
});

describe("a compressed body", () => {
  test("is never inflated on its way", async () => {
    const bytes = Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]), Buffer.from("not really gzip")]);
    system.apiserver.onRequest = (_request, response) => void response.writeHead(200, { "content-encoding": "gzip, gzip" }).end(bytes);
    const answer = await get(["Accept-Encoding: gzip"]);
    expect(Buffer.from(answer?.body ?? "", "latin1")).toEqual(bytes);
  });
});
