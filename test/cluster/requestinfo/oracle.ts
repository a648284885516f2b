/** Kubernetes' own reading of requests: a small Go program around k8s.io/apiserver, built once into the cache. */
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { access, mkdir, readFile, rename } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

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

const sourceFolder = import.meta.dirname;
const run = promisify(execFile);

/** Builds the program unless the cache holds one of this source; returns its path. */
export async function buildOracle(): Promise<string> {
  const hash = createHash("sha256");
  for (const file of ["main.go", "go.mod", "go.sum"]) hash.update(await readFile(join(sourceFolder, file)));
  const cache = process.env["SALLYPORT_CACHE"] ?? join(homedir(), ".cache", "sallyport");
  const folder = join(cache, "requestinfo", hash.digest("hex").slice(0, 16));
  const program = join(folder, "requestinfo");
  if (await exists(program)) return program;
  await mkdir(folder, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  await run("go", ["build", "-o", fresh, "."], { cwd: sourceFolder });
  await rename(fresh, program);
  return program;
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

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false; // ENOENT: not built yet
  }
}
