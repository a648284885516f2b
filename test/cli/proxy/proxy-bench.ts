/** A proxy that serves on a free port, and an apiserver over TLS behind it that does what a test says. */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { createAuthority } from "#cli/workerd/certificates.ts";
import { makeBench } from "#test/cli/support/command-run.ts";
import type { CommandResult } from "#test/cli/support/command-run.ts";

export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  /** Lines in order, as sent. */
  readonly lines: readonly (readonly [string, string])[];
  readonly body: string;
}

export interface TestApiserver {
  readonly url: string;
  readonly authority: string;
  readonly seen: SeenRequest[];
  onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  onUpgrade: (request: IncomingMessage, socket: Duplex) => void;
  readonly close: () => Promise<void>;
}

const dayMs = 24 * 60 * 60 * 1000;

export async function startApiserver(): Promise<TestApiserver> {
  const authority = await createAuthority("proxied cluster", dayMs);
  const { certificate, key } = await authority.issue(["127.0.0.1", "localhost", "inner.test"]);
  const server = createServer({ cert: certificate, key });
  server.on("request", (incoming: IncomingMessage, response: ServerResponse) => {
    void text(incoming).then((body) => {
      apiserver.seen.push(seenOf(incoming, body));
      apiserver.onRequest(incoming, response);
    });
  });
  server.on("upgrade", (incoming: IncomingMessage, socket: Duplex) => {
    apiserver.seen.push(seenOf(incoming, ""));
    socket.on("error", () => undefined); // the proxy ends connections as it likes
    apiserver.onUpgrade(incoming, socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const apiserver: TestApiserver = {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, // a TCP listener
    authority: authority.certificate,
    seen: [],
    onRequest: (_request, response) => response.end("hello"),
    onUpgrade: (_request, socket) => socket.destroy(),
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return apiserver;
}

function seenOf(incoming: IncomingMessage, body: string): SeenRequest {
  const lines = Array.from({ length: incoming.rawHeaders.length / 2 }, (_, index) => {
    return [incoming.rawHeaders[index * 2] ?? "", incoming.rawHeaders[index * 2 + 1] ?? ""] as const;
  });
  return { method: incoming.method ?? "", target: incoming.url ?? "", lines, body };
}

export function headerOf(seen: SeenRequest | undefined, name: string): readonly string[] {
  return (seen?.lines ?? []).filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export interface RunningProxy {
  /** What stands behind "Starting to serve on". */
  readonly address: string;
  readonly port: number;
  readonly ask: (target: string, options?: AskOptions) => Promise<Answer>;
  /** Sends bytes and gives all that comes back until the end. */
  readonly exchange: (bytes: string) => Promise<string>;
  readonly stop: () => Promise<CommandResult>;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: string;
  readonly socketPath?: string;
}

export interface ProxyBench {
  readonly directory: string;
  /** Writes a kubeconfig that leads to the apiserver. */
  readonly kubeconfig: (parts?: { readonly cluster?: object; readonly user?: object }) => Promise<string>;
  readonly start: (args: readonly string[], env?: Readonly<Record<string, string>>) => Promise<RunningProxy>;
  /** Runs a command line that is expected to fail. */
  readonly run: (args: readonly string[]) => Promise<CommandResult>;
  readonly close: () => Promise<void>;
}

export async function makeProxyBench(apiserver: Pick<TestApiserver, "url" | "authority">): Promise<ProxyBench> {
  const directory = await mkdtemp(join(tmpdir(), "sallyport-proxy-"));
  const bench = await makeBench();
  const running = new Set<RunningProxy>();
  const start = async (args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<RunningProxy> => {
    const stopping = new AbortController();
    const output: string[] = [];
    const errors: string[] = [];
    let told: (address: string) => void = () => undefined;
    const served = new Promise<string>((resolve) => (told = resolve));
    const write = (line: string): void => {
      output.push(line);
      const address = /^Starting to serve on (.*)\n$/.exec(line)?.[1];
      if (address !== undefined) told(address);
    };
    const ended = bench.run(["proxy", ...args], {
      process: { stdout: { write }, stderr: { write: (line) => void errors.push(line) }, env: {} },
      env,
      signal: stopping.signal,
    });
    const address = await Promise.race([
      served,
      ended.then((): never => {
        throw new Error(`the proxy did not start: ${errors.join("")}`);
      }),
    ]);
    const port = Number(/:(\d+)$/.exec(address)?.[1] ?? 0);
    const proxy: RunningProxy = {
      address,
      port,
      ask: (target, options) => ask(port, target, options),
      exchange: (bytes) => exchange(port, bytes),
      stop: async () => {
        running.delete(proxy);
        stopping.abort();
        const { exitCode } = await ended;
        return { exitCode, stdout: output.join(""), stderr: errors.join("") };
      },
    };
    running.add(proxy);
    return proxy;
  };
  return {
    directory,
    kubeconfig: ({ cluster = {}, user = { token: "the-token" } } = {}) => writeKubeconfig(directory, apiserver, cluster, user),
    start,
    run: (args) => bench.run(["proxy", ...args], { env: {} }),
    close: async () => {
      for (const proxy of running) await proxy.stop();
      await bench.remove();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

let files = 0;

async function writeKubeconfig(
  directory: string,
  apiserver: Pick<TestApiserver, "url" | "authority">,
  cluster: object,
  user: object,
): Promise<string> {
  const trust = { server: apiserver.url, "certificate-authority-data": Buffer.from(apiserver.authority).toString("base64") };
  const config = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "k", user: "u" } }],
    clusters: [{ name: "k", cluster: { ...trust, ...cluster } }],
    users: [{ name: "u", user }],
  };
  const path = join(directory, `kubeconfig-${(files += 1)}`);
  await writeFile(path, JSON.stringify(config));
  return path;
}

export async function ask(port: number, target: string, options: AskOptions = {}): Promise<Answer> {
  const { method = "GET", headers = {}, body = "", socketPath } = options;
  const place = socketPath === undefined ? { host: "127.0.0.1", port } : { socketPath };
  const given = { host: `127.0.0.1:${port}`, ...(body === "" ? {} : { "content-length": String(body.length) }), ...headers };
  const lines = Object.entries(given).flatMap(([name, value]) => [value].flat().flatMap((each) => [name, each]));
  return new Promise((resolve, reject) => {
    const sent = request({ ...place, method, path: target, headers: lines, agent: false }, (answer) => {
      text(answer).then((content) => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: content }), reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined); // told by what was read
  socket.write(bytes, "latin1");
  let received = "";
  for await (const chunk of socket.setEncoding("latin1")) received += String(chunk);
  return received;
}
