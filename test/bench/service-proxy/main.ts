/**
 * How long it takes to program a node's Services: ours beside kube-proxy's nftables mode, one after the other in the same run. Needs root
 * and the cluster tests' Kubernetes.
 *
 *   node scripts/toolchain.mjs node test/bench/service-proxy/main.ts [--services 2000,10000,30000] [--kube-proxy-until 10000]
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import { createNft } from "#agent/dataplane/nftables/nft.ts";
import { createNftablesDataplane } from "#agent/dataplane/nftables/nftables.ts";
import { Planner } from "#agent/dataplane/plan.ts";
import type { EndpointSliceObject } from "#agent/dataplane/objects.ts";
import { clusterFiles } from "#test/cluster/harness/cache.ts";
import { mustRun, runCommand, startCommand, waitUntil } from "#test/cluster/harness/command.ts";
import { benchNode, serviceObject, sliceObject } from "./objects.ts";

const { values } = parseArgs({
  options: {
    services: { type: "string", default: "2000,10000,30000" },
    "kube-proxy-until": { type: "string", default: "10000" },
    updates: { type: "string", default: "20" },
  },
});
const updates = Number(values.updates);
const apiPort = 8001;
const metricsPort = 10249;
const syncDeadlineMs = 30 * 60_000;

interface Figures {
  readonly fullMs: number;
  readonly updatesMs: readonly number[];
  readonly rssMb: number;
}

process.stdout.write(
  `${cpus().length} processors, load ${loadavg()
    .map((load) => load.toFixed(1))
    .join(" ")}\n`,
);
for (const services of values.services.split(",").map(Number)) {
  report("ours", services, await inNamespace((namespace) => measureOurs(namespace, services)));
  if (services > Number(values["kube-proxy-until"])) continue;
  report("kube-proxy", services, await inNamespace((namespace) => measureKubeProxy(namespace, services)));
}

function report(name: string, services: number, { fullMs, updatesMs, rssMb }: Figures): void {
  const sorted = updatesMs.toSorted((one, other) => one - other);
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN).toFixed(1);
  process.stdout.write(
    `${name}: ${services} Services × 2: full ${fullMs.toFixed(0)} ms; one endpoint: median ${at(0.5)} ms, p99 ${at(0.99)} ms; RSS ${rssMb.toFixed(0)} MB; load ${loadavg()[0]?.toFixed(1)}\n`,
  );
}

async function inNamespace(measure: (namespace: string) => Promise<Figures>): Promise<Figures> {
  const namespace = `sdp-${process.pid}-bench-node`;
  await mustRun("ip", ["netns", "add", namespace]);
  try {
    await mustRun("ip", ["-n", namespace, "link", "set", "lo", "up"]);
    return await measure(namespace);
  } finally {
    await mustRun("ip", ["netns", "del", namespace]);
  }
}

/** Planning and programming, from objects in memory, as kube-proxy's own figure begins with its objects in memory. */
async function measureOurs(namespace: string, services: number): Promise<Figures> {
  const indexes = Array.from({ length: services }, (_, index) => index);
  const objects = {
    services: new Map(indexes.map((index) => [`default/s${index}`, serviceObject(index)])),
    slices: new Map(indexes.map((index) => [`default/s${index}`, new Map<string, EndpointSliceObject>([["s", sliceObject(index, 0)]])])),
    node: { name: benchNode, uid: "", internalIps: ["192.168.0.1"], zone: undefined, podCidrs: [], isEligible: true },
    serviceCidrs: [],
  };
  const only = { type: "only", addresses: ["192.168.0.1"] } as const;
  const nodePortAddresses = { IPv4: only, IPv6: { type: "all" } } as const;
  const planner = new Planner({ externalIps: "serve", masqueradeAll: false, localDetection: { type: "none" }, nodePortAddresses });
  const nft = createNft({ command: ["ip", "netns", "exec", namespace, "nft"], spawn, timeoutMs: syncDeadlineMs });
  const dataplane = createNftablesDataplane({ nft, families: ["IPv4"], masqueradeBit: 14 });
  const sync = async (changed: ReadonlySet<string> | "all"): Promise<number> => {
    const startMs = performance.now();
    const outcome = await dataplane.apply(planner.plan(objects, changed).IPv4.table);
    if (outcome.type !== "applied" || outcome.changes === 0) throw new Error(`nothing was applied: ${JSON.stringify(outcome)}`);
    return performance.now() - startMs;
  };
  const fullMs = await sync("all");
  const updatesMs: number[] = [];
  for (let update = 1; update <= updates; update++) {
    const index = (update * 37) % services;
    objects.slices.get(`default/s${index}`)?.set("s", sliceObject(index, update));
    updatesMs.push(await sync(new Set([`default/s${index}`])));
  }
  return { fullMs, updatesMs, rssMb: process.memoryUsage.rss() / 2 ** 20 };
}

/** By its own metrics: the duration of its full synchronisation, and of those that one changed EndpointSlice causes. */
async function measureKubeProxy(namespace: string, services: number): Promise<Figures> {
  const folder = await mkdtemp(path.join(tmpdir(), "sallyport-bench-"));
  const inside = ["netns", "exec", namespace] as const;
  const api = startCommand("ip", [
    ...inside,
    process.execPath,
    path.join(import.meta.dirname, "api", "main.ts"),
    String(services),
    String(apiPort),
  ]);
  if (api.stdout === null) throw new Error("a child with a pipe has an output");
  await once(createInterface({ input: api.stdout }), "line");
  const proxy = startCommand("ip", [...inside, clusterFiles.kube, "kube-proxy", `--config=${writeConfiguration(folder)}`]);
  proxy.stderr?.resume();
  try {
    const full = "kubeproxy_sync_full_proxy_rules_duration_seconds";
    const partial = "kubeproxy_sync_partial_proxy_rules_duration_seconds";
    // Both informers' first lists cause a full synchronisation each, and the first has nothing to do.
    await waitUntil(
      "kube-proxy's first synchronisation",
      syncDeadlineMs,
      async () => (await isProgrammed(namespace, services)) && (await read(namespace, full)).count > 0,
    );
    const fullMs = (await read(namespace, full)).sum * 1_000;
    const updatesMs: number[] = [];
    for (let update = 1; update <= updates; update++) {
      const before = await read(namespace, partial);
      api.stdin?.write(`${(update * 37) % services}\n`);
      await waitUntil("an update", syncDeadlineMs, async () => (await read(namespace, partial)).count > before.count);
      updatesMs.push(((await read(namespace, partial)).sum - before.sum) * 1_000);
    }
    const rssPages = (await mustRun("cat", [`/proc/${proxy.pid}/statm`])).split(" ")[1];
    return { fullMs, updatesMs, rssMb: (Number(rssPages) * 4_096) / 2 ** 20 };
  } finally {
    for (const child of [proxy, api]) {
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    }
    await rm(folder, { recursive: true });
  }
}

async function isProgrammed(namespace: string, services: number): Promise<boolean> {
  const { stdout } = await runCommand("ip", ["netns", "exec", namespace, "nft", "list", "set", "ip", "kube-proxy", "cluster-ips"]);
  return stdout.split("10.").length - 1 >= services;
}

/** The sum and count of a histogram, over all label values. */
async function read(namespace: string, metric: string): Promise<{ readonly sum: number; readonly count: number }> {
  const { stdout } = await runCommand("ip", ["netns", "exec", namespace, "curl", "-s", `http://127.0.0.1:${metricsPort}/metrics`]);
  const total = (suffix: string): number =>
    [...stdout.matchAll(new RegExp(`^${metric}_${suffix}\\{ip_family="IPv4"\\} (\\S+)$`, "gm"))].reduce(
      (sum, [, value]) => sum + Number(value),
      0,
    );
  return { sum: total("sum"), count: total("count") };
}

function writeConfiguration(folder: string): string {
  const kubeconfig = path.join(folder, "kubeconfig");
  const document = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "api", cluster: { server: `http://127.0.0.1:${apiPort}` } }],
    users: [{ name: "nobody", user: {} }],
    contexts: [{ name: "api", context: { cluster: "api", user: "nobody" } }],
    "current-context": "api",
  };
  writeFileSync(kubeconfig, JSON.stringify(document));
  const file = path.join(folder, "configuration");
  const configuration = {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    mode: "nftables",
    hostnameOverride: benchNode,
    clientConnection: { kubeconfig, acceptContentTypes: "application/json", contentType: "application/json" },
    // The connection table's size belongs to the host.
    conntrack: { maxPerCore: 0 },
    nftables: { minSyncPeriod: "100ms" },
  };
  writeFileSync(file, JSON.stringify(configuration));
  return file;
}
