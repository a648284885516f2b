/** `sallyport proxy` in front of a cluster behind the gateway: SPDY and other upgrades of its clients, from end to end. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { buffer } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeProxyBench } from "#test/cli/proxy/proxy-bench.ts";
import type { ProxyBench, RunningProxy } from "#test/cli/proxy/proxy-bench.ts";
import { acceptWebSocket } from "#test/support/scripted-apiserver.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

// Far less than the tests send: only a client that waits gets it through.
const system = useWholeSystem({ variables: { UPLOAD_BUFFER_MIB: "1" } });

const exec = "/api/v1/namespaces/web/pods/p/exec?command=id&stdin=true";
let bench: ProxyBench;
let proxy: RunningProxy;

beforeAll(async () => {
  bench = await makeProxyBench({ url: `${system.gateway.url}/k/one`, authority: system.gateway.authority.certificate });
  proxy = await start(3600);
});
afterAll(() => bench.close());

async function start(lifetimeSeconds: number, ...args: readonly string[]): Promise<RunningProxy> {
  const kubeconfig = await bench.kubeconfig({ user: { token: await system.cluster.token("alice", {}, lifetimeSeconds) } });
  return bench.start([`--kubeconfig=${kubeconfig}`, "--port=0", "--reject-paths=", ...args]);
}

/** The apiserver's end of the next upgrade, which it takes. */
function nextUpgrade(protocol = "SPDY/3.1", first = "first,"): Promise<{ readonly request: IncomingMessage; readonly socket: Duplex }> {
  const head = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n`;
  return new Promise((resolve) => {
    system.apiserver.onUpgrade = (request, socket) => {
      socket.write(`${head}${first}`);
      resolve({ request, socket });
    };
  });
}

function lines(line: string, more: readonly string[] = []): string {
  const offered = ["X-Stream-Protocol-Version: v4.channel.k8s.io", "X-Stream-Protocol-Version: v3.channel.k8s.io"];
  return [`${line} HTTP/1.1`, "Host: localhost", "Connection: Upgrade", ...offered, ...more, "", ""].join("\r\n");
}

const webSocket = ["Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="];
const spdy = lines(`POST ${exec}`, ["Upgrade: SPDY/3.1", "Content-Length: 0"]);

/** A client's upgraded connection, read up to what the apiserver said first. */
async function open(through: RunningProxy = proxy): Promise<{ readonly client: Socket; readonly head: string }> {
  const client = connect({ port: through.port, host: "127.0.0.1", allowHalfOpen: true });
  client.on("error", () => undefined); // told by what was read
  client.write(spdy);
  let head = "";
  while (!head.endsWith("first,")) {
    if (client.read(0) === null && client.readableLength === 0) await once(client, "readable");
    head += String(client.read());
  }
  return { client, head };
}

describe("an upgrade to SPDY", () => {
  test("is the apiserver's own, with its head, and bytes in both directions that end one by one", async () => {
    const upgraded = nextUpgrade();
    const { client, head } = await open();
    const { request, socket } = await upgraded;
    expect([request.method, request.url, request.headers.upgrade]).toEqual(["POST", exec, "SPDY/3.1"]);
    expect(request.headers["x-stream-protocol-version"]).toBe("v4.channel.k8s.io, v3.channel.k8s.io");
    expect(request.headers["impersonate-user"]).toBe("oidc:alice");
    expect(head).toMatch(/^HTTP\/1\.1 101 [^]*\r\nUpgrade: SPDY\/3\.1\r\n[^]*X-Stream-Protocol-Version: v4\.channel\.k8s\.io\r\n/i);
    client.end("question");
    expect((await buffer(socket)).toString()).toBe("question");
    socket.end("answer");
    expect((await buffer(client)).toString()).toBe("answer");
  });

  test("carries bytes that came with the request only after the apiserver has switched", async () => {
    system.apiserver.onUpgrade = (_request, socket) => {
      expect(system.apiserver.bytes()).not.toContain("early");
      socket.write("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n");
      socket.on("data", (chunk: Buffer) => socket.end(`got ${chunk.toString()}`));
    };
    expect(await proxy.exchange(`${spdy}early`)).toMatch(/\r\n\r\ngot early$/);
  });

  test("carries 24 MiB each way, though the gateway holds one, and an apiserver that reads slowly stops the client", async () => {
    const upgraded = nextUpgrade();
    const { client } = await open();
    const { socket } = await upgraded;
    const content = randomBytes(24 << 20);
    const digest = createHash("sha256").update(content).digest("hex");
    client.write(content);
    socket.write(content);
    const down: Buffer[] = [];
    let received = 0;
    await new Promise<void>((resolve) => {
      client.on("data", (chunk: Buffer) => {
        down.push(chunk);
        received += chunk.length;
        if (received === content.length) resolve();
      });
    });
    expect(createHash("sha256").update(Buffer.concat(down)).digest("hex")).toBe(digest);
    // Nobody has read at the other end for as long as all that took.
    expect(client.writableLength).toBeGreaterThan(0);
    client.end();
    expect(
      createHash("sha256")
        .update(await buffer(socket))
        .digest("hex"),
    ).toBe(digest);
    socket.end();
    await once(client, "close");
  });

  test.each([400, 403, 404, 500])("that the apiserver refuses with %i gets its answer, and nothing behind it passes", async (status) => {
    const body = JSON.stringify({ kind: "Status", message: "its own words", code: status });
    system.apiserver.onUpgrade = (_request, socket) =>
      void socket.end(`HTTP/1.1 ${status} X\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    const answer = await proxy.exchange(`${spdy}GET /SMUGGLED HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer).toContain(body);
    expect(system.apiserver.bytes()).not.toContain("SMUGGLED");
  });

  test("that the apiserver does not answer as one is an error of the gateway's", async () => {
    system.apiserver.onUpgrade = (_request, socket) => void socket.end("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n");
    expect(await proxy.exchange(spdy)).toMatch(/^HTTP\/1\.1 502 [^]*UPSTREAM_INVALID/);
  });

  test("ends at the apiserver when its client goes", async () => {
    const upgraded = nextUpgrade();
    const { client } = await open();
    const { socket } = await upgraded;
    const over = new Promise((resolve) => socket.on("close", resolve).on("end", resolve).resume());
    client.resetAndDestroy();
    await over;
  });

  test("ends at the client when its apiserver breaks off", async () => {
    const upgraded = nextUpgrade();
    const { client } = await open();
    ((await upgraded).socket as Socket).resetAndDestroy(); // of an HTTP server
    await once(client.resume(), "end");
  });

  test("ends with its credential, and the proxy says so", async () => {
    const short = await start(2);
    // A whole frame: data of six bytes on stream 3.
    void nextUpgrade("SPDY/3.1", "\u0000\u0000\u0000\u0003\u0000\u0000\u0000\u0006first,");
    const { client } = await open(short);
    const said = await buffer(client);
    expect((await short.stop()).stderr).toContain("An upgraded connection ended: SESSION_ENDED");
    // A whole frame of data on the first stream, the error stream, which it ends.
    expect(said.subarray(0, 5)).toEqual(Buffer.from([0, 0, 0, 1, 1]));
    expect(said.readUIntBE(5, 3)).toBe(said.length - 8);
    expect(JSON.parse(said.subarray(8).toString())).toMatchObject({ status: "Failure", reason: "Unauthorized", code: 401 });
  });
});

describe("another upgrade", () => {
  test("of an application's own is carried too, as it was asked for", async () => {
    const upgraded = nextUpgrade("foo");
    const target = "/api/v1/namespaces/web/services/s:80/proxy/socket?a=%2F";
    const client = connect(proxy.port, "127.0.0.1");
    client.write(lines(`GET ${target}`, ["Upgrade: foo", "X-Own: kept"]));
    const { request, socket } = await upgraded;
    expect([request.method, request.url, request.headers.upgrade, request.headers["x-own"]]).toEqual(["GET", target, "foo", "kept"]);
    socket.end("bye");
    expect((await buffer(client)).toString()).toMatch(/^HTTP\/1\.1 101 [^]*\r\nUpgrade: foo\r\n[^]*\r\n\r\nfirst,bye$/);
  });

  test("to WebSocket passes as one", async () => {
    system.apiserver.onUpgrade = (request, socket, head) =>
      void acceptWebSocket(request, socket, head, "v5.channel.k8s.io").then((far) => far.send("hello"));
    const client = connect(proxy.port, "127.0.0.1");
    client.write(lines(`GET ${exec}`, [...webSocket, "Sec-WebSocket-Protocol: v5.channel.k8s.io"]));
    let received = "";
    for await (const chunk of client) {
      received += String(chunk);
      if (received.includes("hello")) break;
    }
    expect(received).toMatch(/^HTTP\/1\.1 101 [^]*hello$/);
  });

  test.each(["h2c", "SPDY/3.1, h2c", "websocket, SPDY/3.1", "foo"])("is refused, and no apiserver hears of it: %s", async (protocol) => {
    expect(await proxy.exchange(lines(`POST ${exec}`, [`Upgrade: ${protocol}`]))).toMatch(/^HTTP\/1\.1 400 /);
    expect(system.apiserver.seen).toEqual([]);
  });

  test("cannot be hidden from the proxy's own filter inside a client's WebSocket", async () => {
    const strict = await start(3600, "--reject-methods=POST");
    const answer = await strict.exchange(
      lines(`GET ${exec}`, [...webSocket, ...["Sec-WebSocket-Protocol: v1.raw.sallyport.dev", "Sallyport-Upgrade: POST SPDY/3.1"]]),
    );
    expect([answer.split("\r\n")[0], system.apiserver.seen]).toEqual(["HTTP/1.1 403 Forbidden", []]);
  });

  test("is judged by the filter as what it is", async () => {
    const strict = await start(3600, "--reject-methods=POST");
    expect((await strict.exchange(spdy)).split("\r\n")[0]).toBe("HTTP/1.1 403 Forbidden");
    expect(system.apiserver.seen).toEqual([]);
  });
});

test("a plain request has the cluster's prefix, as kubectl's has", async () => {
  expect((await proxy.ask("/api/v1/pods?limit=1")).status).toBe(200);
  expect(system.apiserver.seen[0]?.target).toBe("/api/v1/pods?limit=1");
});
