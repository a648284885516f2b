/** Runs Kubernetes' own end-to-end tests on a test cluster. */
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import path from "node:path";

import { conformanceFiles } from "#test/cluster/harness/cache.ts";
import type { Cluster } from "#test/cluster/harness/cluster.ts";
import { exitCodeOf, mustRun } from "#test/cluster/harness/command.ts";
import { toolEnvironment } from "#test/cluster/harness/tools.ts";

export interface SuiteOptions {
  /** What the names of the tests to run match. */
  readonly focus: string;
  /** Tests at a time; those that need the cluster for themselves run alone, after the others. */
  readonly processes: number;
  /** Ends the tests. */
  readonly signal: AbortSignal;
}

/** Far above what they take on two cores: a test that hangs ends the run, with a report. */
const limit = "100m";
const shownLines = 60;

/** The names of all tests that the program has, with where they stand in its source. */
export function listTests(): Promise<string> {
  return mustRun(conformanceFiles.tests, ["--list-tests"]);
}

/** Runs the tests and returns ginkgo's JSON report, whether they passed or not. Throws when they did not get as far as a report. */
export async function runSuite(cluster: Cluster, { focus, processes, signal }: SuiteOptions): Promise<string> {
  const report = path.join(cluster.folder, "conformance.json");
  const log = path.join(cluster.folder, "log", "conformance.log");
  const output = openSync(log, "w");
  const ginkgo = ["run", `--procs=${processes}`, "--no-color", `--timeout=${limit}`, `--focus=${focus}`];
  const files = [`--output-dir=${cluster.folder}`, `--json-report=${path.basename(report)}`, conformanceFiles.tests];
  const child = spawn(conformanceFiles.ginkgo, [...ginkgo, ...files, "--", ...testFlags(cluster)], {
    stdio: ["ignore", output, output],
    cwd: cluster.folder,
    env: { ...process.env, ...toolEnvironment(cluster.adminKubeconfig) },
    signal,
  });
  closeSync(output);
  const code = await exitCodeOf(child);
  signal.throwIfAborted();
  if (!existsSync(report)) throw new Error(`the tests ended with ${code} and no report\n${lastLines(readFileSync(log, "utf8"))}`);
  return readFileSync(report, "utf8");
}

/** The end of a program's output, which says why it failed. */
export function lastLines(text: string): string {
  return text.trimEnd().split("\n").slice(-shownLines).join("\n");
}

function testFlags(cluster: Cluster): readonly string[] {
  return [
    `--kubeconfig=${cluster.adminKubeconfig}`,
    `--kubectl-path=${conformanceFiles.kubectl}`,
    "--provider=local",
    "--node-os-distro=debian",
    `--num-nodes=${cluster.network?.nodes.length ?? 0}`,
  ];
}
