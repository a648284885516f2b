/** Every credential of a kubeconfig, found and chosen as kubectl does, as the apiserver sees it. */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect, createServer as createTcpServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { loadClientConfig } from "#cli/kubeconfig/client-config.ts";
import type { ClientFlags } from "#cli/kubeconfig/client-config.ts";
import { CredentialSource } from "#cli/proxy/credentials.ts";
import { createAuthority } from "#cli/workerd/certificates.ts";
import { fileRefreshMs } from "#kubeconfig/limits.ts";
import { headerOf, makeProxyBench, startApiserver } from "./proxy-bench.ts";
import type { ProxyBench, TestApiserver } from "./proxy-bench.ts";

let apiserver: TestApiserver;
let bench: ProxyBench;
const execVersion = "client.authentication.k8s.io/v1";

beforeAll(async () => {
  apiserver = await startApiserver();
  bench = await makeProxyBench(apiserver);
});
beforeEach(() => {
  apiserver.seen.length = 0;
  apiserver.onRequest = (_request, response) => response.end("hello");
});
afterAll(async () => {
  await bench.close();
  await apiserver.close();
});

/** What the apiserver sees of one request through a proxy for this kubeconfig. */
async function authorizationOf(user: object, ...args: readonly string[]): Promise<readonly string[]> {
  const proxy = await bench.start([`--kubeconfig=${await bench.kubeconfig({ user })}`, "--port=0", ...args], {
    PATH: process.env["PATH"] ?? "",
  });
  expect((await proxy.ask("/api")).status).toBe(200);
  await proxy.stop();
  return headerOf(apiserver.seen[0], "authorization");
}

describe("the Authorization header", () => {
  it("is the token's", async () => {
    expect(await authorizationOf({ token: "t" })).toEqual(["Bearer t"]);
  });

  it("is the token file's rather than the token's", async () => {
    await writeFile(join(bench.directory, "token"), "from-file\n");
    expect(await authorizationOf({ token: "t", tokenFile: "token" })).toEqual(["Bearer from-file"]);
  });

  it("is the name's and password's", async () => {
    expect(await authorizationOf({ username: "ann", password: "ä:b" })).toEqual([`Basic ${Buffer.from("ann:ä:b").toString("base64")}`]);
  });

  it("is the exec plugin's, which is told the cluster where it asks for it", async () => {
    const script = `printf '{"kind":"ExecCredential","apiVersion":"${execVersion}","status":{"token":"%s"}}' "$(printf %s "$KUBERNETES_EXEC_INFO" | tr -dc '[:alnum:]' | head -c 60)"`;
    const exec = { apiVersion: execVersion, command: "sh", args: ["-c", script], provideClusterInfo: true, interactiveMode: "IfAvailable" };
    expect(await authorizationOf({ exec })).toEqual([
      expect.stringMatching(/^Bearer kindExecCredentialapiVersionclientauthenticationk8siov1spec/),
    ]);
  });

  it("is the flag's token before every other", async () => {
    const exec = { apiVersion: execVersion, command: "/nowhere" };
    expect(await authorizationOf({ exec, username: "a", password: "b" }, "--token=flag")).toEqual(["Bearer flag"]);
  });

  it("is none for a user without a credential", async () => {
    expect(await authorizationOf({})).toEqual([]);
  });
});

describe("an exec plugin", () => {
  it("is run again after a 401, for the next request", async () => {
    const counter = join(bench.directory, "runs");
    const script = `echo x >> ${counter}; n=$(wc -l < ${counter}); echo "{\\"kind\\":\\"ExecCredential\\",\\"apiVersion\\":\\"${execVersion}\\",\\"status\\":{\\"token\\":\\"run$n\\"}}"`;
    const config = await bench.kubeconfig({ user: { exec: { apiVersion: execVersion, command: "sh", args: ["-c", script] } } });
    const proxy = await bench.start([`--kubeconfig=${config}`, "--port=0"], { PATH: process.env["PATH"] ?? "" });
    apiserver.onRequest = (request, response) => response.writeHead(request.headers.authorization === "Bearer run1" ? 401 : 200).end();
    expect([(await proxy.ask("/a")).status, (await proxy.ask("/b")).status, (await proxy.ask("/c")).status]).toEqual([401, 200, 200]);
    expect((await readFile(counter, "utf8")).trim().split("\n")).toHaveLength(2);
    await proxy.stop();
  });

  it("that fails answers 500 in words, and is tried again", async () => {
    const exec = { apiVersion: execVersion, command: "no-such-plugin", installHint: "Install it from example.com" };
    const proxy = await bench.start([`--kubeconfig=${await bench.kubeconfig({ user: { exec } })}`, "--port=0"], { PATH: "/nowhere" });
    const answer = await proxy.ask("/api");
    expect([answer.status, apiserver.seen]).toEqual([500, []]);
    expect(answer.body).toContain("no-such-plugin failed: it is not there. Install it from example.com");
    await proxy.stop();
  });
});

describe("TLS", () => {
  it("shows the client certificate, of the file or of the plugin", async () => {
    const authority = await createAuthority("clients", 86_400_000);
    const { certificate, key } = await authority.issue(["localhost"]);
    const base64 = (text: string): string => Buffer.from(text).toString("base64");
    const config = await bench.kubeconfig({ user: { "client-certificate-data": base64(certificate), "client-key-data": base64(key) } });
    const source = await sourceOf({ kubeconfig: config });
    expect(await source.current()).toMatchObject({ authorization: undefined, tls: { certificate, key } });
    const status = JSON.stringify({
      kind: "ExecCredential",
      apiVersion: execVersion,
      status: { clientCertificateData: certificate, clientKeyData: key },
    });
    await writeFile(join(bench.directory, "status"), status);
    const exec = { apiVersion: execVersion, command: "cat", args: [join(bench.directory, "status")] };
    const plugin = await sourceOf({ kubeconfig: await bench.kubeconfig({ user: { exec } }) });
    expect(await plugin.current()).toMatchObject({ authorization: undefined, tls: { certificate, key } });
  });

  it("reads certificate files again, and gives the same material while they stay", async () => {
    const pem = (text: string): string => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
    const [certificate, key] = [join(bench.directory, "c.pem"), join(bench.directory, "k.pem")];
    await writeFile(certificate, pem("first"));
    await writeFile(key, pem("key"));
    const clock = { ms: 0, now: () => clock.ms };
    const source = await sourceOf(
      { kubeconfig: await bench.kubeconfig({ user: { "client-certificate": certificate, "client-key": key } }) },
      clock,
    );
    const first = await source.current();
    await writeFile(`${certificate}.new`, pem("second"));
    await rename(`${certificate}.new`, certificate);
    expect((await source.current()).tls).toBe(first.tls);
    clock.ms += fileRefreshMs;
    const second = await source.current();
    expect([second.tls.certificate, (await source.current()).tls === second.tls]).toEqual([pem("second"), true]);
  });

  it.each([
    ["with another name to verify", { "tls-server-name": "inner.test" }, [], 200],
    ["with a wrong name to verify", { "tls-server-name": "other.test" }, [], 500],
    ["with the flag's name", { "tls-server-name": "other.test" }, ["--tls-server-name=inner.test"], 200],
    ["without the authority", { "certificate-authority-data": "" }, [], 500],
    ["unverified", { "certificate-authority-data": "", "insecure-skip-tls-verify": true }, [], 200],
    ["unverified by the flag", {}, ["--insecure-skip-tls-verify"], 200],
  ])("%s", async (_what, cluster, flags, status) => {
    const proxy = await bench.start([`--kubeconfig=${await bench.kubeconfig({ cluster })}`, "--port=0", ...flags]);
    expect([(await proxy.ask("/api")).status, apiserver.seen.length]).toEqual([status, status === 200 ? 1 : 0]);
    await proxy.stop();
  });
});

describe("over plain HTTP", () => {
  it("no credential is sent, but the impersonation is", async () => {
    const plain = createServer((request, response) => {
      response.end(JSON.stringify([request.headers.authorization ?? "none", request.headers["impersonate-user"]]));
    }).listen(0, "127.0.0.1");
    await once(plain, "listening");
    const server = `http://127.0.0.1:${(plain.address() as AddressInfo).port}`; // a TCP listener
    const proxy = await bench.start([
      `--kubeconfig=${await bench.kubeconfig({ user: { token: "t" } })}`,
      "--port=0",
      `--server=${server}`,
      "--as=bob",
    ]);
    expect((await proxy.ask("/api")).body).toBe('["none","bob"]');
    await proxy.stop();
    plain.close();
  });
});

describe("impersonation", () => {
  it("is the kubeconfig's, each group and extra on a line of its own", async () => {
    const user = { token: "t", as: "żółć", "as-uid": "1", "as-groups": ["a,b", "c"], "as-user-extra": { "example.com/x": ["1", "2"] } };
    await authorizationOf(user);
    const utf8 = Buffer.from("żółć").toString("latin1");
    expect(headerOf(apiserver.seen[0], "impersonate-user")).toEqual([utf8]);
    expect(headerOf(apiserver.seen[0], "impersonate-group")).toEqual(["a,b", "c"]);
    expect(headerOf(apiserver.seen[0], "impersonate-uid")).toEqual(["1"]);
    expect(headerOf(apiserver.seen[0], "impersonate-extra-example.com%2fx")).toEqual(["1", "2"]);
  });

  it("is the flags' before the kubeconfig's", async () => {
    await authorizationOf({ token: "t", as: "ann" }, "--as=bob", "--as-group=g1", "--as-group=g2", "--as-uid=7", "--as-user-extra=k=v=w");
    expect(headerOf(apiserver.seen[0], "impersonate-user")).toEqual(["bob"]);
    expect(headerOf(apiserver.seen[0], "impersonate-group")).toEqual(["g1", "g2"]);
    expect(headerOf(apiserver.seen[0], "impersonate-extra-k")).toEqual(["v=w"]);
  });

  it.each([[["--as-group=g"]], [["--as-uid=1"]], [["--as=a\nb"]]])("that means nobody is refused: %j", async (flags) => {
    const result = await bench.run([`--kubeconfig=${await bench.kubeconfig()}`, "--port=0", ...flags]);
    expect([result.exitCode, result.stdout]).toEqual([2, ""]);
  });
});

describe("proxy-url", () => {
  it.each(["http", "socks5"] as const)("%s carries requests and upgrades", async (scheme) => {
    const dialled: string[] = [];
    const relay = scheme === "http" ? startConnectProxy(dialled) : startSocksProxy(dialled);
    await once(relay, "listening");
    const url = `${scheme}://127.0.0.1:${(relay.address() as AddressInfo).port}`; // a TCP listener
    // A name that only the proxy resolves.
    const server = apiserver.url.replace("127.0.0.1", "inner.test");
    const proxy = await bench.start([`--kubeconfig=${await bench.kubeconfig({ cluster: { server, "proxy-url": url } })}`, "--port=0"]);
    expect(await proxy.ask("/api")).toMatchObject({ status: 200, body: "hello" });
    apiserver.onUpgrade = (_request, socket) =>
      socket.end("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nswitched");
    expect(await proxy.exchange("GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")).toContain("switched");
    expect(dialled).toEqual([new URL(server).host, new URL(server).host]);
    await proxy.stop();
    relay.close();
  });

  it("of another kind is refused", async () => {
    const result = await bench.run([`--kubeconfig=${await bench.kubeconfig({ cluster: { "proxy-url": "ftp://x" } })}`, "--port=0"]);
    expect([result.exitCode, result.stderr]).toEqual([2, expect.stringContaining("proxy-url is not an http, https or socks5 URL")]);
  });
});

describe("a kubeconfig", () => {
  it("of several files gives each name to the first file that has it", async () => {
    const [first, second] = [join(bench.directory, "first"), join(bench.directory, "second")];
    await writeFile(first, JSON.stringify({ users: [{ name: "u", user: { token: "first" } }], "current-context": "c" }));
    const whole = JSON.parse(await readFile(await bench.kubeconfig({ user: { token: "second" } }), "utf8")) as object; // as bench wrote it
    await writeFile(second, JSON.stringify({ ...whole, "current-context": "other" }));
    const source = await sourceOf({}, undefined, { KUBECONFIG: `${join(bench.directory, "none")}:${first}:${second}` });
    expect((await source.current()).authorization).toBe("Bearer first");
  });

  it.each([
    ["that is not there", { kubeconfig: "/nowhere/config" }, "there is no such file"],
    ["without the context", { context: "none" }, 'contexts has no entry "none"'],
    ["without the cluster", { cluster: "none" }, 'clusters has no entry "none"'],
    ["without the user", { user: "none" }, 'users has no entry "none"'],
  ])("%s is refused", async (_what, flags, message) => {
    const kubeconfig = await bench.kubeconfig();
    await expect(sourceOf({ kubeconfig, ...flags })).rejects.toThrow(message);
  });

  it.each([
    ["token and basic", { token: "t", username: "u" }, "username/password or bearer token may be set, but not both"],
    ["an auth-provider", { "auth-provider": { name: "gcp" } }, 'auth-provider "gcp" is not supported; use an exec plugin'],
    ["a certificate alone", { "client-certificate-data": "LS0tLS1CRUdJTiA=" }, "client-certificate and client-key need each other"],
  ])("with %s is refused", async (_what, user, message) => {
    await expect(sourceOf({ kubeconfig: await bench.kubeconfig({ user }) })).rejects.toThrow(message);
  });

  it("that is missing altogether means the local apiserver", async () => {
    const config = await load({}, {});
    expect([config.server.href, config.bearer.type]).toEqual(["http://localhost:8080/", "none"]);
  });
});

describe("in a pod", () => {
  const pod = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" };

  it("without a kubeconfig, the ServiceAccount is used and its token read again", async () => {
    const directory = join(bench.directory, "serviceaccount");
    await mkdir(directory);
    await writeFile(join(directory, "token"), "pod-token");
    await writeFile(join(directory, "ca.crt"), apiserver.authority);
    const config = await load({}, pod, directory);
    expect([config.server.href, config.readTls().ca]).toEqual(["https://[fd00::1]/", apiserver.authority]);
    const clock = { ms: 0, now: () => clock.ms };
    const source = new CredentialSource({ config, environment: {}, clock, interactive: false });
    expect((await source.current()).authorization).toBe("Bearer pod-token");
    await writeFile(join(directory, "token"), "rotated");
    clock.ms += fileRefreshMs;
    expect((await source.current()).authorization).toBe("Bearer rotated");
  });

  it("a kubeconfig goes before it", async () => {
    const config = await load({ kubeconfig: await bench.kubeconfig() }, pod, join(bench.directory, "serviceaccount"));
    expect(config.server.href).toBe(`${apiserver.url}/`);
  });
});

function load(flags: ClientFlags, env: Readonly<Record<string, string>>, serviceAccountDirectory = "/nowhere") {
  return loadClientConfig({ flags, env, homeDirectory: "/nowhere", workingDirectory: bench.directory, serviceAccountDirectory });
}

async function sourceOf(
  flags: ClientFlags,
  clock = { now: () => 0 },
  env: Readonly<Record<string, string>> = {},
): Promise<CredentialSource> {
  const environment = { PATH: process.env["PATH"] ?? "" };
  return new CredentialSource({ config: await load(flags, env), environment, clock, interactive: false });
}

/** An HTTP proxy that leads every name to this machine. */
function startConnectProxy(dialled: string[]) {
  return createServer()
    .on("connect", (request, socket: Socket) => {
      dialled.push(request.url ?? "");
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      joinTo(socket, Number(request.url?.split(":")[1]));
    })
    .listen(0, "127.0.0.1");
}

/** A SOCKS5 proxy (RFC 1928) without authentication, for names. */
function startSocksProxy(dialled: string[]) {
  return createTcpServer((socket) => {
    socket.once("data", () => {
      socket.write(Buffer.from([5, 0]));
      socket.once("data", (asked: Buffer) => {
        const length = asked[4] ?? 0;
        const port = asked.readUInt16BE(5 + length);
        dialled.push(`${asked.toString("latin1", 5, 5 + length)}:${port}`);
        socket.write(Buffer.from([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]));
        joinTo(socket, port);
      });
    });
  }).listen(0, "127.0.0.1");
}

function joinTo(socket: Socket, port: number): void {
  const upstream = connect(port, "127.0.0.1");
  for (const [from, to] of [
    [socket, upstream],
    [upstream, socket],
  ] as const) {
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroy());
    from.pipe(to);
  }
}
