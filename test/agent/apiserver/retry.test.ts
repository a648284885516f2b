import { Readable } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import type { ApiserverPool } from "#agent/apiserver/upstream.ts";
import { closedPort, readHead, startHttpServer, startTcpServer } from "../scripted-server.ts";
import type { ScriptedServer } from "../scripted-server.ts";
import { codeOf, makePool, makeRequest, readAll } from "./pool-maker.ts";

const servers: ScriptedServer[] = [];
let pool: ApiserverPool | undefined;

afterEach(async () => {
  await pool?.close();
  await Promise.all(servers.splice(0).map(async (server) => server.close()));
});

async function keep(starting: Promise<ScriptedServer>): Promise<ScriptedServer> {
  const server = await starting;
  servers.push(server);
  return server;
}

/** A server that answers everything, and names what it got. */
async function goodServer(): Promise<{ readonly server: ScriptedServer; readonly got: string[] }> {
  const got: string[] = [];
  const server = await keep(
    startHttpServer((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk.toString()));
      request.on("end", () => {
        got.push(`${request.method ?? ""} ${body}`);
        response.end("good");
      });
    }),
  );
  return { server, got };
}

/** A user whose requests prefer the first of two servers. */
async function preferring(urls: readonly [string, string], first: string): Promise<string> {
  const { orderCandidates, hashText } = await import("#agent/apiserver/selection.ts");
  const candidates = urls.map((url) => ({ url, seed: hashText(url), available: true, lastResort: false, share: 1, load: 0 }));
  const users = Array.from({ length: 64 }, (_, index) => `user-${index}`);
  return users.find((user) => orderCandidates(candidates, user)[0]?.url === first) ?? "";
}

type Case = readonly [what: string, method: string, outcome: string | number, sentTwice: boolean];

describe("a request that the first of two apiservers does not answer", () => {
  const cases: readonly Case[] = [
    ["refuses connections", "GET", 200, false],
    ["refuses connections", "POST", 200, false],
    ["refuses connections", "PATCH", 200, false],
    ["resets before it answers", "GET", 200, true],
    ["resets before it answers", "HEAD", 200, true],
    ["resets before it answers", "POST", "UPSTREAM_LOST", false],
    ["resets before it answers", "PUT", "UPSTREAM_LOST", false],
    ["resets before it answers", "DELETE", "UPSTREAM_LOST", false],
    ["breaks off in its head", "GET", "UPSTREAM_INVALID", false],
    ["breaks off in its head", "POST", "UPSTREAM_INVALID", false],
    ["is stopping", "GET", 200, true],
    ["is stopping", "POST", 200, true],
  ];

  it.each(cases)("because it %s: %s gives %s", async (what, method, outcome, sentTwice) => {
    const asked: string[] = [];
    const bad = await badServer(what, asked);
    const good = await goodServer();
    pool = makePool([bad, good.server.url]);
    const affinity = await preferring([bad, good.server.url], bad);
    const body = method === "POST" || method === "PUT" ? Readable.from([Buffer.from("once")], { objectMode: false }) : undefined;
    const answered = pool.request(makeRequest({ method, affinity, body })).then(({ status }) => status);
    const got = typeof outcome === "number" ? await answered : await codeOf(answered);
    expect(got).toBe(outcome);
    expect(asked.length === 1 && good.got.length === 1).toBe(sentTwice);
    if (outcome === 200) expect(good.got).toEqual([`${method} ${body === undefined ? "" : "once"}`]);
  });

  async function badServer(what: string, asked: string[]): Promise<string> {
    if (what === "refuses connections") return `http://127.0.0.1:${await closedPort()}`;
    const text = "The apiserver is shutting down, please try again later.\n";
    const stopping = `HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 5\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${text.length}\r\n\r\n${text}`;
    const server = await keep(
      startTcpServer((socket) => {
        void readHead(socket).then((head) => {
          asked.push(head);
          if (what === "is stopping") socket.end(stopping);
          else if (what === "breaks off in its head") socket.end("HTTP/1.1 200 OK\r\nContent-Le");
          else socket.resetAndDestroy();
        });
      }),
    );
    return server.url;
  }
});

it("an upload that is too long to keep is not sent on without its beginning when a stopping server refuses it", async () => {
  let asked = 0;
  const text = "The apiserver is shutting down, please try again later.\n";
  const stopping = (): Promise<ScriptedServer> =>
    keep(
      startHttpServer((request, response) => {
        asked += 1;
        request.resume().on("end", () => {
          response.writeHead(429, { connection: "close", "content-type": "text/plain", "content-length": String(text.length) }).end(text);
        });
      }),
    );
  pool = makePool([(await stopping()).url, (await stopping()).url]);
  const body = Readable.from(
    Array.from({ length: 5 }, () => Buffer.alloc(1 << 20)),
    { objectMode: false },
  );
  const response = await pool.request(makeRequest({ method: "POST", body }));
  expect([response.status, await readAll(response.body), asked]).toEqual([429, text, 1]);
});

describe("a lone apiserver", () => {
  it("that closed an idle connection at the wrong moment is asked again on a fresh one, for GET only", async () => {
    const asked: string[] = [];
    const server = await keep(
      startTcpServer((socket) => {
        void readHead(socket).then((head) => {
          asked.push(head.slice(0, 4));
          socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
          socket.once("data", (again: Buffer) => {
            asked.push(`${again.toString().slice(0, 4)} again`);
            socket.resetAndDestroy();
          });
        });
      }),
    );
    pool = makePool([server.url]);
    const use = async (method: string): Promise<unknown> =>
      codeOf((pool as ApiserverPool).request(makeRequest({ method })).then(async ({ body }) => readAll(body)));
    expect([await use("GET"), await use("GET"), await use("POST")]).toEqual(["fulfilled", "fulfilled", "UPSTREAM_LOST"]);
    expect(asked).toEqual(["GET ", "GET  again", "GET ", "POST again"]);
  });

  it("that cannot be reached gives UPSTREAM_UNREACHABLE, and works again as soon as it is back", async () => {
    const port = await closedPort();
    pool = makePool([`http://127.0.0.1:${port}`]);
    expect(await codeOf(pool.request(makeRequest({ method: "POST" })))).toBe("UPSTREAM_UNREACHABLE");
    await keep(startHttpServer((_request, response) => response.end(), port));
    expect((await pool.request(makeRequest())).status).toBe(200);
  });

  it("that is stopping has its refusal passed on", async () => {
    const server = await keep(
      startHttpServer((_request, response) =>
        response
          .writeHead(429, { connection: "close", "retry-after": "5", "content-type": "text/plain", "content-length": "31" })
          .end("The apiserver is shutting down\n"),
      ),
    );
    pool = makePool([server.url]);
    const { status, headers, body } = await pool.request(makeRequest());
    expect([status, headers.find(([name]) => name === "retry-after")?.[1], await readAll(body)]).toEqual([
      429,
      "5",
      "The apiserver is shutting down\n",
    ]);
  });
});

describe("answers that are the client's business", () => {
  const passed = [
    [
      "429 of priority and fairness",
      429,
      { "retry-after": "1", "content-type": "text/plain" },
      "Too many requests, please try again later.\n",
    ],
    ["504 for a resourceVersion that is too new", 504, { "retry-after": "1", "content-type": "application/json" }, "{}"],
    ["503 of an aggregated API", 503, { "content-type": "text/plain" }, "service unavailable\n"],
    ["500 with a Status", 500, { "content-type": "application/json" }, '{"kind":"Status"}'],
  ] as const;

  it.each(passed)("%s passes, and is not sent elsewhere", async (_name, status, headers, text) => {
    let asked = 0;
    const answer = (): Promise<ScriptedServer> =>
      keep(
        startHttpServer((_request, response) => {
          asked += 1;
          response.writeHead(status, headers).end(text);
        }),
      );
    pool = makePool([(await answer()).url, (await answer()).url]);
    const response = await pool.request(makeRequest({ target: "/apis/metrics.k8s.io/v1beta1/nodes" }));
    expect([response.status, await readAll(response.body), asked]).toEqual([status, text, 1]);
  });

  it("text that only looks like a stopping apiserver's, from behind /proxy, is not sent elsewhere", async () => {
    let asked = 0;
    const spoof = (): Promise<ScriptedServer> =>
      keep(
        startHttpServer((_request, response) => {
          asked += 1;
          response
            .writeHead(429, { connection: "close", "content-type": "text/plain", "content-length": "30" })
            .end("The apiserver is shutting down");
        }),
      );
    pool = makePool([(await spoof()).url, (await spoof()).url]);
    const response = await pool.request(makeRequest({ method: "POST", target: "/api/v1/namespaces/a/services/b/proxy/pay" }));
    expect([response.status, asked]).toEqual([429, 1]);
  });
});

it("1000 mixed requests over three apiservers of which one refuses connections all succeed", async () => {
  const dead = `http://127.0.0.1:${await closedPort()}`;
  const first = await goodServer();
  const second = await goodServer();
  const three = makePool([dead, first.server.url, second.server.url]);
  pool = three;
  const methods = ["GET", "POST", "PUT", "DELETE", "PATCH"];
  const send = async (index: number): Promise<number> => {
    const method = methods[index % methods.length] ?? "GET";
    const response = await three.request(makeRequest({ method, affinity: `user-${index % 40}` }));
    await readAll(response.body);
    return response.status;
  };
  const statuses: number[] = [];
  for (let batch = 0; batch < 50; batch += 1) {
    statuses.push(...(await Promise.all(Array.from({ length: 20 }, async (_, index) => send(batch * 20 + index)))));
  }
  expect(statuses.filter((status) => status === 200)).toHaveLength(1000);
  expect(first.got.length + second.got.length).toBe(1000);
});
