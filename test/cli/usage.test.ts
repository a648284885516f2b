/** What somebody sees who types something for the first time. */
import { execFile } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeBench } from "./support/command-run.ts";
import type { CommandBench } from "./support/command-run.ts";

let bench: CommandBench;

beforeAll(async () => {
  bench = await makeBench();
});
afterAll(() => bench.remove());

describe("help", () => {
  it.each([[[]], [["help"]], [["--help"]], [["-h"]]])("is shown for %j, on standard output", async (args) => {
    const result = await bench.run(args);
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(result.stdout).toMatch(/USAGE[\s\S]*sallyport login[\s\S]*COMMANDS/);
  });

  it("of one command comes by `help COMMAND` too", async () => {
    expect((await bench.run(["help", "status"])).stdout).toBe((await bench.run(["status", "--help"])).stdout);
  });
});

describe("a command that is not there", () => {
  it.each([
    ["statsu", "status"],
    ["logn", "login"],
    ["kubeconf", "kubeconfig"],
  ])("is taken for a slip: %s", async (word, meant) => {
    const result = await bench.run([word]);
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain(`Did you mean \`${meant}\`?`);
  });

  it.each(["nope", "deploy", "xyz"])("is not guessed at: %s", async (word) => {
    const result = await bench.run([word]);
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain(`There is no command "${word}"`);
    expect(result.stderr).not.toContain("Did you mean");
  });
});

describe("a program of its own", () => {
  it.each([
    [["demo", "--port", "abc"], /--port abc: give a number from 1 to 65535/],
    [["demo", "--port", "70000"], /--port 70000: give a number/],
    [["demo", "--bogus"], /Unknown option '--bogus'/],
    [["agent", "--bogus"], /Unknown option '--bogus'/],
    [["credential", "--bogus"], /--gateway URL --cluster NAME/],
  ])("ends with the exit code of a wrong usage: %j", async (args, message) => {
    const { code, stdout, stderr } = await runProgram(args);
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  });

  it.each(["demo", "agent", "credential"])("shows its help: %s", async (name) => {
    const { code, stdout, stderr } = await runProgram([name, "--help"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain(`sallyport ${name}`);
  });
});

function runProgram(args: readonly string[]): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, ["src/cli/main.ts", ...args], (_error, stdout, stderr) =>
      resolve({ code: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}
