/** What the runs that were written down came to: results.json, from which docs/conformance.md is made. */
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import type { Outcome } from "./outcomes.ts";

/** What serves Services on the nodes of a run. */
export type Contender = "sallyport" | "kube-proxy";

/** One whole run, never a subset. */
export interface Run {
  readonly serviceProxy: Contender;
  readonly nodes: number;
  /** YYYY-MM-DD, UTC. */
  readonly date: string;
  readonly minutes: number;
  readonly versions: Readonly<Record<string, string>>;
  /** By the test's full name. */
  readonly outcomes: Readonly<Record<string, Outcome["type"]>>;
}

export interface Results {
  /** The newest run of each contender with each number of nodes. */
  readonly runs: readonly Run[];
  /** How many tests each reason of left-out.ts keeps away. */
  readonly leftOut: Readonly<Record<string, number>>;
}

const file = path.join(import.meta.dirname, "results.json");

export function readResults(): Results {
  // Only writeResults writes this file.
  return JSON.parse(readFileSync(file, "utf8")) as Results;
}

/** Puts a run in the place of the one before it. */
export function withRun(runs: readonly Run[], run: Run): readonly Run[] {
  const others = runs.filter(({ serviceProxy, nodes }) => serviceProxy !== run.serviceProxy || nodes !== run.nodes);
  const place = ({ serviceProxy, nodes }: Run): string => `${serviceProxy === "sallyport" ? 0 : 1} ${nodes}`;
  return [...others, run].toSorted((one, other) => place(one).localeCompare(place(other)));
}

export function writeResults(results: Results): void {
  writeFileSync(file, `${JSON.stringify(results, undefined, 2)}\n`);
}
