/** What passes unchanged: streams, statuses, warnings, tags, encodings and the apiserver's own failures; and what no shared cache may keep. */
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { RawConnection, rawAsk } from "#test/support/raw-connection.ts";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();

const podPath = "/k/one/api/v1/namespaces/web/pods/p";

async function send(requestLine: string, lines: readonly string[] = [], body = "") {
  const token = await system.cluster.token("alice");
  return rawAsk(system.gateway, [requestLine, "Host: localhost", `Authorization: Bearer ${token}`, ...lines], body);
}

describe("a watch", () => {
  test("has its head at once, each event as it comes, and a clean end when the apiserver ends it", async () => {
    const { promise: started, resolve } = Promise.withResolvers<{ write(text: string): void; end(): void }>();
    system.apiserver.onRequest = (_request, response) => {
      response.writeHead(200, { "content-type": "application/json" }).flushHeaders();
      resolve(response);
    };
    const connection = await RawConnection.open(system.gateway);
    connection.write(
      `GET /k/one/api/v1/pods?watch=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ${await system.cluster.token("alice")}\r\n\r\n`,
    );
    await connection.until((received) => received.includes("\r\n\r\n"));
    const far = await started;
    far.write('{"type":"ADDED"}\n');
    await connection.until((received) => received.includes("ADDED"));
    far.write('{"type":"BOOKMARK"}\n');
    await connection.until((received) => received.includes("BOOKMARK"));
    far.end();
    expect(await connection.untilClosed()).toMatch(/\r\n0\r\n\r\n$/);
  });

  test("whose client goes ends at the apiserver", async () => {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    system.apiserver.onRequest = (request, response) => {
      request.socket.once("close", () => resolve());
      response.writeHead(200).write("first\n");
    };
    const connection = await RawConnection.open(system.gateway);
    connection.write(
      `GET /k/one/api/v1/pods?watch=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${await system.cluster.token("alice")}\r\n\r\n`,
    );
    await connection.until((received) => received.includes("first"));
    connection.reset();
    await closed;
  });

  test("whose client goes before its head ends at the apiserver too", async () => {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    system.apiserver.onRequest = (request) => void request.socket.once("close", () => resolve());
    const connection = await RawConnection.open(system.gateway);
    connection.write(`GET ${podPath} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${await system.cluster.token("alice")}\r\n\r\n`);
    await system.apiserver.whenSeen(() => true);
    connection.reset();
    await closed;
  });
});

describe("an answer", () => {
  test("keeps its compressed bytes, its tag and its warnings", async () => {
    const zipped = gzipSync("a list");
    system.apiserver.onRequest = (_request, response) =>
      void response
        .setHeader("warning", ['299 - "one"', '299 - "two"'])
        .writeHead(200, { "content-encoding": "gzip", etag: '"strong"', vary: "Accept" })
        .end(zipped);
    const answer = await send(`GET ${podPath} HTTP/1.1`, ["Accept-Encoding: gzip"]);
    expect(Buffer.from(answer?.body ?? "", "latin1")).toEqual(zipped);
    expect(answer?.headers).toEqual(
      expect.arrayContaining([
        ["etag", '"strong"'],
        ["content-encoding", "gzip"],
      ]),
    );
    expect(
      answer?.headers
        .filter(([name]) => name === "warning")
        .map(([, value]) => value)
        .join(", "),
    ).toContain('299 - "one", 299 - "two"');
  });

  test("304 comes back for a tag that still holds", async () => {
    system.apiserver.onRequest = (request, response) =>
      void response.writeHead(request.headers["if-none-match"] === '"t"' ? 304 : 200, { etag: '"t"' }).end();
    expect(await send("GET /k/one/apis HTTP/1.1", ['If-None-Match: "t"'])).toMatchObject({ status: 304, body: "" });
  });

  test("to HEAD has the length of what GET would give, and no body", async () => {
    system.apiserver.onRequest = (_request, response) => void response.writeHead(200, { "content-length": "1234" }).end();
    const connection = await RawConnection.open(system.gateway);
    connection.write(
      `HEAD ${podPath} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ${await system.cluster.token("alice")}\r\n\r\n`,
    );
    const received = await connection.untilClosed();
    expect(received).toMatch(/^HTTP\/1\.1 200/);
    expect(received).toMatch(/content-length: 1234\r\n/i);
    expect(received).toMatch(/\r\n\r\n$/);
  });

  test.each([
    ["429", 429, { "retry-after": "1" }],
    ["503", 503, { "retry-after": "1" }],
    ["410", 410, {}],
    ["413", 413, {}],
    ["504", 504, { "retry-after": "1" }],
  ])("of the apiserver's own %s passes with its headers", async (_name, status, headers) => {
    const body = JSON.stringify({ kind: "Status", code: status });
    system.apiserver.onRequest = (_request, response) =>
      void response.writeHead(status, { ...headers, "content-type": "application/json" }).end(body);
    const answer = await send(`GET ${podPath} HTTP/1.1`);
    expect(answer).toMatchObject({ status, body });
    expect(new Map(answer?.headers).get("retry-after")).toBe((headers as Record<string, string>)["retry-after"]);
  });

  test.each(["public, max-age=3600", "s-maxage=60", "max-age=60, immutable", undefined])(
    "may be kept by no shared cache: %s",
    async (value) => {
      system.apiserver.onRequest = (_request, response) =>
        void response
          .writeHead(200, { ...(value !== undefined && { "cache-control": value }), "cdn-cache-control": "max-age=60" })
          .end("{}");
      const headers = new Map((await send("GET /k/one/api/v1/namespaces/web/services/app/proxy/x.css HTTP/1.1"))?.headers);
      expect(headers.get("cache-control")).toMatch(/(?:^|, )private/);
      expect(headers.get("cache-control")).not.toMatch(/public|s-maxage|immutable/);
      expect(headers.has("cdn-cache-control")).toBe(false);
    },
  );

  test("of the gateway itself is never kept", async () => {
    expect(new Map((await rawAsk(system.gateway, [`GET ${podPath} HTTP/1.1`, "Host: localhost"]))?.headers).get("cache-control")).toBe(
      "no-store",
    );
  });
});

test("a 401 of the apiserver is about the agent's own credential, and no user is told to sign in again for it", async () => {
  system.apiserver.onRequest = (_request, response) => void response.writeHead(401).end();
  const answer = await ask(system.gateway, podPath, { token: await system.cluster.token("alice") });
  expect(answer).toMatchObject({ status: 503, body: expect.stringContaining("AGENT_CREDENTIAL") });
});

describe("a redirect of the apiserver", () => {
  const redirect = (location: string) => {
    system.apiserver.onRequest = (_request, response) => void response.writeHead(301, { location }).end();
  };

  test.each([
    ["/openapi/v3/apis?hash=1", "/k/one/openapi/v3/apis?hash=1"],
    ["/api/v1/namespaces/a/services/app/proxy/", "/k/one/api/v1/namespaces/a/services/app/proxy/"],
  ])("keeps the cluster's prefix: %s", async (location, expected) => {
    redirect(location);
    const answer = await send("GET /k/one/openapi/v3/x HTTP/1.1");
    expect(answer?.status).toBe(301);
    expect(new Map(answer?.headers).get("location")).toBe(expected);
  });

  test("stays as it is where the cluster has a host of its own", async () => {
    redirect("/openapi/v3/apis?hash=1");
    const token = await system.cluster.token("alice");
    const answer = await rawAsk(system.gateway, [
      "GET /openapi/v3/x HTTP/1.1",
      "Host: one.k8s.localhost",
      `Authorization: Bearer ${token}`,
    ]);
    expect(new Map(answer?.headers).get("location")).toBe("/openapi/v3/apis?hash=1");
  });

  test.each(["https://evil.example/", "//evil.example/", "/\\evil.example", "http://169.254.169.254/", "javascript:alert(1)"])(
    "to another origin becomes a failure: %s",
    async (location) => {
      redirect(location);
      const answer = await send(`GET ${podPath} HTTP/1.1`);
      expect(answer?.status).toBe(502);
      expect(new Map(answer?.headers).has("location")).toBe(false);
      expect(system.apiserver.seen).toHaveLength(1);
    },
  );

  test("of an application behind /proxy passes untouched", async () => {
    redirect("https://login.example/?next=/");
    const answer = await send("GET /k/one/api/v1/namespaces/a/services/app/proxy/ HTTP/1.1");
    expect(new Map(answer?.headers).get("location")).toBe("https://login.example/?next=/");
  });
});

describe("a POST", () => {
  test("whose connection is lost is sent once, and its failure invites nobody to repeat it blindly", async () => {
    system.apiserver.onRequest = (request) => void request.socket.destroy();
    const token = await system.cluster.token("alice");
    const answer = await ask(system.gateway, "/k/one/api/v1/namespaces/web/pods", { method: "POST", token, body: "{}" });
    expect(answer.status).toBe(502);
    expect(answer.headers["retry-after"]).toBeUndefined();
    expect(system.apiserver.seen).toHaveLength(1);
  });

  test.each([
    ["with a length", ["Content-Length: 300000"], "a".repeat(300_000)],
    ["in chunks", ["Transfer-Encoding: chunked"], `${(300_000).toString(16)}\r\n${"a".repeat(300_000)}\r\n0\r\n\r\n`],
    ["small and in chunks", ["Transfer-Encoding: chunked"], "2\r\n{}\r\n0\r\n\r\n"],
  ])("arrives whole: %s", async (_name, lines, body) => {
    system.apiserver.onRequest = (request, response) => {
      let bytes = 0;
      request.on("data", (chunk: Buffer) => (bytes += chunk.length));
      request.on("end", () => response.writeHead(201).end(String(bytes)));
    };
    const answer = await send("POST /k/one/api/v1/namespaces/web/pods HTTP/1.1", lines, body);
    expect(answer).toMatchObject({ status: 201, body: body.length > 100 ? "300000" : "2" });
  });
});
