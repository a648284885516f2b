import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { commandTable } from "#cli/command-table.ts";
import { writePrivateJson } from "#cli/session/private-file.ts";
import { version } from "#cli/version.ts";
import { makeBench } from "./support/command-run.ts";
import type { CommandBench } from "./support/command-run.ts";

let bench: CommandBench;

beforeEach(async () => {
  bench = await makeBench();
});
afterEach(() => bench.remove());

async function words(...line: readonly string[]): Promise<readonly string[]> {
  const result = await bench.run(["completion", "words", ...line.map((word) => `=${word}`)]);
  return result.stdout
    .split("\n")
    .filter((item) => item !== "")
    .map((item) => item.split("\t")[0] ?? "");
}

describe("completion", () => {
  it("offers every command of the table", async () => {
    expect(await words("")).toEqual(expect.arrayContaining(Object.keys(commandTable)));
  });

  it.each([
    { line: ["log"], wanted: ["login", "logout"] },
    { line: ["cluster", ""], wanted: ["add", "list", "remove", "manifests"] },
    { line: ["status", "--wa"], wanted: ["--watch"] },
    { line: ["status", "-o", "y"], wanted: ["yaml"] },
    { line: ["completion", ""], wanted: ["bash", "zsh", "fish"] },
    { line: ["nonsense", ""], wanted: [] },
  ])("$line: $wanted", async ({ line, wanted }) => {
    expect(await words(...line)).toEqual(expect.arrayContaining(wanted));
  });

  it("offers the clusters that were last seen, without asking any gateway", async () => {
    await writePrivateJson(`${bench.home}/.cache/sallyport/clusters.json`, {
      "https://a.example.com": ["prod", "play"],
      "https://b.example.com": ["staging", "prod"],
    });
    expect(await words("status", "p")).toEqual(["play", "prod"]);
    expect(await words("kubeconfig", "--cluster", "s")).toEqual(["staging"]);
    expect(await words("cluster", "remove", "")).toEqual(expect.arrayContaining(["prod"]));
  });

  it.each(["bash", "zsh", "fish"])("prints a script for %s", async (shell) => {
    const result = await bench.run(["completion", shell]);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toContain("sallyport completion words");
  });

  it("knows no other shell", async () => {
    expect((await bench.run(["completion", "tcsh"])).exitCode).toBe(2);
  });
});

describe("version", () => {
  it("is the package's", async () => {
    const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as { version: string };
    expect(version).toBe(manifest.version);
  });
});
