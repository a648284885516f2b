/** What the roles' configurations share: flags and files are read with all their problems, so that a start fails once, with every reason. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { ParseArgsConfig, ParseArgsOptionsConfig } from "node:util";

/** Parses a role's flags; undefined, with the problem, for what they are not. */
export function parseFlags<Options extends ParseArgsOptionsConfig>(args: readonly string[], options: Options, problems: string[]) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: false } satisfies ParseArgsConfig).values;
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** A file's text; undefined, with the problem, when it cannot be read. */
export function readText(path: string, flag: string, problems: string[]): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    problems.push(`${flag} ${path}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}
