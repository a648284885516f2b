/** Kubernetes' own reading of requests: a small Go program around k8s.io/apiserver, built once into the cache. */
import { spawn } from "node:child_process";

import { buildGoProgram } from "#test/cluster/harness/go-program.ts";

/** What the apiserver takes a request for; `error` when it refuses it. */
export interface OracleAnswer {
  readonly error?: string;
  readonly isResource: boolean;
  readonly verb: string;
  readonly apiGroup: string;
  readonly apiVersion: string;
  readonly namespace: string;
  readonly resource: string;
  readonly subresource: string;
  readonly name: string;
  readonly fieldSelector: string;
  readonly labelSelector: string;
  readonly path: string;
}

/** A method and a request target. */
export type Question = readonly [method: string, target: string];

/** The program's path. */
export function buildOracle(): Promise<string> {
  return buildGoProgram("requestinfo", import.meta.dirname);
}

/** The apiserver's answers to the questions, in order. */
export async function askOracle(program: string, questions: readonly Question[]): Promise<readonly OracleAnswer[]> {
  const child = spawn(program, [], { stdio: ["pipe", "pipe", "inherit"] });
  const output: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => output.push(chunk));
  const ended = new Promise<void>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve() : reject(new Error(`the oracle ended with code ${code}`))));
  });
  child.stdin.end(questions.map((question) => `${JSON.stringify(question)}\n`).join(""));
  await ended;
  const lines = Buffer.concat(output).toString("utf8").trimEnd().split("\n");
  return lines.map((line): OracleAnswer => JSON.parse(line));
}
