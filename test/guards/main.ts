/**
 * Takes each security guard out in turn and demands that the case which covers it fails: a guard without such a case could be lost in
 * any later change, and nobody would notice. Works on copies of the tree, so that the tree itself is never touched.
 *
 *     npm run test:guards [-- --sample N] [-- --only TEXT]
 */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";

/** One guard, and the tests of which at least one must fail without it. */
interface Guard {
  /** What holds while it stands. */
  readonly name: string;
  readonly file: string;
  /** Stands exactly once in the file. */
  readonly find: string;
  readonly replace: string;
  /** vitest's project, file filter and, to save time, test names. */
  readonly project: string;
  readonly filter: string;
  readonly test?: string;
}

type Verdict = { readonly type: "covered" } | { readonly type: "uncovered"; readonly reason: string };

/** A mutated program may hang where it answered before: that is a failure too, and is not waited for. */
const testTimeoutMs = 30_000;
const runTimeoutMs = 120_000;
/** What a copy of the tree does without. */
const leftOut: ReadonlySet<string> = new Set(["node_modules", "dist", ".git", "docs"]);

const root = resolve(import.meta.dirname, "../..");
const { values } = parseArgs({ options: { sample: { type: "string" }, only: { type: "string" } } });
const guards = choose(await readGuards());
const trees = await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, copyTree));
try {
  const uncovered = await checkAll();
  process.stdout.write(`${guards.length} guards, ${guards.length - uncovered} covered\n`);
  process.exitCode = uncovered === 0 ? 0 : 1;
} finally {
  await Promise.all(trees.map((tree) => rm(tree, { recursive: true })));
}

async function readGuards(): Promise<readonly Guard[]> {
  const files = (await readdir(import.meta.dirname)).filter((file) => file.endsWith(".json")).toSorted();
  const tables = await Promise.all(
    files.map(async (file): Promise<readonly Guard[]> => JSON.parse(await readFile(join(import.meta.dirname, file), "utf8"))),
  );
  return tables.flat();
}

/** All guards, those whose name or file holds a text, or an even sample. */
function choose(all: readonly Guard[]): readonly Guard[] {
  const { only, sample } = values;
  const wanted = only === undefined ? all : all.filter((guard) => `${guard.name} ${guard.file}`.includes(only));
  const count = Math.min(wanted.length, Number(sample ?? wanted.length));
  return Array.from({ length: count }, (_, index) => wanted[Math.floor((index * wanted.length) / count)]).filter(
    (guard) => guard !== undefined,
  );
}

async function copyTree(): Promise<string> {
  const tree = await mkdtemp(join(tmpdir(), "sallyport-guards-"));
  await cp(root, tree, { recursive: true, filter: (path) => path === root || !leftOut.has(basename(path)) });
  await symlink(join(root, "node_modules"), join(tree, "node_modules"));
  return tree;
}

/** Checks every guard, each tree one at a time; returns how many are not covered. */
async function checkAll(): Promise<number> {
  const queue = [...guards];
  const baselines = new Map<string, Promise<Verdict | undefined>>();
  let uncovered = 0;
  const work = async (tree: string) => {
    for (let guard = queue.shift(); guard !== undefined; guard = queue.shift()) {
      const verdict = (await baseline(guard, tree, baselines)) ?? (await without(guard, tree));
      if (verdict.type === "covered") continue;
      uncovered += 1;
      process.stdout.write(`NOT COVERED ${guard.file}: ${guard.name}: ${verdict.reason}\n`);
    }
  };
  await Promise.all(trees.map(work));
  return uncovered;
}

/** The case must pass while the guard stands; asked once for each set of tests. */
async function baseline(guard: Guard, tree: string, known: Map<string, Promise<Verdict | undefined>>): Promise<Verdict | undefined> {
  const key = `${guard.project} ${guard.filter} ${guard.test ?? ""}`;
  const found =
    known.get(key) ??
    run(guard, tree).then((result): Verdict | undefined => {
      if (result.type === "ran" && result.failed === 0 && result.passed > 0) return undefined;
      const what =
        result.type === "broken" ? result.reason : `${result.failed} of ${result.passed + result.failed} fail: ${result.failures}`;
      return { type: "uncovered", reason: `its tests do not pass while it stands: ${what}` };
    });
  known.set(key, found);
  return found;
}

async function without(guard: Guard, tree: string): Promise<Verdict> {
  const path = join(tree, guard.file);
  const text = await readFile(path, "utf8");
  if (text.split(guard.find).length !== 2) return { type: "uncovered", reason: "its text does not stand exactly once in its file" };
  await writeFile(
    path,
    text.replace(guard.find, () => guard.replace),
  );
  try {
    const result = await run(guard, tree);
    if (result.type === "broken") return { type: "uncovered", reason: `the program without it does not run: ${result.reason}` };
    return result.failed > 0 ? { type: "covered" } : { type: "uncovered", reason: "no test fails without it" };
  } finally {
    await writeFile(path, text);
  }
}

type Run =
  /** `failures`: which tests, and why. */
  | { readonly type: "ran"; readonly passed: number; readonly failed: number; readonly failures: string }
  | { readonly type: "broken"; readonly reason: string };

/** What is read of vitest's JSON report. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

async function run(guard: Guard, tree: string): Promise<Run> {
  const report = join(tree, "guards-report.json");
  const names = guard.test === undefined ? [] : ["--testNamePattern", guard.test];
  const output = await vitest(tree, [
    ...["run", "--project", guard.project, guard.filter, ...names],
    ...["--bail", "1", "--reporter", "json", "--outputFile", report, "--testTimeout", String(testTimeoutMs)],
  ]);
  try {
    const { numPassedTests, numFailedTests, testResults }: Report = JSON.parse(await readFile(report, "utf8"));
    if (numPassedTests + numFailedTests === 0) return { type: "broken", reason: `no test ran: ${output.slice(-400)}` };
    const failed = testResults.flatMap(({ assertionResults }) => assertionResults.filter(({ status }) => status === "failed"));
    const failures = failed.map(({ fullName, failureMessages }) => `${fullName}: ${failureMessages.join("; ")}`).join("\n");
    return { type: "ran", passed: numPassedTests, failed: numFailedTests, failures };
  } catch {
    return { type: "broken", reason: output.slice(-400) }; // no report, or half of one
  } finally {
    await rm(report, { force: true });
  }
}

/** Runs vitest in a tree; its output, whatever its exit code. */
function vitest(tree: string, args: readonly string[]): Promise<string> {
  return new Promise((done) => {
    const program = join("node_modules", "vitest", "vitest.mjs");
    execFile(process.execPath, [program, ...args], { cwd: tree, timeout: runTimeoutMs, maxBuffer: 64 << 20 }, (_error, stdout, stderr) =>
      done(stdout + stderr),
    );
  });
}
