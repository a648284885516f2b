/**
 * What packets see of a node's proxy of Services: ours beside kube-proxy, interleaved in one run, on generated objects of a scripted API.
 * Needs root, the cluster tests' Kubernetes, and Debian's wrk, iperf3 and nginx-light.
 *
 *   main.ts [--only programming,changes,dataplane] [--services 100,10000] [--endpoints 2] [--rounds 5] [--changes 20]
 *           [--proxies "sallyport,kube-proxy nftables,kube-proxy iptables"]
 */
import { cpus } from "node:os";
import { parseArgs } from "node:util";

import { ChangeMeter, measureDataplane, measureProgramming } from "./measures.ts";
import { loads, Results } from "./results.ts";
import { noProxy, PacketWorld, type ProxyKind, proxyKinds } from "./world.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "programming,changes,dataplane" },
    services: { type: "string", default: "100,10000" },
    endpoints: { type: "string", default: "2" },
    rounds: { type: "string", default: "5" },
    changes: { type: "string", default: "20" },
    proxies: { type: "string", default: "sallyport,kube-proxy nftables" },
  },
});
const rounds = Number(values.rounds);
const changes = Number(values.changes);
const endpoints = Number(values.endpoints);
const kinds = values.proxies.split(",").map(readKind);
const churnASecond = 100;

say(`${cpus().length} processors; load ${loads()}`);
for (const services of values.services.split(",").map(Number)) {
  const title = `${services} Services × ${endpoints}`;
  if (values.only.includes("programming")) await compareProgramming(title, services);
  if (values.only.includes("changes") || values.only.includes("dataplane")) await compareRunning(title, services);
}

/** Each proxy alone, in turn, from nothing. */
async function compareProgramming(title: string, services: number): Promise<void> {
  const results = new Results();
  for (let round = 0; round < rounds; round++) {
    for (const kind of kinds) {
      await withWorlds([kind], services, async ([world]) => {
        if (world !== undefined) results.add(kind, await measureProgramming(world, services));
      });
    }
  }
  say(results.table(`${title}: from the proxy's start until all Services answer`));
}

/** All proxies at once, each in its own world, measured in turn. */
async function compareRunning(title: string, services: number): Promise<void> {
  await withWorlds(kinds, services, async (worlds) => {
    for (const world of worlds) await measureProgramming(world, services);
    if (values.only.includes("dataplane")) await withWorlds([noProxy], 1, ([direct]) => compareDataplane(title, worlds, direct));
    if (values.only.includes("changes")) await compareChanges(title, services, worlds);
  });
}

async function compareDataplane(title: string, worlds: readonly PacketWorld[], direct: PacketWorld | undefined): Promise<void> {
  const results = new Results();
  for (let round = 0; round < rounds; round++) {
    for (const world of [...worlds, ...(direct === undefined ? [] : [direct])]) results.add(world.kind, await measureDataplane(world));
  }
  say(results.table(`${title}: from a client to a Service`));
}

async function compareChanges(title: string, services: number, worlds: readonly PacketWorld[]): Promise<void> {
  const meters = worlds.map((world) => ({ world, meter: new ChangeMeter(world) }));
  for (const churn of [0, churnASecond]) {
    const results = new Results();
    for (const { world, meter } of meters) {
      const before = await world.usage();
      await world.tellApi(`churn ${churn}`);
      const times = await meter.measure(services, changes, churn === 0 ? "rest" : "go on");
      await world.tellApi("churn 0");
      const after = await world.usage();
      const sorted = times.toSorted((one, other) => one - other);
      const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
      const cpu = (after["CPU s"] ?? Number.NaN) - (before["CPU s"] ?? Number.NaN);
      results.add(world.kind, { "p50 ms": at(0.5), "p99 ms": at(0.99), ...after, "CPU s": cpu });
    }
    say(results.table(`${title}: from an EndpointSlice's write to the first packet, ${changes} changes, ${churn} others a second`));
  }
}

async function withWorlds(
  of: readonly (ProxyKind | typeof noProxy)[],
  services: number,
  use: (worlds: readonly PacketWorld[]) => Promise<void>,
) {
  const worlds: PacketWorld[] = [];
  try {
    for (const kind of of) worlds.push(await PacketWorld.start(kind, services, endpoints));
    await use(worlds);
  } finally {
    for (const world of worlds) await world.stop();
  }
}

function readKind(text: string): ProxyKind {
  const kind = proxyKinds.find((one) => one === text);
  if (kind === undefined) throw new Error(`--proxies ${text}: there are ${proxyKinds.join(", ")}`);
  return kind;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
