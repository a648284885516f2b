/** What `sallyport proxy` lets through, and how: kubectl proxy's rows (proxy-spec 8.1) on one machine, with hostile requests beside them. */
import { once } from "node:events";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { headerOf, makeProxyBench, startApiserver } from "./proxy-bench.ts";
import type { ProxyBench, RunningProxy, TestApiserver } from "./proxy-bench.ts";

let apiserver: TestApiserver;
let bench: ProxyBench;
let kubeconfig: string;

beforeAll(async () => {
  apiserver = await startApiserver();
  bench = await makeProxyBench(apiserver);
  kubeconfig = await bench.kubeconfig();
});
beforeEach(() => {
  apiserver.seen.length = 0;
  apiserver.onRequest = (_request, response) => response.end("hello");
  apiserver.onUpgrade = (_request, socket) => socket.destroy();
});
afterAll(async () => {
  await bench.close();
  await apiserver.close();
});

function start(...args: readonly string[]): Promise<RunningProxy> {
  return bench.start([`--kubeconfig=${kubeconfig}`, "--port=0", ...args]);
}

describe("the default filter", () => {
  let proxy: RunningProxy;
  beforeAll(async () => {
    proxy = await start();
  });

  it.each([
    ["GET", "/api/v1/pods", "127.0.0.1"],
    ["GET", "/api/v1/pods", "localhost:8001"],
    ["GET", "/api/v1/pods", "[::1]"],
    ["GET", "/api/v1/pods", "[::1]:8001"],
    ["GET", "/api/v1/namespaces/default/pods/attachfoo", "localhost"],
    ["GET", "/api/v1/namespaces/default/pods/execfoo", "localhost"],
    ["POST", "/api/v1/namespaces/default/pods/x/EXEC", "localhost"],
    ["POST", "/api/v1/namespaces/default/pods/x/portforward", "localhost"],
    ["POST", "/apis/example.com/v1/pods/x/exec", "localhost"],
    ["PATCH", "/api/v1/namespaces/default/pods/somepod", "localhost"],
    ["OPTIONS", "/ui", "localhost"],
    ["PROPFIND", "/ui", "localhost"],
  ])("passes %s %s for %s", async (method, target, host) => {
    expect(await proxy.ask(target, { method, headers: { host } })).toMatchObject({ status: 200, body: "hello" });
    expect(apiserver.seen.map((seen) => [seen.method, seen.target])).toEqual([[method, target]]);
  });

  it.each([
    ["POST", "/api/v1/namespaces/default/pods/somepod/exec", "localhost"],
    ["POST", "/api/v1/namespaces/default/pods/somepod/attach", "localhost"],
    ["GET", "/api/v1/namespaces/default/pods/y/%65xec", "localhost"],
    ["GET", "/api/v1/namespaces/default/pods/y%2Fexec", "localhost"],
    ["GET", "/api/v1/namespaces/default/pods/y/execute", "localhost"],
    ["GET", "/x/%2e%2e/api/v1/namespaces/default/pods/y/exec", "localhost"],
    ["GET", "/x/.%2E/api/v1/pods", "localhost"],
    ["GET", "/api/v1/namespaces/d%0Ae/pods/y/exec", "localhost"],
    ["GET", "/api/v1/pods", "evil.com"],
    ["GET", "/api/v1/pods", "localhost.evil.com"],
    ["GET", "/api/v1/pods", "127a0b0c1"],
    ["GET", "/api/v1/pods", "LOCALHOST"],
    ["GET", "/api/v1/pods", "localhost:80:80"],
    ["GET", "/api/v1/pods", "[::1]:8001:evil.com"],
    ["GET", "/api/v1/pods", "user@localhost"],
  ])("refuses %s %s for %s, and tells the apiserver nothing", async (method, target, host) => {
    const answer = await proxy.ask(target, { method, headers: { host } });
    expect(answer).toMatchObject({ status: 403, body: "Forbidden\n" });
    expect(answer.headers).toMatchObject({ "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" });
    expect(apiserver.seen).toEqual([]);
  });

  it("judges an absolute URL by its own host", async () => {
    const answer = await proxy.exchange("GET http://evil.com/api/v1/pods HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    expect([answer.split("\r\n")[0], apiserver.seen]).toEqual(["HTTP/1.1 403 Forbidden", []]);
  });

  it.each(["*", "api", "/a%zz", "/%"])("takes no %s for a target", async (target) => {
    const answer = await proxy.exchange(`GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`);
    expect(answer.split("\r\n")[0]).toMatch(/^HTTP\/1\.1 400 /);
    expect(apiserver.seen).toEqual([]);
  });

  it("sends a backslash on as what it is to the filter: no slash", async () => {
    await proxy.exchange("GET /api\\v1/pods/x\\exec HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    expect(apiserver.seen[0]?.target).toBe("/api%5Cv1/pods/x%5Cexec");
  });

  it.each([
    "POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST /api HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "GET /api HTTP/1.1\r\nHost: localhost\r\nHost: evil.com\r\n\r\n",
    "GET /api HTTP/1.1\r\nHost: localhost\r\nX: a\nY: b\r\n\r\n",
  ])("refuses what two servers could read differently: %j", async (bytes) => {
    expect(await proxy.exchange(bytes)).toMatch(/^HTTP\/1\.1 400 /);
    expect(apiserver.seen).toEqual([]);
  });
});

describe("the filter's flags", () => {
  it.each([
    [["--reject-paths="], "POST", "/api/v1/namespaces/d/pods/p/exec", 200],
    [["--reject-methods=POST,PUT,PATCH"], "PATCH", "/api/v1/pods", 403],
    [["--reject-methods=POST,PUT,PATCH"], "GET", "/api/v1/pods", 200],
    [["--reject-paths=^/x,"], "GET", "/api/v1/pods", 403],
    [["--accept-hosts="], "GET", "/api/v1/pods", 403],
    [["--accept-paths=^/version$"], "GET", "/version", 200],
    [["--accept-paths=^/version$"], "GET", "/api/v1/pods", 403],
    [["--accept-paths=(?i)^/VERSION$"], "GET", "/version", 200],
    [["--disable-filter=true"], "POST", "/api/v1/namespaces/d/pods/p/exec", 200],
    [["--disable-filter=false"], "POST", "/api/v1/namespaces/d/pods/p/exec", 403],
    [["--disable-filter"], "POST", "/api/v1/namespaces/d/pods/p/exec", 200],
  ])("%j: %s %s is answered with %i", async (flags, method, target, status) => {
    const proxy = await start(...flags);
    expect((await proxy.ask(target, { method })).status).toBe(status);
    await proxy.stop();
  });

  it.each(["(", "a{1,2}", "(?=x)", "\\pL", "[[:alpha:]]"])(
    "an expression that cannot be read as Go reads it ends the command: %s",
    async (expression) => {
      const result = await bench.run([`--kubeconfig=${kubeconfig}`, "--port=0", `--accept-paths=${expression}`]);
      expect(result).toMatchObject({ exitCode: 255, stdout: "" });
      expect(result.stderr).toContain("Error compiling re: --accept-paths: ");
    },
  );

  it("an expression that would take JavaScript for ever is matched at once", async () => {
    const proxy = await start("--accept-paths=^/(a+)+$");
    expect((await proxy.ask(`/${"a".repeat(5000)}!`)).status).toBe(403);
    await proxy.stop();
  });
});

describe("paths", () => {
  it.each([
    ["GET", "//api//v1", "/api/v1"],
    ["POST", "//api//v1", "/api/v1"],
    ["GET", "/api/../v1?x=1", "/v1?x=1"],
    ["GET", "/api/./v1/", "/api/v1/"],
    ["GET", "//evil.com/%2f", "/evil.com/%2f"],
  ])("%s %s is redirected, the method kept, to %s", async (method, target, location) => {
    const proxy = await start();
    expect(await proxy.ask(target, { method })).toMatchObject({ status: 307, headers: { location } });
    expect(apiserver.seen).toEqual([]);
    await proxy.stop();
  });

  it.each([
    ["/", "/metrics", "/metrics"],
    ["/", "/a%2Fb?x=%2F;y", "/a%2Fb?x=%2F;y"],
    ["/api/", "/api/metrics", "/api/metrics"],
    ["/custom/", "/custom/api/v1/pods/", "/api/v1/pods/"],
    ["/custom", "/custom/api/metrics", "/api/metrics"],
  ])("with the prefix %s, %s is %s", async (prefix, target, sent) => {
    const proxy = await start(`--api-prefix=${prefix}`);
    await proxy.ask(target);
    expect(apiserver.seen.map((seen) => seen.target)).toEqual([sent]);
    await proxy.stop();
  });

  it.each([
    ["/api/", "/metrics", 404],
    ["/custom/", "/api/v1/pods", 404],
    ["/custom/", "/custom", 307],
    ["/custom/", "/custom/api/v1/namespaces/x/pods/y/exec", 403],
  ])("with the prefix %s, %s is answered with %i", async (prefix, target, status) => {
    const proxy = await start(`--api-prefix=${prefix}`);
    expect([(await proxy.ask(target)).status, apiserver.seen]).toEqual([status, []]);
    await proxy.stop();
  });

  it.each([
    [["--append-server-path"], "/base/path/api/v1/pods", ""],
    [[], "/api/v1/pods", "Warning: Your kube context contains a server path /base/path, use --append-server-path"],
  ])("with a path in the server and %j, /api/v1/pods is %s", async (flags, sent, warning) => {
    const config = await bench.kubeconfig({ cluster: { server: `${apiserver.url}/base/path` } });
    const proxy = await bench.start([`--kubeconfig=${config}`, "--port=0", ...flags]);
    await proxy.ask("/api/v1/pods");
    expect(apiserver.seen.map((seen) => seen.target)).toEqual([sent]);
    expect((await proxy.stop()).stderr).toContain(warning);
  });
});

describe("files", () => {
  it("of a directory are served under their prefix, and nothing outside of it", async () => {
    const root = join(bench.directory, "www");
    await mkdir(join(root, "foo"), { recursive: true });
    await writeFile(join(root, "foo", "test.txt"), "content");
    await writeFile(join(root, "foo", "index.html"), "<p>index");
    await writeFile(join(bench.directory, "secret"), "secret");
    await symlink(join(bench.directory, "secret"), join(root, "link"));
    const proxy = await start(`--www=${root}`, "--accept-hosts=^none$");
    expect(await proxy.ask("/static/foo/test.txt")).toMatchObject({ status: 200, body: "content" });
    expect(await proxy.ask("/static/foo/")).toMatchObject({ status: 200, body: "<p>index" });
    for (const path of ["link", "..%2Fsecret", "%2e%2e/secret", "foo", "none", "foo%00"])
      expect((await proxy.ask(`/static/${path}`)).status).toBe(404);
    expect((await proxy.ask("/static/foo/test.txt", { method: "POST" })).status).toBe(405);
    expect((await proxy.ask("/api/v1/pods")).status).toBe(403);
    await proxy.stop();
  });
});

describe("a request", () => {
  let proxy: RunningProxy;
  beforeAll(async () => {
    proxy = await start();
  });

  it.each(["GET", "DELETE", "POST", "PUT"])("by %s arrives with its query and body as they are", async (method) => {
    const body = method === "POST" || method === "PUT" ? "the body" : "";
    await proxy.ask("/api/test?fields=ID%3Dfoo&labels=key%3Dvalue", { method, body });
    expect(apiserver.seen[0]).toMatchObject({ method, target: "/api/test?fields=ID%3Dfoo&labels=key%3Dvalue", body });
  });

  it("carries the kubeconfig's token, the apiserver's host and the peer, and nothing of the hop", async () => {
    const headers = { connection: "keep-alive, x-gone", "x-gone": "1", "x-forwarded-for": "1.2.3.4", accept: ["a/b;g=x", "c/d"] };
    await proxy.ask("/api", { headers });
    const seen = apiserver.seen[0];
    expect(headerOf(seen, "authorization")).toEqual(["Bearer the-token"]);
    expect(headerOf(seen, "host")).toEqual([new URL(apiserver.url).host]);
    expect(headerOf(seen, "x-forwarded-for")).toEqual(["1.2.3.4, 127.0.0.1"]);
    expect(headerOf(seen, "x-gone")).toEqual([]);
    expect(headerOf(seen, "accept")).toEqual(["a/b;g=x", "c/d"]);
  });

  it.each(["Authorization", "Impersonate-User", "impersonate-extra-x", "X-Remote-User", "X_Remote_Group"])(
    "that claims an identity by %s is refused, not run as somebody else",
    async (name) => {
      const answer = await proxy.ask("/api", { headers: { [name]: "Bearer other" } });
      expect([answer.status, apiserver.seen]).toEqual([403, []]);
      expect(answer.body).toContain(`without the header ${name}`);
    },
  );

  it("is answered with every header line and status of its own", async () => {
    apiserver.onRequest = (_request, response) => {
      response.writeHead(418, ["Warning", "299 - one", "Warning", "299 - two", "Content-Encoding", "gzip", "Keep-Alive", "x"]);
      response.end("not gzip at all");
    };
    const raw = await proxy.exchange("GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    expect(raw).toMatch(/^HTTP\/1\.1 418 /);
    expect(raw).toContain("Warning: 299 - one\r\nWarning: 299 - two\r\nContent-Encoding: gzip\r\n");
    expect(raw).not.toContain("Keep-Alive: x");
    expect(raw).toContain("not gzip at all");
  });

  it("has its answer piece by piece", async () => {
    let next: () => void = () => undefined;
    apiserver.onRequest = (_request, response) => {
      response.flushHeaders();
      next = () => void response.write("piece");
    };
    const answer = await new Promise<import("node:http").IncomingMessage>((resolve) => {
      void import("node:http").then(({ get }) => get({ port: proxy.port, path: "/watch" }, resolve));
    });
    for (let piece = 0; piece < 3; piece += 1) {
      next();
      expect(String((await once(answer, "data"))[0])).toBe("piece");
    }
    answer.destroy();
  });

  it("is cut where the apiserver's answer breaks off", async () => {
    apiserver.onRequest = (_request, response) => {
      response.writeHead(200, { "content-length": 10 });
      response.write("half", () => response.destroy());
    };
    await expect(proxy.ask("/api")).rejects.toThrow();
  });

  it("ends at the apiserver when the client goes", async () => {
    const gone = new Promise<void>((resolve) => {
      apiserver.onRequest = (request, response) => {
        response.flushHeaders();
        request.socket.on("close", () => resolve());
      };
    });
    const { get } = await import("node:http");
    get({ port: proxy.port, path: "/watch" }, (answer) => answer.destroy()).on("error", () => undefined);
    await gone;
  });
});

describe("an upgrade", () => {
  let proxy: RunningProxy;
  beforeAll(async () => {
    proxy = await start();
  });
  const upgradeRequest =
    "POST /api/v1/namespaces/d/pods/p/portforward HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";

  it("is passed on as it is, and its connection joined once the apiserver has switched", async () => {
    apiserver.onUpgrade = (request, socket) => {
      expect(request.headers).toMatchObject({ upgrade: "SPDY/3.1", authorization: "Bearer the-token", "x-stream-protocol-version": "v4" });
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Chosen: v4\r\n\r\nserver first,");
      socket.on("data", (chunk: Buffer) => socket.end(`echo ${chunk.toString()}`));
    };
    const raw = await proxy.exchange(`${upgradeRequest}X-Stream-Protocol-Version: v4\r\nContent-Length: 0\r\n\r\nclient first`);
    expect(raw).toBe(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Chosen: v4\r\n\r\nserver first,echo client first",
    );
  });

  it.each([400, 403, 500])("refused with %i gets that answer, and its connection is over", async (status) => {
    apiserver.onUpgrade = (_request, socket) => socket.write(`HTTP/1.1 ${status} No\r\nContent-Length: 4\r\n\r\nwhy?`);
    const raw = await proxy.exchange(`${upgradeRequest}\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(raw).toMatch(new RegExp(`^HTTP/1\\.1 ${status} No\r\n[^]*\r\n\r\nwhy\\?$`));
    expect(apiserver.seen).toHaveLength(1);
  });

  it.each([200, 204, 302, 307])("answered with %i is an error, and no redirect is followed", async (status) => {
    apiserver.onUpgrade = (_request, socket) =>
      socket.write(`HTTP/1.1 ${status} X\r\nLocation: ${apiserver.url}/other\r\nContent-Length: 0\r\n\r\n`);
    const raw = await proxy.exchange(`${upgradeRequest}\r\n`);
    expect(raw).toMatch(/^HTTP\/1\.1 500 /);
    expect(raw).toContain(`invalid upgrade response: status code ${status}\n`);
    expect(apiserver.seen).toHaveLength(1);
  });

  it.each(["Content-Length: 20", "Transfer-Encoding: chunked"])("with a body is refused: %s", async (line) => {
    const raw = await proxy.exchange(`${upgradeRequest}${line}\r\n\r\nGET /smuggled HTTP/1`);
    expect([raw.split("\r\n")[0], apiserver.seen]).toEqual(["HTTP/1.1 400 Bad Request", []]);
  });

  it.each([
    ["to exec", upgradeRequest.replace("portforward", "exec")],
    ["for another host", upgradeRequest.replace("localhost", "evil.com")],
    ["with an identity of its own", `${upgradeRequest}Authorization: Bearer x\r\n`],
  ])("%s is refused by the filter too", async (_what, lines) => {
    expect([(await proxy.exchange(`${lines}\r\n`)).split("\r\n")[0], apiserver.seen]).toEqual(["HTTP/1.1 403 Forbidden", []]);
  });

  it("to SPDY where Kubernetes has nothing to switch is a plain request, with its body", async () => {
    const plain = upgradeRequest.replace("POST /api/v1/namespaces/d/pods/p/portforward", "DELETE /api/v1/namespaces/d/pods/p");
    const raw = await proxy.exchange(`${plain.replace("Connection: Upgrade", "Connection: Upgrade, close")}Content-Length: 4\r\n\r\nbody`);
    expect(raw).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*hello/);
    expect(apiserver.seen).toMatchObject([{ method: "DELETE", body: "body" }]);
    expect([headerOf(apiserver.seen[0], "upgrade"), headerOf(apiserver.seen[0], "content-length")]).toEqual([[], ["4"]]);
  });

  it("that cannot be dialled says so", async () => {
    const config = await bench.kubeconfig({ cluster: { server: "https://127.0.0.1:1" } });
    const lost = await bench.start([`--kubeconfig=${config}`, "--port=0"]);
    expect(await lost.exchange(`${upgradeRequest}\r\n`)).toContain(
      "error dialing backend: dial tcp 127.0.0.1:1: connect: connection refused\n",
    );
    expect(await lost.ask("/api")).toMatchObject({ status: 500, body: "dial tcp 127.0.0.1:1: connect: connection refused\n" });
  });
});
