/** Runs every check that needs no test runner, one after the other, all of them even when one fails: `npm run check`. */
import { spawnSync } from "node:child_process";

interface Check {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
}

const node = process.execPath;
const checks: readonly Check[] = [
  { name: "types", command: ["tsc", "-b"] },
  { name: "lint", command: ["oxlint", "--deny-warnings"] },
  { name: "format", command: ["oxfmt", "--check"] },
  { name: "unused code", command: ["knip"] },
  { name: "lock file", command: [node, "scripts/lock.mjs", "--check"] },
  { name: "manifests", command: [node, "scripts/manifests.ts", "--check"] },
  { name: "bundles", command: [node, "scripts/budget.ts"] },
  { name: "package", command: ["publint", "--strict"] },
  { name: "gateway types", command: ["wrangler", "types", "workers/env.d.ts", "--include-runtime=false", "--check"] },
  { name: "gateway deployment", command: ["wrangler", "deploy", "--dry-run", "--outdir", "dist/wrangler"] },
];
// wrangler neither asks nor reports anything here.
const env = { ...process.env, WRANGLER_SEND_METRICS: "false", CI: "true" };

const failed: string[] = [];
for (const { name, command } of checks) {
  const startedMs = performance.now();
  const [program, ...args] = command;
  const { status, stdout, stderr } = spawnSync(program, args, { env, encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  console.log(`${status === 0 ? "ok  " : "FAIL"} ${name} (${seconds} s)`);
  if (status === 0) continue;
  failed.push(name);
  process.stdout.write(stdout);
  process.stderr.write(stderr);
}
console.log(failed.length === 0 ? `all ${checks.length} checks passed` : `failed: ${failed.join(", ")}`);
process.exitCode = failed.length === 0 ? 0 : 1;
