/** Kubernetes' own service controller as a program that reads steps and says what it did: built once into the cache. */
import { join } from "node:path";
import type { JsonObject } from "#core/json-fields.ts";
import { mustRun } from "#test/cluster/harness/command.ts";
import { buildGoProgram } from "#test/cluster/harness/go-program.ts";

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

/** The program's path. */
export function buildServiceController(): Promise<string> {
  return buildGoProgram("service-controller", join(import.meta.dirname, "service-controller"));
}

/** What it did in each step. */
export async function askServiceController(program: string, steps: readonly Step[]): Promise<readonly StepReport[]> {
  const output = await mustRun(program, [], { stdin: steps.map((step) => `${JSON.stringify(step)}\n`).join("") });
  const lines = output.trimEnd().split("\n");
  return lines.map((line): StepReport => JSON.parse(line));
}
