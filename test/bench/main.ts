/**
 * Sallyport beside what people would use instead: `npm run bench`. Every round runs every contender once, in an order that turns, so
 * that what slows the machine slows all of them; results are medians over rounds, and ratios are taken within a round.
 * A claim about speed is a row of what this prints, with the machine and the load that it prints too.
 *
 *   npm run bench -- [--quick] [--rounds N] [--only "NAME;NAME"] [--contenders NAME,NAME] [--out FILE]
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { kubectl, startBenchCluster, startFastUpstream } from "./cluster.ts";
import type { BenchUpstream } from "./cluster.ts";
import { startContender } from "./contenders.ts";
import type { Contender, ContenderName, Upstream, Workshop } from "./contenders.ts";
import { measures } from "./measures.ts";
import type { Measure, MeasureContext } from "./measures.ts";
import { buildGateway, buildPrograms } from "./program.ts";
import type { Figures } from "./program.ts";
import { startRelay } from "./relay.ts";
import type { Relay } from "./relay.ts";
import { Results } from "./report.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    only: { type: "string" },
    contenders: { type: "string" },
    out: { type: "string", default: "bench.json" },
  },
});
const isQuick = values.quick;
const rounds = Number(values.rounds ?? (isQuick ? 3 : 10));
const wanted = values.only?.split(";");
const names = (values.contenders?.split(",") ?? ["direct", "kubectl proxy", "Sallyport", "fetch proxy", "remotedialer"]) as ContenderName[]; // an unknown name fails when it is started
const results = new Results();
const say = (text: string) => process.stderr.write(`${text}\n`);

const folder = await mkdtemp(join(tmpdir(), "sallyport-bench-"));
const workshop: Workshop = { folder, binary: await buildPrograms(), kubectl, bundle: await buildGateway(folder) };
try {
  await runPhase("cluster", startBenchCluster);
  await runPhase("fast", () => startFastUpstream(workshop));
} finally {
  await rm(folder, { recursive: true });
}
process.stdout.write(results.table());
await writeFile(values.out, results.json());

/** One upstream with everything that stands in front of it. */
interface Bench {
  readonly upstream: Upstream;
  readonly relay: Relay | undefined;
  readonly standing: Map<ContenderName, Contender>;
}

async function runPhase(kind: Measure["upstream"], start: () => Promise<BenchUpstream>): Promise<void> {
  const chosen = measures.filter(({ name, upstream }) => upstream === kind && (wanted === undefined || wanted.includes(name)));
  if (chosen.length === 0) return;
  const started = await start();
  const relay = kind === "fast" ? await startRelay(folder) : undefined;
  const bench: Bench = { upstream: started.upstream, relay, standing: new Map() };
  try {
    for (const name of names) bench.standing.set(name, await startContender(name, started.upstream, workshop));
    for (const measure of chosen) {
      for (let round = 0; round < rounds; round++) await runRound(measure, bench, round);
    }
  } finally {
    for (const contender of bench.standing.values()) await contender.stop();
    await relay?.stop();
    await started.stop();
  }
}

async function runRound(measure: Measure, { upstream, relay, standing }: Bench, round: number): Promise<void> {
  say(`${measure.name}, round ${round + 1} of ${rounds}, load average ${loadavg()[0]?.toFixed(2)}`);
  const context: MeasureContext = { workshop, direct: upstream.target, isQuick };
  const first = round % names.length;
  if (relay !== undefined) await runRelay(relay, measure, round);
  for (const name of [...names.slice(first), ...names.slice(0, first)]) {
    const contender = measure.isFresh === true ? await startContender(name, upstream, workshop) : standing.get(name);
    if (contender !== undefined) await runMeasure(measure, contender, context, round);
    if (measure.isFresh === true) await contender?.stop();
  }
}

async function runRelay(relay: Relay, measure: Measure, round: number): Promise<void> {
  results.add({ measure: measure.name, contender: "relay", round, figures: await relay.measure(256 << 20), load: loadavg()[0] ?? 0 });
}

/** A contender that fails is a result, told as such, and no reason to stop the others. */
async function runMeasure(measure: Measure, contender: Contender, context: MeasureContext, round: number): Promise<void> {
  let figures: Figures = {};
  try {
    figures = await measure.run(contender, context);
  } catch (error) {
    say(`${measure.name}, ${contender.name}: ${String(error)}`);
    results.fail(measure.name, contender.name, String(error));
  }
  results.add({ measure: measure.name, contender: contender.name, round, figures, load: loadavg()[0] ?? 0 });
}
