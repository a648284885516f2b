import { afterEach, describe, expect, it } from "vitest";
import type { ApiserverPool } from "#agent/apiserver/upstream.ts";
import { readHead, startTcpServer } from "../scripted-server.ts";
import type { ScriptedServer } from "../scripted-server.ts";
import { codeOf, makePool, makeRequest, readAll } from "./pool-maker.ts";

let server: ScriptedServer | undefined;
let pool: ApiserverPool | undefined;

afterEach(async () => {
  await pool?.close();
  await server?.close();
});

const clean = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nclean";

/** The first connection answers with the given bytes, each later one cleanly. */
async function poolAgainst(answer: string): Promise<ApiserverPool> {
  server = await startTcpServer((socket, index) => {
    void readHead(socket).then(() => socket.write(index === 0 ? answer : clean, "latin1"));
  });
  pool = makePool([server.url]);
  return pool;
}

describe("an answer that breaks HTTP's framing before its body", () => {
  const heads: readonly (readonly [string, string])[] = [
    ["both Content-Length and chunks", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["two Content-Lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"],
    ["a signed Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"],
    ["a hexadecimal Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello"],
    ["a folded header", "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n"],
    ["a blank before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"],
    ["a NUL in a header", "HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n"],
    ["bare line feeds", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"],
    ["another protocol", "SSH-2.0-OpenSSH_9.6\r\n\r\n"],
    ["HTTP/0.9", "hello\r\n\r\n"],
    ["an upgrade that was not asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"],
    ["a flood of informational responses", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(500)],
    ["a continuation that was not asked for", "HTTP/1.1 100 Continue\r\n\r\n"],
    ["a header block without end", `HTTP/1.1 200 OK\r\n${"X-A: 1234567890\r\n".repeat(20_000)}`],
  ];

  it.each(heads)("%s is UPSTREAM_INVALID, and the next request gets a fresh connection", async (_name, answer) => {
    const against = await poolAgainst(answer);
    expect(await codeOf(against.request(makeRequest()))).toBe("UPSTREAM_INVALID");
    expect(await readAll((await against.request(makeRequest())).body)).toBe("clean");
    expect(server?.connections()).toBe(2);
  });
});

describe("an answer whose body breaks HTTP's framing", () => {
  const bodies: readonly (readonly [string, string])[] = [
    ["a chunk length that is no number", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"],
    ["a chunk that is longer than it says", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n"],
    ["a chunk length beyond all numbers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n0\r\n\r\n"],
    ["an invalid trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX A: 1\r\n\r\n"],
  ];

  it.each(bodies)("%s breaks off, and the next request gets a fresh connection", async (_name, answer) => {
    const against = await poolAgainst(answer);
    const first = await against.request(makeRequest());
    expect(await codeOf(readAll(first.body))).not.toBe("fulfilled");
    expect(await readAll((await against.request(makeRequest())).body)).toBe("clean");
    expect(server?.connections()).toBe(2);
  });

  it.each([
    ["Content-Length", "Content-Length: 10\r\n\r\nhello"],
    ["chunks", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
  ])("a connection that ends before its %s do is an error, not the end of the list", async (_name, rest) => {
    server = await startTcpServer((socket) => void readHead(socket).then(() => socket.end(`HTTP/1.1 200 OK\r\n${rest}`)));
    pool = makePool([server.url]);
    const { body } = await pool.request(makeRequest());
    expect(await codeOf(readAll(body))).not.toBe("fulfilled");
  });
});

describe("bytes behind an answer", () => {
  const smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled";

  it.each([
    ["a 204", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 57\r\n\r\n"],
    ["a 304", "GET", "HTTP/1.1 304 Not Modified\r\n\r\n"],
    ["a HEAD's answer", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 57\r\n\r\n"],
    ["a complete body", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"],
  ])("of %s never answer the next request", async (_name, method, answer) => {
    const against = await poolAgainst(answer + smuggled);
    await readAll((await against.request(makeRequest({ method }))).body);
    expect(await readAll((await against.request(makeRequest())).body)).toBe("clean");
  });
});

it("trailers are dropped", async () => {
  const against = await poolAgainst(
    "HTTP/1.1 200 OK\r\nTrailer: Impersonate-User\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nImpersonate-User: admin\r\n\r\n",
  );
  const { headers, body } = await against.request(makeRequest());
  expect([headers, await readAll(body)]).toEqual([[], "ok"]);
});
