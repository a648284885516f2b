/** Small Go programs of the tests, around Kubernetes' own packages: built once for each version of their source, into the cache. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import path from "node:path";

import { cacheFolder } from "./cache.ts";
import { mustRun } from "./command.ts";

/** Builds the module in a folder unless the cache holds one of this source; returns the program's path. */
export async function buildGoProgram(name: string, sourceFolder: string): Promise<string> {
  const hash = createHash("sha256");
  for (const file of ["main.go", "go.mod", "go.sum"]) hash.update(readFileSync(path.join(sourceFolder, file)));
  const folder = path.join(cacheFolder, name, hash.digest("hex").slice(0, 16));
  const program = path.join(folder, name);
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const part = `${program}.${process.pid}`;
  await mustRun("go", ["build", "-trimpath", "-o", part, "."], { cwd: sourceFolder, env: { CGO_ENABLED: "0" } });
  renameSync(part, program);
  return program;
}
