/** The import and network rules of oxlint.config.ts, each tried with a file that breaks it and one that keeps it. */
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

interface Case {
  readonly file: string;
  readonly line: string;
  readonly rule: "imports" | "globals" | "properties";
}

const refused: readonly Case[] = [
  { file: "src/core/tunnel/a.ts", line: 'import "#core/kube/verb.ts"', rule: "imports" },
  { file: "src/core/kube/a.ts", line: 'import "#core/tunnel/frame.ts"', rule: "imports" },
  { file: "src/core/access/a.ts", line: 'import "#core/tunnel/frame.ts"', rule: "imports" },
  { file: "src/core/kube/b.ts", line: 'import "yaml"', rule: "imports" },
  { file: "src/core/a.ts", line: 'import "node:fs"', rule: "imports" },
  { file: "src/core/b.ts", line: "export const a = Date.now()", rule: "properties" },
  { file: "src/core/c.ts", line: "export const a = process.env", rule: "globals" },
  { file: "src/core/d.ts", line: "export const a = new Headers()", rule: "globals" },
  { file: "src/identity/a.ts", line: 'import "node:crypto"', rule: "imports" },
  { file: "src/identity/b.ts", line: 'import "#agent/clock.ts"', rule: "imports" },
  { file: "src/identity/c.ts", line: 'export const a = fetch("https://x.test")', rule: "globals" },
  { file: "src/agent/apiserver/a.ts", line: 'import "#agent/tunnel/tunnel.ts"', rule: "imports" },
  { file: "src/agent/apiserver/b.ts", line: 'import "@kubernetes/client-node"', rule: "imports" },
  { file: "src/agent/requests/a.ts", line: 'import "undici"', rule: "imports" },
  { file: "src/agent/requests/b.ts", line: 'export const a = await import("#cli/main.ts")', rule: "imports" },
  { file: "src/agent/requests/c.ts", line: 'import net from "node:net"; export const a = net.connect(1)', rule: "properties" },
  { file: "src/agent/requests/d.ts", line: 'import { request } from "node:http"; export const a = request', rule: "imports" },
  { file: "src/agent/requests/e.ts", line: "export const a = new Headers()", rule: "globals" },
  { file: "src/cli/a.ts", line: 'import "#agent/main.ts"', rule: "imports" },
  { file: "src/cli/b.ts", line: 'import "@kubernetes/client-node"', rule: "imports" },
  { file: "src/cli/credential.ts", line: 'import "yaml"', rule: "imports" },
  { file: "src/sandbox/a.ts", line: 'import "#agent/clock.ts"', rule: "imports" },
  { file: "workers/routes/a.ts", line: 'import "node:crypto"', rule: "imports" },
  { file: "workers/routes/b.ts", line: 'import "hono/jwt"', rule: "imports" },
  { file: "workers/routes/c.ts", line: "export const a = process.env", rule: "globals" },
  { file: "workers/routes/d.ts", line: 'export const a = fetch("https://x.test")', rule: "globals" },
  { file: "workers/hub/a.ts", line: 'import "#workers/routes/kube.ts"', rule: "imports" },
  { file: "workers/hub/b.ts", line: 'import "hono"', rule: "imports" },
];

const kept: readonly Omit<Case, "rule">[] = [
  { file: "src/core/tunnel/k.ts", line: 'import "#core/errors.ts"' },
  { file: "src/core/access/k.ts", line: 'import "#core/kube/verb.ts"' },
  { file: "src/identity/k.ts", line: 'import "jose"' },
  { file: "src/agent/apiserver/k.ts", line: 'import "./limits.ts"' },
  { file: "src/agent/cluster/k.ts", line: 'import "@kubernetes/client-node"' },
  { file: "src/cli/kubeconfig/target-cluster.ts", line: 'import "@kubernetes/client-node"' },
  { file: "src/cli/session/k.ts", line: 'import "node:fs/promises"' },
  { file: "workers/routes/k.ts", line: 'import "#workers/hub/stubs.ts"' },
  { file: "workers/auth/k.ts", line: 'import type { RegistryStub } from "#workers/hub/stubs.ts"; export type A = RegistryStub' },
];

interface Diagnostic {
  readonly code: string;
  readonly filename: string;
}

let diagnostics: readonly Diagnostic[];
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "import-rules-"));
  cpSync("oxlint.config.ts", path.join(folder, "oxlint.config.ts"));
  symlinkSync(path.resolve("node_modules"), path.join(folder, "node_modules"));
  writeFileSync(path.join(folder, ".gitignore"), "node_modules/\n");
  for (const { file, line } of [...refused, ...kept]) {
    mkdirSync(path.join(folder, path.dirname(file)), { recursive: true });
    writeFileSync(path.join(folder, file), `${line};\n`);
  }
  const { stdout } = spawnSync(path.join(folder, "node_modules/.bin/oxlint"), ["--format=json"], { cwd: folder, encoding: "utf8" });
  ({ diagnostics } = JSON.parse(stdout) as { diagnostics: readonly Diagnostic[] });
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function rulesBrokenIn(file: string): readonly string[] {
  return diagnostics.filter(({ filename, code }) => filename === file && code.includes("no-restricted")).map(({ code }) => code);
}

describe("the import rules", () => {
  test.each(refused)("refuse in $file: $line", ({ file, rule }) => {
    expect(rulesBrokenIn(file)).toContain(`eslint(no-restricted-${rule})`);
  });

  test.each(kept)("let through in $file: $line", ({ file }) => {
    expect(rulesBrokenIn(file)).toEqual([]);
  });
});
