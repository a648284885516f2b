/**
 * Kubernetes' own end-to-end tests on a cluster without kube-proxy. Needs root and the programs of test/cluster/build.
 *
 *     npm run test:conformance [-- --nodes N] [-- --service-proxy kube-proxy] [-- --subset] [-- --only TEXT] [-- --write]
 */
import { readFileSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";

import { assertConformanceBuilt, conformanceFiles, kubernetesVersion } from "#test/cluster/harness/cache.ts";
import { type Cluster, startCluster } from "#test/cluster/harness/cluster.ts";
import { mustRun } from "#test/cluster/harness/command.ts";
import { installServiceProxy } from "#test/cluster/harness/service-proxy-daemonset.ts";
import { renderDocument } from "./document.ts";
import { leftOut } from "./left-out.ts";
import { judge, suiteTroubles, type TestOutcome } from "./outcomes.ts";
import { type Contender, readResults, withRun, writeResults } from "./results.ts";
import { chooseTests, focusOn, parseRequired, parseTestList, type RequiredTest, undecidedTests } from "./selection.ts";
import { lastLines, listTests, runSuite } from "./suite.ts";

const repository = path.resolve(import.meta.dirname, "../../..");
/** Zones of the nodes, in turn: tests of topology want three. */
const zones = ["zone-a", "zone-b", "zone-c"] as const;

const { values } = parseArgs({
  options: {
    nodes: { type: "string", default: "2" },
    "service-proxy": { type: "string", default: "sallyport" },
    subset: { type: "boolean", default: false },
    /** Only tests whose names contain it. */
    only: { type: "string", default: "" },
    /** Tests at a time. */
    processes: { type: "string", default: "6" },
    write: { type: "boolean", default: false },
  },
});
const nodes = Number(values.nodes);
const serviceProxy = contenderOf(values["service-proxy"]);
if (values.write && (values.subset || values.only !== ""))
  throw new Error("only a whole run is written down: leave out --subset and --only");

const told = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => told.abort(new Error(`told to end by ${name}`)));

assertConformanceBuilt();
const required = parseRequired(readFileSync(path.join(import.meta.dirname, "required.txt"), "utf8"));
const listed = parseTestList(await listTests());
assertAllDecided();
const chosen = chooseTests(required, nodes, values.subset).filter(({ name }) => name.includes(values.only));
const startedMs = performance.now();
const { outcomes, troubles } = await runTests(chosen);
const minutes = (performance.now() - startedMs) / 60_000;
for (const outcome of outcomes) print(outcome);
for (const trouble of troubles) process.stdout.write(`FAILED ${trouble}\n`);
if (values.write) await writeDown(outcomes);
const passed = outcomes.filter(({ outcome }) => outcome.type === "passed").length;
const failed = outcomes.length - passed + troubles.length;
process.stdout.write(`${serviceProxy}, ${nodes} nodes, ${minutes.toFixed(1)} minutes\n${passed} passed, ${failed} failed\n`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;

function contenderOf(text: string): Contender {
  if (text === "sallyport" || text === "kube-proxy") return text;
  throw new Error(`--service-proxy is sallyport or kube-proxy, not ${text}`);
}

function assertAllDecided(): void {
  const undecided = undecidedTests(listed, required, leftOut);
  if (undecided.length > 0) throw new Error(`neither in required.txt nor in left-out.ts:\n${undecided.join("\n")}`);
}

async function runTests(tests: readonly RequiredTest[]): Promise<{ outcomes: readonly TestOutcome[]; troubles: readonly string[] }> {
  const installed = serviceProxy === "sallyport" ? "none" : serviceProxy;
  const cluster = await startCluster({ nodes, apiservers: 2, dualStack: true, serviceProxy: installed });
  try {
    await prepare(cluster);
    const report = await runSuite(cluster, { focus: focusOn(tests), processes: Number(values.processes), signal: told.signal });
    return { outcomes: judge(report, tests), troubles: suiteTroubles(report) };
  } finally {
    await cluster.stop();
  }
}

async function prepare(cluster: Cluster): Promise<void> {
  for (const [index, { name }] of (cluster.network?.nodes ?? []).entries())
    await cluster.admin(["label", "node", name, `topology.kubernetes.io/zone=${zones[index % zones.length]}`]);
  for (const image of conformanceFiles.images) await cluster.importImage(image);
  if (serviceProxy === "sallyport") await installServiceProxy(cluster);
}

function print({ name, outcome }: TestOutcome): void {
  switch (outcome.type) {
    case "passed":
      process.stdout.write(`passed ${name} (${outcome.seconds.toFixed(1)} s)\n`);
      return;
    case "failed":
      process.stdout.write(`FAILED ${name} (${outcome.seconds.toFixed(1)} s)\n${outcome.message}\n${lastLines(outcome.output)}\n`);
      return;
    case "skipped":
      process.stdout.write(`FAILED ${name}: it skipped itself: ${outcome.message}\n`);
      return;
    case "missing":
      process.stdout.write(`FAILED ${name}: it did not run\n`);
  }
}

async function writeDown(all: readonly TestOutcome[]): Promise<void> {
  const run = {
    serviceProxy,
    nodes,
    date: new Date().toISOString().slice(0, 10),
    minutes,
    versions: {
      Kubernetes: kubernetesVersion,
      Linux: release(),
      nftables: (await mustRun("nft", ["--version"])).split(" ")[1] ?? "",
      Node: process.version,
    },
    outcomes: Object.fromEntries(all.map(({ name, outcome }) => [name, outcome.type])),
  };
  const results = { runs: withRun(readResults().runs, run), leftOut: countLeftOut() };
  writeResults(results);
  writeFileSync(path.join(repository, "docs/conformance.md"), renderDocument(results, required));
}

function countLeftOut(): Readonly<Record<string, number>> {
  const names = new Set(required.map(({ name }) => name));
  const reasons = listed.filter((name) => !names.has(name)).map((name) => leftOut.find(({ pattern }) => pattern.test(name))?.because ?? "");
  return Object.fromEntries(leftOut.map(({ because }) => [because, reasons.filter((reason) => reason === because).length]));
}
