/** Where `sallyport proxy` listens, and how it says that it cannot. */
import { once } from "node:events";
import { stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ask, headerOf, makeProxyBench, startApiserver } from "./proxy-bench.ts";
import type { ProxyBench, RunningProxy, TestApiserver } from "./proxy-bench.ts";

let apiserver: TestApiserver;
let bench: ProxyBench;
let kubeconfig: string;

beforeAll(async () => {
  apiserver = await startApiserver();
  bench = await makeProxyBench(apiserver);
  kubeconfig = await bench.kubeconfig();
});
afterAll(async () => {
  await bench.close();
  await apiserver.close();
});

function start(...args: readonly string[]): Promise<RunningProxy> {
  return bench.start([`--kubeconfig=${kubeconfig}`, "--port=0", ...args]);
}

describe("listening", () => {
  it("on a free port is told on standard output, and ends with 0", async () => {
    const proxy = await start();
    expect(proxy.address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(await proxy.stop()).toMatchObject({ exitCode: 0, stdout: `Starting to serve on ${proxy.address}\n` });
  });

  it("on a unix socket is for its owner alone, keeps the host filter, and replaces an old socket but no file", async () => {
    const path = join(bench.directory, "socket");
    const first = await bench.start([`--kubeconfig=${kubeconfig}`, `--unix-socket=${path}`]);
    expect([first.address, (await stat(path)).mode & 0o777]).toEqual([path, 0o700]);
    expect((await ask(0, "/api", { socketPath: path, headers: { host: "localhost" } })).status).toBe(200);
    expect(headerOf(apiserver.seen[0], "x-forwarded-for")).toEqual([]);
    expect((await ask(0, "/api", { socketPath: path, headers: { host: "foo" } })).status).toBe(403);
    const second = await bench.start([`--kubeconfig=${kubeconfig}`, `--unix-socket=${path}`, "--port=8001"]);
    await second.stop();
    await first.stop();
    await writeFile(path, "a file");
    const refused = await bench.run([`--kubeconfig=${kubeconfig}`, `--unix-socket=${path}`]);
    expect(refused).toMatchObject({ exitCode: 1, stderr: `error: listen unix ${path}: bind: address already in use\n` });
  });

  it("on a socket and a port is refused", async () => {
    const result = await bench.run(["--unix-socket=/tmp/x", "--port=8011"]);
    expect(result).toMatchObject({ exitCode: 1, stderr: "error: cannot set --unix-socket and --port at the same time\n" });
  });

  it("on a port in use, or an IPv6 address without brackets, is refused in kubectl's words", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo; // a TCP listener
    const run = (...args: readonly string[]) => bench.run([`--kubeconfig=${kubeconfig}`, ...args]);
    expect(await run(`--port=${port}`)).toMatchObject({
      exitCode: 1,
      stderr: `error: listen tcp 127.0.0.1:${port}: bind: address already in use\n`,
    });
    expect(await run("--address=::1")).toMatchObject({
      exitCode: 1,
      stderr: "error: listen tcp: address ::1:8001: too many colons in address\n",
    });
    taken.close();
  });

  it.each([
    [["--api-prefix=/x", "--www=/tmp", "--www-prefix=/x/"], "are the same"],
    [["--api-prefix=x"], "does not begin with /"],
    [["--port=abc"], "give a number"],
    [["--keepalive=never"], "give a duration"],
    [["--request-timeout=soon"], "--request-timeout soon: give seconds, or a number with its unit"],
    [["-v=much"], "--v much: give a level"],
  ])("with flags that make no sense is refused: %j", async (args, message) => {
    const result = await bench.run([`--kubeconfig=${kubeconfig}`, ...args]);
    expect([result.exitCode, result.stdout]).toEqual([2, ""]);
    expect(result.stderr).toContain(message);
  });

  it("takes kubectl's other global flags, and tells what its filter decides from level 3 on", async () => {
    const others = ["--namespace=web", "--disable-compression", "--request-timeout=1m30s"];
    const told = await start(...others, "-v=3");
    const quiet = await start("-n", "web", "--request-timeout=0", "--v=2");
    for (const proxy of [told, quiet]) {
      await proxy.ask("/api/v1/a%20b%1b%5B2J?c=d", { headers: { host: "localhost" } });
      await proxy.ask("/api/v1/pods", { headers: { host: "evil.com:80" } });
    }
    expect((await told.stop()).stderr).toBe(
      "Filter rejecting GET /api/v1/a b[2J localhost\nFilter rejecting GET /api/v1/pods evil.com:80\n",
    );
    expect((await quiet.stop()).stderr).toBe("");
  });

  it("warns of a filter that is off, and of files that are not there", async () => {
    const proxy = await start("--disable-filter", "--www=/nowhere");
    const { stderr } = await proxy.stop();
    expect(stderr).toContain("Request filter disabled, your proxy is vulnerable to XSRF attacks");
    expect(stderr).toContain("Failed to stat static file directory /nowhere");
  });
});
