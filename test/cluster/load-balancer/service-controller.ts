/** Kubernetes' own service controller as a program that reads steps and says what it did: built once into the cache. */
import { createHash } from "node:crypto";
import { access, mkdir, readFile, rename } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import type { JsonObject } from "#core/json-fields.ts";
import { mustRun } from "#test/cluster/harness/command.ts";

/** A change of the cluster, or (`fail`) of what the provider does from now on; an empty message: nothing fails. */
export type Step =
  | { readonly op: "putService"; readonly object: JsonObject }
  | { readonly op: "editService"; readonly name: string; readonly object: { readonly spec?: JsonObject; readonly metadata?: JsonObject } }
  | { readonly op: "removeService"; readonly name: string }
  /** `syncs`: a change of a node that is there, and that is a reason to look at load balancers. */
  | { readonly op: "putNode"; readonly object: JsonObject; readonly message?: "syncs" }
  | { readonly op: "removeNode"; readonly name: string }
  | { readonly op: "fail"; readonly message: string };

/** What a controller did to the Service "web" in a step. */
export interface StepReport {
  /** Reasons. */
  readonly events: readonly string[];
  /** `finalizers [a b]` or `status [address ipMode]`. */
  readonly patches: readonly string[];
}

const sourceFolder = join(import.meta.dirname, "service-controller");

/** Builds the program unless the cache holds one of this source; returns its path. */
export async function buildServiceController(): Promise<string> {
  const hash = createHash("sha256");
  for (const file of ["main.go", "go.mod", "go.sum"]) hash.update(await readFile(join(sourceFolder, file)));
  const cache = process.env["SALLYPORT_CACHE"] ?? join(homedir(), ".cache", "sallyport");
  const folder = join(cache, "service-controller", hash.digest("hex").slice(0, 16));
  const program = join(folder, "service-controller");
  if (await exists(program)) return program;
  await mkdir(folder, { recursive: true });
  const fresh = `${program}.${process.pid}`;
  await mustRun("go", ["build", "-o", fresh, "."], { cwd: sourceFolder });
  await rename(fresh, program);
  return program;
}

/** What it did in each step. */
export async function askServiceController(program: string, steps: readonly Step[]): Promise<readonly StepReport[]> {
  const output = await mustRun(program, [], { stdin: steps.map((step) => `${JSON.stringify(step)}\n`).join("") });
  const lines = output.trimEnd().split("\n");
  return lines.map((line): StepReport => JSON.parse(line));
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false; // ENOENT: not built yet
  }
}
