/**
 * The userspace dataplane beside a direct connection: `node scripts/toolchain.mjs node test/bench/userspace/main.ts [--rounds N]`.
 * Endpoint, dataplane and load are a process each, of the same runtime, on loopback. Every round runs both ways for each measure, in an
 * order that turns, and ratios are taken within a round: what slows the machine slows both.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { exitOf, nextLine } from "../program.ts";
import { ratios, summarize } from "../statistics.ts";
import { serveTable } from "./dataplane.ts";
import { startEndpoint } from "./endpoint.ts";
import { measures } from "./load.ts";
import type { Measure } from "./load.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    role: { type: "string" },
    port: { type: "string", default: "0" },
  },
});

switch (values.role) {
  case "endpoint":
    process.stdout.write(`${await startEndpoint()}\n`);
    break;
  case "dataplane":
    process.stdout.write(`${await serveTable(Number(values.port))}\n`);
    break;
  case undefined:
    await compare(Number(values.rounds));
    break;
  default:
    throw new Error(`--role ${values.role}: endpoint or dataplane, or none to compare`);
}

async function compare(rounds: number): Promise<void> {
  const children: ChildProcess[] = [];
  const start = async (role: string, port = 0): Promise<number> => {
    const child = spawn(process.execPath, [import.meta.filename, "--role", role, "--port", String(port)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    children.push(child);
    return Number(await nextLine(child.stdout));
  };
  try {
    const direct = await start("endpoint");
    const userspace = await start("dataplane", direct);
    process.stdout.write(`${cpus().length} cores (${cpus()[0]?.model ?? "unknown"}), Node ${process.versions.node}, ${rounds} rounds\n\n`);
    process.stdout.write(`| measure | direct | userspace | userspace / direct | load average |\n| --- | --- | --- | --- | --- |\n`);
    for (const measure of measures) process.stdout.write(await row(measure, { direct, userspace }, rounds));
  } finally {
    for (const child of children) await exitOf(child, "SIGKILL");
  }
}

async function row(measure: Measure, ports: { readonly direct: number; readonly userspace: number }, rounds: number): Promise<string> {
  const direct: number[] = [];
  const userspace: number[] = [];
  // The first round warms both up and does not count.
  for (let round = -1; round < rounds; round++) {
    const runs = [
      { port: ports.direct, into: direct },
      { port: ports.userspace, into: userspace },
    ];
    for (const { port, into } of round % 2 === 0 ? runs : runs.toReversed()) {
      const value = await measure.run(port);
      if (round >= 0) into.push(value);
    }
  }
  const cells = [direct, userspace, ratios(userspace, direct)].map((numbers) => show(numbers));
  return `| ${[measure.name, ...cells, loadavg()[0]?.toFixed(1) ?? ""].join(" | ")} |\n`;
}

/** The median, and the quartiles. */
function show(numbers: readonly number[]): string {
  const summary = summarize(numbers);
  if (summary === undefined) return "failed";
  const digits = (value: number): string => value.toPrecision(3);
  return `${digits(summary.median)} (${digits(summary.low)} to ${digits(summary.high)})`;
}
