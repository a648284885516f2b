/** The client-go informer of test/cluster/informer, built once for each version of its source. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";

import { cacheFolder } from "./cache.ts";
import { mustRun, startCommand } from "./command.ts";
import { LineReader } from "./line-reader.ts";
import { toolEnvironment } from "./tools.ts";

const sourceFolder = path.resolve(import.meta.dirname, "../informer");

/** What the informer prints: see its source. */
export interface InformerLine {
  readonly type: "synced" | "added" | "updated" | "deleted" | "error" | "cache";
  readonly name?: string;
  readonly resourceVersion?: string;
  readonly number?: string;
  readonly items?: Readonly<Record<string, string>>;
  readonly error?: string;
}

/** Starts an informer on the ConfigMaps of a namespace. `say("cache")` asks for its cache, `finish()` for the last one. */
export async function startInformer(kubeconfig: string, namespace: string): Promise<LineReader<InformerLine>> {
  const program = await buildInformer();
  const child = startCommand(program, ["-kubeconfig", kubeconfig, "-namespace", namespace], { env: toolEnvironment(kubeconfig) });
  // The program is ours and prints nothing else.
  return new LineReader("informer", child, (text) => JSON.parse(text) as InformerLine);
}

async function buildInformer(): Promise<string> {
  const hash = createHash("sha256");
  for (const file of ["main.go", "go.mod", "go.sum"]) hash.update(readFileSync(path.join(sourceFolder, file)));
  const folder = path.join(cacheFolder, "informer", hash.digest("hex").slice(0, 16));
  const program = path.join(folder, "informer");
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const part = `${program}.${process.pid}`;
  await mustRun("go", ["build", "-trimpath", "-o", part, "."], { cwd: sourceFolder, env: { CGO_ENABLED: "0" } });
  renameSync(part, program);
  return program;
}
