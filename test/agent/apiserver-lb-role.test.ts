/** The role `apiserver-lb` as it runs: listening, following its list of apiservers, telling how they are, and stopping. */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect as tlsConnect } from "node:tls";
import type { TLSSocket } from "node:tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runApiserverLb } from "#agent/apiserver-lb-role.ts";
import { readConfig } from "#agent/config.ts";
import type { RunningRole } from "#agent/service-proxy-run.ts";
import { createAuthority } from "./apiserver/certificates.ts";
import type { Authority } from "./apiserver/certificates.ts";
import { closedPort } from "./scripted-server.ts";

let folder: string;
let authority: Authority;
const closers: (() => unknown)[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-lb-"));
  authority = await createAuthority("balanced cluster");
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await rm(folder, { recursive: true });
});

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

interface TestApiserver {
  readonly url: string;
  readonly seen: string[];
  answer: Answer;
}

/** An apiserver that answers /readyz to whoever has the token, and every other path with its name. */
async function startApiserver(name: string): Promise<TestApiserver> {
  const { certificate, key } = await authority.issue("kube-apiserver", ["127.0.0.1", "kubernetes.default.svc"]);
  const server = createServer({ cert: certificate, key }, (request, response) => {
    apiserver.seen.push(`${request.url ?? ""} ${request.headers.authorization ?? ""}`);
    if (request.url === "/readyz") response.end("ok");
    else apiserver.answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const apiserver: TestApiserver = {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, // a TCP listener
    seen: [],
    answer: (_request, response) => response.end(name),
  };
  return apiserver;
}

interface RunningLb {
  readonly role: RunningRole;
  readonly port: number;
  readonly statusPort: number;
  /** Resolves with the first line of the log that has all these texts. */
  readonly logged: (...parts: readonly string[]) => Promise<string>;
}

async function start(server: string, ...more: readonly string[]): Promise<RunningLb> {
  const [port, statusPort] = [await closedPort(), await closedPort()];
  const kubeconfig = join(folder, "kubeconfig");
  const trust = { server, "certificate-authority-data": Buffer.from(authority.certificate).toString("base64") };
  const entries = { clusters: [{ name: "k", cluster: trust }], users: [{ name: "u", user: { token: "the-agents" } }] };
  await writeFile(
    kubeconfig,
    JSON.stringify({ "current-context": "c", contexts: [{ name: "c", context: { cluster: "k", user: "u" } }], ...entries }),
  );
  const args = [
    "--roles=apiserver-lb",
    `--kubeconfig=${kubeconfig}`,
    `--listen=127.0.0.1:${port}`,
    `--status=127.0.0.1:${statusPort}`,
    ...more,
  ];
  const result = readConfig(args, { environment: {}, random: () => "", hostname: "h" });
  if (result.type !== "config" || result.config.role !== "apiserver-lb") throw new Error(JSON.stringify(result));
  const lines: string[] = [];
  const waiters = new Set<() => void>();
  const log = (event: object): void => {
    lines.push(JSON.stringify(event));
    for (const waiter of waiters) waiter();
  };
  const role = await runApiserverLb(result.config, { end: () => undefined, print: () => undefined, log });
  closers.push(() => role.stop());
  const logged = (...parts: readonly string[]): Promise<string> =>
    new Promise((resolve) => {
      const look = (): void => {
        const found = lines.find((line) => parts.every((part) => line.includes(part)));
        if (found !== undefined) resolve(found);
      };
      waiters.add(look);
      look();
    });
  return { role, port, statusPort, logged };
}

/** Asks through the balancer on a connection of its own, which stays open. */
async function ask(port: number): Promise<{ readonly body: string; readonly socket: TLSSocket }> {
  const socket = tlsConnect({ host: "127.0.0.1", port, ca: authority.certificate, servername: "kubernetes.default.svc" });
  closers.push(() => socket.destroy());
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  let received = "";
  while (!/\r\n\r\n./.test(received)) {
    const [chunk] = (await once(socket, "data")) as [Buffer]; // what a socket's event gives
    received += chunk.toString();
  }
  return { body: received.split("\r\n\r\n")[1] ?? "", socket };
}

async function status(port: number, path: string): Promise<string> {
  const [answer] = (await once(get({ port, path, agent: false }), "response")) as [IncomingMessage]; // what its event gives
  return `${answer.statusCode ?? 0} ${await text(answer)}`;
}

function slices(...urls: readonly string[]): Answer {
  const items = urls.map((url) => ({
    addressType: "IPv4",
    ports: [{ name: "https", port: Number(new URL(url).port) }],
    endpoints: [{ addresses: ["127.0.0.1"], conditions: { ready: true } }],
  }));
  return (_request, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ kind: "EndpointSliceList", apiVersion: "discovery.k8s.io/v1", metadata: {}, items }));
  };
}

describe("the role", () => {
  it("probes with its credential, passes connections, and says how the servers are", async () => {
    const server = await startApiserver("a");
    const lb = await start(server.url, `--apiserver=${server.url}`);
    await lb.logged('"event":"apiservers"', '"health":"ready"');
    expect(server.seen).toContain("/readyz Bearer the-agents");
    expect((await ask(lb.port)).body).toContain("a");
    expect(await status(lb.statusPort, "/healthz")).toBe("200 ok\n");
    const metrics = await status(lb.statusPort, "/metrics");
    expect(metrics).toContain(`sallyport_apiserver_lb_ready{server="${server.url}"} 1\n`);
    expect(metrics).toMatch(/sallyport_apiserver_lb_connections\{.*\} [12]\n/);
    expect(await status(lb.statusPort, "/x")).toMatch(/^404 /);
  });

  it("is not healthy without a server that is ready", async () => {
    const nowhere = `https://127.0.0.1:${await closedPort()}`;
    const lb = await start(nowhere, `--apiserver=${nowhere}`);
    expect(await status(lb.statusPort, "/healthz")).toBe("503 no apiserver is ready\n");
  });

  it("finds the apiservers behind the Service default/kubernetes", async () => {
    const [first, found] = [await startApiserver("first"), await startApiserver("found")];
    first.answer = slices(found.url);
    const lb = await start(first.url);
    await lb.logged('"event":"apiservers"', `${found.url}","health":"ready"`);
    expect((await ask(lb.port)).body).toContain("found");
  });

  it("has the server that it began with once, where that is among those found", async () => {
    const [first, found] = [await startApiserver("first"), await startApiserver("found")];
    first.answer = slices(found.url, first.url);
    const lb = await start(first.url);
    const told = await lb.logged('"event":"apiservers"', found.url);
    expect(told.split(first.url)).toHaveLength(2);
  });

  it("follows a file of addresses, keeps open connections, and keeps the old list when the file is wrong", async () => {
    const [a, b] = [await startApiserver("a"), await startApiserver("b")];
    const file = join(folder, "servers");
    await writeFile(file, `# one\n${a.url}\n`);
    const lb = await start(a.url, `--servers-file=${file}`);
    const before = await ask(lb.port);
    await writeFile(file, "http://10.0.0.1\n");
    expect(await lb.logged('"event":"servers-file"')).toContain("http://10.0.0.1 is no address such as https://10.0.0.1:6443");
    expect((await ask(lb.port)).body).toContain("a");
    await writeFile(file, `${b.url}\n`);
    await lb.logged('"event":"apiservers"', b.url);
    expect((await ask(lb.port)).body).toContain("b");
    before.socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(before.socket, "data");
  });

  it("lets open connections end when it is told to stop, and takes no more", async () => {
    const server = await startApiserver("a");
    const lb = await start(server.url, `--apiserver=${server.url}`);
    const { socket } = await ask(lb.port);
    const stopped = lb.role.stop();
    await expect(ask(lb.port)).rejects.toThrow("ECONNREFUSED");
    socket.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(socket, "data");
    socket.end();
    await stopped;
  });

  it("does not start where it cannot listen, or has no list", async () => {
    const server = await startApiserver("a");
    const lb = await start(server.url, `--apiserver=${server.url}`);
    await expect(start(server.url, `--apiserver=${server.url}`, `--listen=127.0.0.1:${lb.port}`)).rejects.toThrow(
      "cannot listen at 127.0.0.1",
    );
    await expect(start(server.url, "--servers-file=/nowhere")).rejects.toThrow("--servers-file /nowhere: ");
  });

  it("never passes a connection to itself", async () => {
    const server = await startApiserver("a");
    const port = await closedPort();
    const lb = await start(server.url, `--apiserver=${server.url}`, `--apiserver=https://127.0.0.1:${port}`, `--listen=127.0.0.1:${port}`);
    const told = await lb.logged('"event":"apiservers"');
    expect(told).toContain(server.url);
    expect(told).not.toContain(`:${port}"`);
  });
});

describe("its flags", () => {
  it.each([
    [["--listen=localhost:7443"], "--listen localhost:7443: give an IP address and a port"],
    [["--listen=127.0.0.1:0"], "--listen 127.0.0.1:0: give"],
    [["--status=::1:7444"], "--status ::1:7444: give"],
    [["--drain-seconds=soon"], "--drain-seconds soon: give a number of seconds"],
    [["--apiserver=http://10.0.0.1"], "--apiserver http://10.0.0.1: give"],
    [["--apiserver=https://10.0.0.1:6443", "--servers-file=/x"], "give one of them"],
  ])("%j are refused", (args, problem) => {
    const result = readConfig(["--roles=apiserver-lb", ...args], { environment: {}, random: () => "", hostname: "h" });
    expect(result).toMatchObject({ type: "invalid", problems: [expect.stringContaining(problem)] });
  });

  it("have defaults", () => {
    const result = readConfig(["--roles=apiserver-lb"], { environment: {}, random: () => "", hostname: "h" });
    const places = { listen: [{ host: "127.0.0.1", port: 7443 }], status: { host: "127.0.0.1", port: 7444 } };
    expect(result).toMatchObject({ type: "config", config: { ...places, drainMs: 30_000, serversFile: undefined } });
  });
});
