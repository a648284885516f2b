/**
 * The balancer in front of three real apiservers while one is killed, one freezes, and all are replaced one by one: client-go's informers
 * miss nothing, requests on new connections are answered, and only the connections of a dead server are cut.
 */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import type { IncomingMessage } from "node:http";
import path from "node:path";

import { afterAll, beforeAll, expect, test } from "vitest";

import { type AdminAccess, type AdminAnswer, askApiserver } from "#test/cluster/harness/admin.ts";
import { type Apiserver, type Cluster, startCluster } from "#test/cluster/harness/cluster.ts";
import { startCommand, waitUntil } from "#test/cluster/harness/command.ts";
import { freePort } from "#test/cluster/harness/control-plane.ts";
import { type InformerLine, startInformer } from "#test/cluster/harness/informer.ts";
import { LineReader } from "#test/cluster/harness/line-reader.ts";

const namespace = "numbered";
const configMaps = `/api/v1/namespaces/${namespace}/configmaps`;
const counters = 10;
const informers = 4;
const quietWatches = 196;
const askers = 4;
/** Clients that wait for an answer when a server dies lose it: each has one request under way. */
const inFlight = askers;
const recoveredMs = 60_000;
/** An apiserver that has watches takes its timeout of requests to stop. */
const testMs = 400_000;

let cluster: Cluster;
let lb: LineReader<string>;
let url: string;
let statusUrl: URL;
let access: AdminAccess;
const watching: LineReader<InformerLine>[] = [];
const quiet: QuietWatch[] = [];

beforeAll(async () => {
  cluster = await startCluster({ nodes: 1, apiservers: 3, apiserverFlags: ["--shutdown-delay-duration=5s", "--request-timeout=15s"] });
  await cluster.admin(["create", "namespace", namespace]);
  const [port, statusPort] = [await freePort(), await freePort()];
  url = `https://127.0.0.1:${port}`;
  statusUrl = new URL(`http://127.0.0.1:${statusPort}`);
  const agent = ["src/cli/main.ts", "agent", "--roles=apiserver-lb", `--kubeconfig=${cluster.adminKubeconfig}`];
  const places = [`--listen=127.0.0.1:${port}`, `--status=127.0.0.1:${statusPort}`];
  // Its log is on standard error.
  lb = new LineReader(
    "apiserver-lb",
    startCommand("sh", ["-c", 'exec "$@" 2>&1', "sh", process.execPath, ...agent, ...places]),
    (line) => line,
  );
  await lb.waitFor((line) => line.includes('"event":"ready"'));
  await readyServers(3);
  const pem = (file: string): string => readFileSync(path.join(cluster.folder, "pki", file), "utf8");
  access = { url, caPem: cluster.caPem, certificatePem: pem("admin.crt"), keyPem: pem("admin.key") };
  const admin = await cluster.clientCertificate({ name: "watcher", commonName: "watcher", organizations: ["system:masters"] });
  const kubeconfig = cluster.kubeconfigFor("watcher", admin, url);
  for (let index = 0; index < informers; index += 1) watching.push(await startInformer(kubeconfig, namespace));
  for (const informer of watching) await informer.waitFor(({ type }) => type === "synced");
  for (let index = 0; index < quietWatches; index += 1) quiet.push(await QuietWatch.open(access));
}, testMs);

afterAll(async () => {
  for (const watch of quiet) watch.close();
  for (const informer of watching) await informer.finish();
  await lb.stop("SIGKILL");
  await cluster.stop();
}, testMs);

/** A watch on something that never changes, on a connection of its own. */
class QuietWatch {
  readonly #answer: IncomingMessage;
  isCut = false;

  static open({ caPem, certificatePem, keyPem, url: server }: AdminAccess): Promise<QuietWatch> {
    return new Promise((resolve, reject) => {
      const target = new URL("/api/v1/namespaces/kube-node-lease/secrets?watch=1", server);
      const sent = request(target, { ca: caPem, cert: certificatePem, key: keyPem, agent: false }, (answer) =>
        resolve(new QuietWatch(answer)),
      );
      sent.on("error", reject);
      sent.end();
    });
  }

  constructor(answer: IncomingMessage) {
    this.#answer = answer;
    answer.resume();
    answer.on("error", () => undefined); // told by its close
    answer.on("close", () => (this.isCut = true));
  }

  close(): void {
    this.#answer.destroy();
  }
}

async function connectionsOf(): Promise<ReadonlyMap<string, number>> {
  const metrics = await (await fetch(new URL("/metrics", statusUrl))).text();
  const lines = metrics.matchAll(/^sallyport_apiserver_lb_connections\{server="(.*)"\} (\d+)$/gm);
  return new Map([...lines].map(([, server = "", count]) => [server, Number(count)]));
}

async function readyServers(count: number): Promise<void> {
  await waitUntil(`${count} apiservers are ready`, recoveredMs, async () => {
    const metrics = await (await fetch(new URL("/metrics", statusUrl))).text();
    return [...metrics.matchAll(/_ready\{.*\} 1$/gm)].length >= count;
  });
}

/** Writes at whichever apiserver takes it: the same number again is the same object, so a repeated write is no other one. */
async function write(number: number): Promise<string> {
  const name = `counter-${number % counters}`;
  const body = { apiVersion: "v1", kind: "ConfigMap", metadata: { name }, data: { number: String(number), at: String(performance.now()) } };
  const question = {
    method: "PATCH",
    path: `${configMaps}/${name}?fieldManager=writer&force=true`,
    body,
    contentType: "application/apply-patch+yaml",
  };
  for (const each of cluster.apiservers) {
    if (frozen.has(each.name)) continue;
    const answer = await each.ask(question).catch((): AdminAnswer | undefined => undefined); // it has ended
    if (answer !== undefined && answer.status <= 201) return (JSON.parse(answer.text) as Stored).metadata.resourceVersion;
  }
  throw new Error("no apiserver takes writes");
}

/** What is read of an object. */
interface Stored {
  readonly metadata: { readonly resourceVersion: string };
}

const frozen = new Set<string>();

interface Seen {
  readonly failed: number;
  readonly slowestMs: number;
  readonly asked: number;
  readonly cut: number;
}

/** Writes and asks, each request on a new connection, from before a disturbance until after it; then every write has been seen. */
async function during(disturb: () => Promise<void>): Promise<Seen> {
  await reopen();
  const written = [await write(0)];
  const over = new AbortController();
  const times: number[] = [];
  let failed = 0;
  const writing = (async () => {
    for (let number = 1; !over.signal.aborted; number += 1) written.push(await write(number));
  })();
  const asking = Array.from({ length: askers }, async () => {
    while (!over.signal.aborted) {
      const startedMs = performance.now();
      const answer = await askApiserver(access, { path: "/api/v1/namespaces/default" }).catch(() => undefined); // counted
      if (answer?.status === 200) times.push(performance.now() - startedMs);
      else failed += 1;
    }
  });
  try {
    await disturb();
  } finally {
    over.abort();
    await Promise.all([writing, ...asking]);
  }
  written.push(await write(written.length));
  for (const informer of watching) await sawAll(informer, written);
  const cut = quiet.filter(({ isCut }) => isCut).length;
  const seen = { failed, slowestMs: Math.round(Math.max(...times)), asked: times.length + failed, cut };
  console.log(JSON.stringify(seen));
  return seen;
}

async function sawAll(informer: LineReader<InformerLine>, written: readonly string[]): Promise<void> {
  const last = written.at(-1);
  await informer.waitFor(({ resourceVersion }) => resourceVersion === last);
  const seen = new Set(informer.lines.map(({ resourceVersion }) => resourceVersion));
  expect(written.filter((version) => !seen.has(version))).toEqual([]);
}

function apiserver(index: number): Apiserver {
  const found = cluster.apiservers[index];
  if (found === undefined) throw new Error("the cluster has three apiservers");
  return found;
}

test("connections are spread over the apiservers that were found", async () => {
  const counts = [...(await connectionsOf())].filter(([server]) => cluster.apiservers.some((each) => each.url === server));
  expect(counts).toHaveLength(3);
  for (const [, count] of counts) expect(count).toBeGreaterThan((informers + quietWatches) / 4);
});

/** Opens the watches again that an earlier test has cut. */
async function reopen(): Promise<void> {
  for (const [index, watch] of quiet.entries()) if (watch.isCut) quiet[index] = await QuietWatch.open(access);
}

/** How many connections a server has once all watches are open. */
async function connectionsAt(server: Apiserver): Promise<number> {
  await reopen();
  return (await connectionsOf()).get(server.url) ?? 0;
}

test(
  "one that is killed loses its own connections, and no other; nobody else notices",
  async () => {
    const own = await connectionsAt(apiserver(1));
    const seen = await during(async () => {
      await apiserver(1).kill();
      await readyServers(2);
      await apiserver(1).restart();
      await readyServers(3);
    });
    expect(seen.failed).toBeLessThanOrEqual(inFlight);
    expect(seen.cut).toBeLessThanOrEqual(own);
  },
  testMs,
);

test(
  "one that freezes is left by new connections within seconds, and by its old ones once it is dead",
  async () => {
    const frozenServer = apiserver(2);
    const own = await connectionsAt(frozenServer);
    const seen = await during(async () => {
      frozen.add(frozenServer.name);
      frozenServer.freeze();
      await waitUntil("its connections are given up", recoveredMs, async () => ((await connectionsOf()).get(frozenServer.url) ?? 0) === 0);
      frozenServer.thaw();
      frozen.delete(frozenServer.name);
      await readyServers(3);
    });
    expect(seen.failed).toBeLessThanOrEqual(inFlight);
    expect(seen.cut).toBeLessThanOrEqual(own);
  },
  testMs,
);

test(
  "all that are replaced one by one, each told to stop, lose no request",
  async () => {
    const seen = await during(async () => {
      for (const each of cluster.apiservers.toReversed()) {
        await each.terminate();
        await each.restart();
        await readyServers(3);
      }
    });
    expect(seen.failed).toBe(0);
  },
  testMs,
);
