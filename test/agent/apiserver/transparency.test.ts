import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it } from "vitest";
import type { ApiserverPool } from "#agent/apiserver/upstream.ts";
import { readHead, startHttpServer, startTcpServer } from "../scripted-server.ts";
import type { ScriptedServer } from "../scripted-server.ts";
import { codeOf, makePool, makeRequest, readAll } from "./pool-maker.ts";

let server: ScriptedServer | undefined;
let pool: ApiserverPool | undefined;

afterEach(async () => {
  await pool?.close();
  await server?.close();
});

/** Answers a request with 200 and gives its raw bytes. */
async function recordRequest(request: Parameters<typeof makeRequest>[0]): Promise<string> {
  const heads: string[] = [];
  server = await startTcpServer((socket) => {
    void readHead(socket).then((head) => {
      heads.push(head);
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
  });
  pool = makePool([server.url]);
  await readAll((await pool.request(makeRequest(request))).body);
  return heads.join("");
}

describe("a request on its way to the apiserver", () => {
  it("keeps repeated header lines apart and in order", async () => {
    const groups = Array.from({ length: 50 }, (_, index) => ["Impersonate-Group", `team, ${index}`] as const);
    const head = await recordRequest({ headers: [["Impersonate-User", "alice"], ...groups] });
    expect(head.split("\r\n").filter((line) => line.startsWith("Impersonate-Group"))).toEqual(
      groups.map(([, value]) => `Impersonate-Group: ${value}`),
    );
  });

  it("writes values as the bytes that they stand for", async () => {
    const bytes = Buffer.from("боб", "utf8").toString("latin1");
    expect(await recordRequest({ headers: [["Impersonate-User", bytes]] })).toContain(`Impersonate-User: ${bytes}\r\n`);
  });

  it("has the target byte for byte", async () => {
    const target = "/api/v1/namespaces/a/pods/b:8080/proxy/%2e%2E//x;y=1?q=%zz&&watch=\xe9";
    expect(await recordRequest({ target })).toMatch(`GET ${target} HTTP/1.1\r\n`);
  });

  it("loses what belongs to another connection and nothing that such a header names", async () => {
    const head = await recordRequest({
      headers: [
        ["Connection", "Impersonate-User, close"],
        ["Upgrade", "h2c"],
        ["HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"],
        ["Transfer-Encoding", "chunked"],
        ["Expect", "100-continue"],
        ["TE", "trailers"],
        ["Host", "elsewhere.example"],
        ["Impersonate-User", "alice"],
      ],
    });
    expect(head).toContain("Impersonate-User: alice\r\n");
    expect(head.toLowerCase()).not.toMatch(/upgrade|http2|transfer-encoding|expect|\r\nte:|elsewhere|connection: impersonate/);
    expect(head.match(/\r\nhost: /gi)).toHaveLength(1);
  });

  it.each([
    ["a line feed in a value", { headers: [["X-A", "1\nImpersonate-User: admin"]] }],
    ["a carriage return in a value", { headers: [["X-A", "1\rImpersonate-User: admin"]] }],
    ["a NUL in a value", { headers: [["X-A", "1\0"]] }],
    ["a character that is no byte", { headers: [["X-A", "б"]] }],
    ["a blank in a name", { headers: [["X A", "1"]] }],
    ["a colon in a name", { headers: [["X-A: 1\r\nB", "1"]] }],
    ["a blank in the target", { target: "/api HTTP/1.1\r\nX: y" }],
    ["a line feed in the target", { target: "/api\n" }],
    ["an absolute target", { target: "http://elsewhere.example/" }],
    ["a blank in the method", { method: "GET /secrets HTTP/1.1\r\n" }],
  ] as const)("is refused with %s, before any connection", async (_name, request) => {
    server = await startTcpServer(() => undefined);
    pool = makePool([server.url]);
    expect(await codeOf(pool.request(makeRequest(request)))).toBe("REQUEST_INVALID");
    expect(await codeOf(pool.upgrade(makeRequest(request)))).toBe("REQUEST_INVALID");
    expect(server.connections()).toBe(0);
  });

  it("streams its body as it comes", async () => {
    const received: string[] = [];
    const body = new Readable({ read: () => undefined });
    server = await startHttpServer((request, response) => {
      request.on("data", (chunk: Buffer) => {
        received.push(chunk.toString());
        if (received.length === 1) body.push("two");
        if (received.length === 2) body.push(null);
      });
      request.on("end", () => response.end());
    });
    pool = makePool([server.url]);
    body.push("one");
    await pool.request(makeRequest({ method: "POST", body }));
    expect(received).toEqual(["one", "two"]);
  });

  it.each([["POST"], ["DELETE"], ["OPTIONS"]])("frames a body of unknown length with %s as chunks", async (method) => {
    let headers: IncomingHttpHeaders = {};
    server = await startHttpServer((request, response) => {
      headers = request.headers;
      request.resume().on("end", () => response.end());
    });
    pool = makePool([server.url]);
    await pool.request(makeRequest({ method, body: Readable.from([Buffer.from("abc")], { objectMode: false }) }));
    expect([headers["transfer-encoding"], headers["content-length"]]).toEqual(["chunked", undefined]);
  });

  it("that is shorter than its Content-Length is refused and never completed", async () => {
    const ended: boolean[] = [];
    server = await startHttpServer((request) => {
      request.resume().on("end", () => ended.push(true));
      request.on("error", () => undefined);
    });
    pool = makePool([server.url]);
    const body = Readable.from([Buffer.from("abc")], { objectMode: false });
    expect(await codeOf(pool.request(makeRequest({ method: "POST", headers: [["Content-Length", "10"]], body })))).toBe("REQUEST_INVALID");
    expect(ended).toEqual([]);
  });
});

describe("an answer on its way back", () => {
  it("keeps status, repeated headers and their bytes, without hop-by-hop ones", async () => {
    server = await startTcpServer((socket) => {
      void readHead(socket).then(() =>
        socket.write(
          Buffer.from(
            'HTTP/1.1 299 Odd\r\nWarning: 299 - "a"\r\nwarning: 299 - "b"\r\nX-Bytes: \xff\xe9\r\nKeep-Alive: timeout=5\r\nConnection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok',
            "latin1",
          ),
        ),
      );
    });
    pool = makePool([server.url]);
    const response = await pool.request(makeRequest());
    expect([response.status, response.headers, await readAll(response.body)]).toEqual([
      299,
      [
        ["Warning", '299 - "a"'],
        ["warning", '299 - "b"'],
        ["X-Bytes", "\xff\xe9"],
        ["Content-Length", "2"],
      ],
      "ok",
    ]);
  });

  it("is not decompressed", async () => {
    const zipped = gzipSync("x".repeat(1000));
    server = await startHttpServer((_request, response) => response.writeHead(200, { "content-encoding": "gzip" }).end(zipped));
    pool = makePool([server.url]);
    const { body } = await pool.request(makeRequest());
    expect(await readAll(body)).toBe(zipped.toString("latin1"));
  });

  it.each([301, 302, 307, 308])("of %i passes and is not followed", async (status) => {
    const paths: (string | undefined)[] = [];
    server = await startHttpServer((request, response) => {
      paths.push(request.url);
      response.writeHead(status, { location: "/elsewhere" }).end();
    });
    pool = makePool([server.url]);
    expect((await pool.request(makeRequest())).status).toBe(status);
    expect(paths).toEqual(["/api/v1/pods"]);
  });

  it("has each chunk at once, and its head before the first", async () => {
    const clientRead = Promise.withResolvers<undefined>();
    server = await startHttpServer((_request, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.flushHeaders();
      void clientRead.promise.then(() => response.write('{"type":"ADDED"}\n'));
    });
    pool = makePool([server.url]);
    const { status, body } = await pool.request(makeRequest({ target: "/api/v1/pods?watch=1", longRunning: true }));
    clientRead.resolve(undefined);
    const [chunk] = (await once(body, "data")) as [Buffer];
    expect([status, chunk.toString()]).toEqual([200, '{"type":"ADDED"}\n']);
    body.destroy();
  });

  it("is read no further than a slow reader reads", async () => {
    const piece = Buffer.alloc(64 << 10);
    let sent = 0;
    server = await startHttpServer((request, response) => {
      if (request.url !== "/api/v1/secrets") {
        response.end();
        return;
      }
      const fill = (): void => {
        do sent += piece.length;
        while (response.write(piece) && sent < 256 << 20);
      };
      response.on("drain", fill);
      fill();
    });
    pool = makePool([server.url]);
    const { body } = await pool.request(makeRequest({ target: "/api/v1/secrets" }));
    for (let other = 0; other < 300; other += 1) await readAll((await pool.request(makeRequest())).body);
    expect(sent).toBeLessThan(32 << 20); // what two kernels' socket buffers hold
    expect(body.readableLength).toBeLessThanOrEqual(192 << 10);
    body.destroy();
  });

  it("ends the request at the apiserver when its reader goes", async () => {
    const closed = Promise.withResolvers<undefined>();
    server = await startHttpServer((request, response) => {
      request.on("close", () => closed.resolve(undefined));
      response.write("x");
    });
    pool = makePool([server.url]);
    const { body } = await pool.request(makeRequest());
    body.destroy();
    await closed.promise;
    expect(pool.state().servers[0]?.inFlight).toBe(0);
  });

  it.each(["before the head", "in the body"])("is abandoned by the signal %s", async (when) => {
    const closed = Promise.withResolvers<undefined>();
    const arrived = Promise.withResolvers<undefined>();
    server = await startHttpServer((request, response) => {
      request.on("close", () => closed.resolve(undefined));
      if (when === "in the body") response.write("x");
      arrived.resolve(undefined);
    });
    pool = makePool([server.url]);
    const aborter = new AbortController();
    const reason = new Error("the user has gone");
    const answered = pool.request(makeRequest({ signal: aborter.signal, longRunning: true })).then(async ({ body }) => readAll(body));
    await arrived.promise;
    aborter.abort(reason);
    await expect(answered).rejects.toBe(reason);
    await closed.promise;
  });
});
