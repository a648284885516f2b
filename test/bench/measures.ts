/**
 * What is measured, each as one function from a contender to figures. A figure's name is stable: the report and the JSON use it.
 * Nothing here compares: rounds are interleaved by main.ts, and ratios are taken by report.ts.
 */
import { readFile } from "node:fs/promises";
import { spawn } from "node:child_process";
import type { Contender, Workshop } from "./contenders.ts";
import { exitOf, nextLine, runProgram, startProgram, targetFlags } from "./program.ts";
import type { Figures, Target } from "./program.ts";

export interface MeasureContext {
  readonly workshop: Workshop;
  /** Where events are written, past every contender. */
  readonly direct: Target;
  /** Shorter and coarser, for development. */
  readonly isQuick: boolean;
}

export interface Measure {
  readonly name: string;
  /** Against the cluster, or against the upstream that is as fast as a program can be. */
  readonly upstream: "cluster" | "fast";
  /** Needs processes that nothing ran on before: memory is measured. */
  readonly isFresh?: boolean;
  readonly run: (contender: Contender, context: MeasureContext) => Promise<Figures>;
}

const namespace = "/api/v1/namespaces/bench";
const pod = `${namespace}/pods/bench`;
const small = `${namespace}/configmaps/small`;
/** 20 MB of ConfigMaps. */
const list = "/api/v1/namespaces/bench-list/configmaps";
const transferBytes = 64 << 20;
const fastBytes = 256 << 20;

export const measures: readonly Measure[] = [
  { name: "small GET", upstream: "cluster", run: smallGets },
  { name: "20 MB list", upstream: "cluster", run: (contender, context) => bulk(contender, context, { mode: "get", path: list }) },
  { name: "1,000 watches", upstream: "cluster", isFresh: true, run: watches },
  { name: "exec echo", upstream: "cluster", run: execEcho },
  { name: "cp", upstream: "cluster", run: copies },
  { name: "port-forward", upstream: "cluster", run: portForward },
  { name: "100 stalled readers", upstream: "cluster", isFresh: true, run: stalledReaders },
  { name: "tunnel", upstream: "fast", run: tunnel },
];

/** Requests per second and latencies at 1, 16 and 64 at once. */
async function smallGets(contender: Contender, context: MeasureContext): Promise<Figures> {
  const figures: Record<string, number> = {};
  for (const concurrency of [1, 16, 64]) {
    const load = () => gets(contender, context, concurrency);
    const { rate, p50, p99, cpu } = await withCpu(contender, (got) => got["count"] ?? 0, load);
    const named = { rate, p50, p99, "CPU ms": cpu };
    for (const [name, value] of Object.entries(named)) figures[`${name} ${concurrency}`] = value ?? Number.NaN;
  }
  return figures;
}

async function gets(contender: Contender, { workshop, isQuick }: MeasureContext, concurrency: number): Promise<Figures> {
  const seconds = isQuick ? "1" : "2";
  return runProgram(workshop.binary, [
    "get",
    ...targetFlags(contender.target),
    "-path",
    small,
    "-n",
    String(concurrency),
    "-seconds",
    seconds,
  ]);
}

interface Transfer {
  readonly mode: "get" | "post" | "exec-down" | "exec-up";
  readonly path: string;
  /** How much; a GET takes what comes. */
  readonly bytes?: number;
}

async function bulk(contender: Contender, { workshop }: MeasureContext, { mode, path, bytes = transferBytes }: Transfer): Promise<Figures> {
  return runProgram(workshop.binary, ["bulk", ...targetFlags(contender.target), "-mode", mode, "-path", path, "-bytes", String(bytes)]);
}

/** How late events are on a thousand watches at once, and what one open stream costs in memory. */
async function watches(contender: Contender, { workshop, direct, isQuick }: MeasureContext): Promise<Figures> {
  await gets(contender, { workshop, direct, isQuick: true }, 16);
  const count = 1000;
  const before = await memoryBytes(contender.pids);
  const args = ["watch", ...targetFlags(contender.target), "-path", `${namespace}/configmaps`, "-n", String(count)];
  const events = ["-object", `${namespace}/configmaps/event`, "-events", isQuick ? "5" : "10"];
  const writer = ["-direct-url", direct.url, "-direct-ca", direct.caFile, "-direct-token", direct.token];
  const program = await startProgram(workshop.binary, [...args, ...events, ...writer]);
  const after = await memoryBytes(contender.pids);
  const delays = await program.next();
  await program.stop();
  const figure = (name: string) => delays[name] ?? Number.NaN;
  return {
    p50: figure("p50"),
    p99: figure("p99"),
    missing: figure("missing"),
    "open ms": program.first["ms"] ?? Number.NaN,
    "KiB per stream": (after - before) / count / 1024,
  };
}

/** How long a key takes to be seen, idle and while a copy runs. */
async function execEcho(contender: Contender, { workshop, isQuick }: MeasureContext): Promise<Figures> {
  const args = ["echo", ...targetFlags(contender.target), "-path", pod, "-count", isQuick ? "100" : "300"];
  const idle = await runProgram(workshop.binary, args);
  const busy = await runProgram(workshop.binary, [...args, "-bulk"]);
  return {
    "idle p50": idle["p50"] ?? Number.NaN,
    "idle p99": idle["p99"] ?? Number.NaN,
    "busy p50": busy["p50"] ?? Number.NaN,
    "busy p99": busy["p99"] ?? Number.NaN,
    "busy copy": busy["rate"] ?? Number.NaN,
    "p50 added": (busy["p50"] ?? Number.NaN) - (idle["p50"] ?? Number.NaN),
  };
}

/** An exec's output and input, as `kubectl cp` moves them. */
async function copies(contender: Contender, context: MeasureContext): Promise<Figures> {
  const down = await bulk(contender, context, { mode: "exec-down", path: pod });
  const up = await bulk(contender, context, { mode: "exec-up", path: pod });
  return { down: down["rate"] ?? Number.NaN, up: up["rate"] ?? Number.NaN };
}

/** `kubectl port-forward` itself, over its WebSocket, to a server that sends and to one that takes. */
async function portForward(contender: Contender, { workshop }: MeasureContext): Promise<Figures> {
  const [program, ...args] = workshop.kubectl;
  const forward = async (direction: "down" | "up", port: number): Promise<number> => {
    const child = spawn(program, [...args, `--kubeconfig=${contender.kubeconfig}`, "port-forward", "pod/bench", `:${port}`], {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, KUBECTL_PORT_FORWARD_WEBSOCKETS: "true" },
    });
    const address = /127\.0\.0\.1:\d+/.exec(await nextLine(child.stdout))?.[0] ?? "";
    const { rate } = await runProgram(workshop.binary, [
      "tcp",
      "-address",
      address,
      "-direction",
      direction,
      "-bytes",
      String(transferBytes),
    ]);
    await exitOf(child, "SIGTERM");
    return rate ?? Number.NaN;
  };
  return { down: await forward("down", sourcePort), up: await forward("up", sinkPort) };
}

/** Ports of the bench's pod: one sends zeros for ever, one takes `transferBytes` and answers with a byte. */
export const sourcePort = 9001;
export const sinkPort = 9002;
export const podCommand = `socat -b 65536 TCP-LISTEN:${sourcePort},fork,reuseaddr OPEN:/dev/zero,rdonly & \
exec socat -b 65536 TCP-LISTEN:${sinkPort},fork,reuseaddr SYSTEM:'head -c ${transferBytes} > /dev/null; echo x'`;

/** What a hundred clients that stop reading a list cost in memory, and what they do to others. */
async function stalledReaders(contender: Contender, context: MeasureContext): Promise<Figures> {
  const { workshop } = context;
  const alone = await gets(contender, context, 4);
  const before = await memoryBytes(contender.pids);
  const stalled = await startProgram(workshop.binary, ["stall", ...targetFlags(contender.target), "-path", list, "-n", "100"]);
  const after = await memoryBytes(contender.pids);
  const beside = await gets(contender, context, 4);
  await stalled.stop();
  return {
    "MiB added": (after - before) / (1 << 20),
    "p99 alone": alone["p99"] ?? Number.NaN,
    "p99 beside": beside["p99"] ?? Number.NaN,
    "p99 ratio": (beside["p99"] ?? Number.NaN) / (alone["p99"] ?? Number.NaN),
  };
}

/** Bulk both ways where the upstream is no limit: HTTP bodies, and WebSocket messages as exec has them. */
async function tunnel(contender: Contender, context: MeasureContext): Promise<Figures> {
  const bytes = context.isQuick ? fastBytes / 2 : fastBytes;
  const transfers: Readonly<Record<string, Transfer>> = {
    down: { mode: "get", path: `/api/v1/namespaces/bytes-${bytes}/configmaps`, bytes },
    up: { mode: "post", path: `${namespace}/configmaps`, bytes },
    "exec down": { mode: "exec-down", path: pod, bytes },
    "exec up": { mode: "exec-up", path: pod, bytes },
  };
  const figures: Record<string, number> = {};
  for (const [name, transfer] of Object.entries(transfers)) {
    const load = () => bulk(contender, context, transfer);
    const { rate, cpu } = await withCpu(contender, () => bytes / (1 << 20), load);
    figures[name] = rate ?? Number.NaN;
    figures[`${name} CPU ms/MB`] = cpu ?? Number.NaN;
  }
  const { p50, cpu } = await withCpu(
    contender,
    (got) => got["count"] ?? 0,
    () => gets(contender, context, 1),
  );
  return { ...figures, "GET p50": p50 ?? Number.NaN, "GET CPU ms": cpu ?? Number.NaN };
}

/** Runs a load and adds what each unit of it cost its contender in CPU time: a figure that a busy machine changes little. */
async function withCpu(contender: Contender, unitOf: (figures: Figures) => number, load: () => Promise<Figures>): Promise<Figures> {
  const before = await cpuMs(contender.pids);
  const figures = await load();
  return { ...figures, cpu: ((await cpuMs(contender.pids)) - before) / unitOf(figures) };
}

/** User and system time of processes together (proc(5), stat): in the kernel's ticks of 10 ms. */
async function cpuMs(pids: readonly number[]): Promise<number> {
  let ticks = 0;
  for (const pid of pids) {
    const text = await readFile(`/proc/${pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10;
}

/** Memory of processes together, shared pages counted in parts (proc(5), smaps_rollup). */
async function memoryBytes(pids: readonly number[]): Promise<number> {
  let kibibytes = 0;
  for (const pid of pids) {
    const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
    kibibytes += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1]);
  }
  return kibibytes * 1024;
}
