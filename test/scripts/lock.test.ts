import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { afterEach, beforeEach, expect, test } from "vitest";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "lock-"));
  mkdirSync(path.join(folder, "scripts"));
  cpSync("scripts/lock.mjs", path.join(folder, "scripts/lock.mjs"));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function lockWith(packages: Readonly<Record<string, unknown>>): void {
  writeFileSync(path.join(folder, "package-lock.json"), JSON.stringify({ lockfileVersion: 3, packages }));
}

function runLock(...args: readonly string[]): number | null {
  return spawnSync(process.execPath, [path.join(folder, "scripts/lock.mjs"), ...args]).status;
}

function lockedPackages(): Record<string, unknown> {
  return (JSON.parse(readFileSync(path.join(folder, "package-lock.json"), "utf8")) as { packages: Record<string, unknown> }).packages;
}

test.each([
  { name: "@x/binding-darwin-x64", platform: { cpu: ["x64"], os: ["darwin"] } },
  { name: "@x/binding-win32-arm64-msvc", platform: { cpu: ["arm64"], os: ["win32"] } },
  { name: "@x/binding-linux-x64-musl", platform: { cpu: ["x64"], libc: ["musl"], os: ["linux"] } },
  { name: "@x/binding-linux-arm-gnueabihf", platform: { cpu: ["arm"], libc: ["glibc"], os: ["linux"] } },
  { name: "@x/binding-wasm32-wasi", platform: { cpu: ["wasm32"] } },
  { name: "@x/workerd-windows-64", platform: { cpu: ["x64"], os: ["win32"] } },
])("a platform's package that the lock lacks is found and added: $name", ({ name, platform }) => {
  lockWith({ "node_modules/x": { version: "1.0.0", dev: true, optionalDependencies: { [name]: "1.0.0" } } });
  expect(runLock("--check")).toBe(1);
  expect(runLock()).toBe(0);
  expect(lockedPackages()[`node_modules/${name}`]).toEqual({ version: "1.0.0", ...platform, dev: true, optional: true });
  expect(runLock("--check")).toBe(0);
});

test("a second version of a package goes beside its own dependent", () => {
  const name = "x-linux-x64";
  lockWith({
    "node_modules/a": { version: "1.0.0", optionalDependencies: { [name]: "2.0.0" } },
    [`node_modules/${name}`]: { version: "1.0.0", optional: true },
  });
  runLock();
  expect(lockedPackages()[`node_modules/a/node_modules/${name}`]).toMatchObject({ version: "2.0.0" });
});

test("the address that a package was downloaded from is found and taken out", () => {
  lockWith({ "node_modules/x": { version: "1.0.0", resolved: "https://packages.test/x.tgz" } });
  expect(runLock("--check")).toBe(1);
  expect(runLock()).toBe(0);
  expect(lockedPackages()["node_modules/x"]).toEqual({ version: "1.0.0" });
});
