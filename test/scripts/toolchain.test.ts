/** The toolchain script in a project of its own, with a stand-in for npm that notes each call and lays out what npm would. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

import { afterEach, beforeEach, describe, expect, test } from "vitest";

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const fakeNpm = `
import { appendFileSync, existsSync, linkSync, mkdirSync, rmSync, symlinkSync, writeFileSync, copyFileSync } from "node:fs";
appendFileSync("calls", process.argv.slice(2).join(" ") + "\\n");
if (existsSync("npm-fails")) { console.error("npm error EXAMPLE"); process.exit(3); }
rmSync("node_modules", { recursive: true, force: true });
mkdirSync("node_modules/node/bin", { recursive: true });
mkdirSync("node_modules/.bin");
symlinkSync(process.execPath, "node_modules/node/bin/node");
writeFileSync("node_modules/.bin/tool", "#!/bin/sh\\necho a tool of node_modules/.bin\\n", { mode: 0o755 });
copyFileSync("package-lock.json", "node_modules/.package-lock.json");
`;

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "toolchain-"));
  mkdirSync(path.join(folder, "scripts"));
  cpSync("scripts/toolchain.mjs", path.join(folder, "scripts", "toolchain.mjs"));
  writeFileSync(path.join(folder, "npm-cli.js"), fakeNpm);
  writeFileSync(path.join(folder, "package.json"), '{"type":"module"}');
  writeLock("1.0.0");
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function writeLock(version: string): void {
  const lock = { lockfileVersion: 3, packages: { "node_modules/example": { version } } };
  writeFileSync(path.join(folder, "package-lock.json"), JSON.stringify(lock));
}

function start(...command: readonly string[]): ChildProcess {
  const env = { ...process.env, npm_execpath: path.join(folder, "npm-cli.js") };
  return spawn(process.execPath, [path.join(folder, "scripts/toolchain.mjs"), ...command], { env, stdio: "pipe" });
}

async function run(command: readonly string[], stdin = ""): Promise<Outcome> {
  const child = start(...command);
  const text = { stdout: "", stderr: "" };
  child.stdout?.on("data", (chunk: Buffer) => (text.stdout += chunk.toString()));
  child.stderr?.on("data", (chunk: Buffer) => (text.stderr += chunk.toString()));
  child.stdin?.end(stdin);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...text };
}

function npmCalls(): readonly string[] {
  return readFileSync(path.join(folder, "calls"), "utf8").trim().split("\n");
}

describe("installing", () => {
  test("happens before the first command, tells so on standard error, and puts the packages' programs on the path", async () => {
    const outcome = await run(["tool"]);
    expect(outcome).toMatchObject({ code: 0, stdout: "a tool of node_modules/.bin\n" });
    expect(outcome.stderr).toMatch(/installing the packages.*packages installed/s);
    expect(npmCalls()).toEqual(["ci --prefer-offline --no-audit --no-fund"]);
  });

  test("does not happen again, nor say anything, while the lock stays the same", async () => {
    await run(["tool"]);
    expect(await run(["tool"])).toMatchObject({ code: 0, stderr: "" });
    expect(npmCalls()).toHaveLength(1);
  });

  test("happens again when the lock has changed", async () => {
    await run(["tool"]);
    writeLock("2.0.0");
    await run(["tool"]);
    expect(npmCalls()).toHaveLength(2);
  });

  test("does not happen when npm itself has installed what the lock asks for", async () => {
    await run(["tool"]);
    writeLock("2.0.0");
    cpSync(path.join(folder, "package-lock.json"), path.join(folder, "node_modules/.package-lock.json"));
    expect(await run(["tool"])).toMatchObject({ code: 0, stderr: "" });
    expect(npmCalls()).toHaveLength(1);
  });

  test("happens once when two commands start at the same time", async () => {
    const outcomes = await Promise.all([run(["tool"]), run(["tool"])]);
    expect(outcomes.map(({ code }) => code)).toEqual([0, 0]);
    expect(npmCalls()).toHaveLength(1);
  });

  test("is not blocked by the mark of a process that was killed", async () => {
    const dead = spawn("true");
    await once(dead, "close");
    mkdirSync(path.join(folder, ".sallyport"));
    writeFileSync(path.join(folder, ".sallyport/install.lock"), String(dead.pid));
    expect(await run(["tool"])).toMatchObject({ code: 0 });
  });

  test("that fails shows npm's words, ends with its exit code, and is tried again", async () => {
    writeFileSync(path.join(folder, "npm-fails"), "");
    const outcome = await run(["tool"]);
    expect(outcome).toMatchObject({ code: 3, stdout: "" });
    expect(outcome.stderr).toContain("npm error EXAMPLE");
    rmSync(path.join(folder, "npm-fails"));
    expect(await run(["tool"])).toMatchObject({ code: 0 });
  });
});

describe("the command", () => {
  beforeEach(async () => {
    await run(["tool"]);
  });

  test("runs under the pinned Node", async () => {
    const { stdout } = await run(["node", "-p", "process.argv0 + ' ' + process.env.PATH.split(':')[0]"]);
    expect(stdout).toBe(`node ${path.join(folder, "node_modules/node/bin")}\n`);
  });

  test("has the caller's standard input and gives its exit code", async () => {
    const script = "process.stdin.on('data', (chunk) => process.stdout.write(chunk)).on('end', () => process.exit(7))";
    expect(await run(["node", "-e", script], "hello")).toMatchObject({ code: 7, stdout: "hello" });
  });

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("gets %s, and ends before the script does", async (signal) => {
    const child = start("node", "-e", `process.on('${signal}', () => process.exit(9)); setInterval(() => {}, 1000); console.log('ready')`);
    if (child.stdout !== null) await once(child.stdout, "data");
    child.kill(signal);
    expect(await once(child, "close")).toEqual([9, null]);
  });

  test("that a signal ended is told as a shell tells it", async () => {
    expect(await run(["node", "-e", "process.kill(process.pid, 'SIGTERM')"])).toMatchObject({ code: 143 });
  });

  test("that does not exist is named", async () => {
    const outcome = await run(["no-such-program"]);
    expect(outcome).toMatchObject({ code: 127 });
    expect(outcome.stderr).toContain("no-such-program could not be started");
  });
});
