/** Python programs of the tests: the official Kubernetes client in an environment of its own, and a terminal to run programs on. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

import { cacheFolder } from "./cache.ts";
import { mustRun, startCommand } from "./command.ts";
import { LineReader } from "./line-reader.ts";
import { toolEnvironment } from "./tools.ts";

const sourceFolder = path.resolve(import.meta.dirname, "../python");

/** What client.py prints: see its source. */
export interface PythonLine {
  readonly names?: readonly string[];
  readonly resourceVersion?: string;
  readonly listed?: string;
  readonly type?: string;
  readonly name?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly code?: number;
}

/** Starts one job of client.py: `["list", namespace]`, `["watch", namespace, count]` or `["exec", namespace, pod, input, …command]`. */
export async function startPythonClient(kubeconfig: string, job: readonly string[]): Promise<LineReader<PythonLine>> {
  const python = await pythonPath();
  const child = startCommand(python, [path.join(sourceFolder, "client.py"), kubeconfig, ...job], { env: toolEnvironment(kubeconfig) });
  // The program is ours and prints nothing else.
  return new LineReader("client.py", child, (text) => JSON.parse(text) as PythonLine);
}

export interface TerminalOptions {
  readonly rows: number;
  readonly columns: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** A program on a terminal. Its output, echo and all, comes as lines. */
export class Terminal {
  readonly output: LineReader<string>;

  constructor(program: string, args: readonly string[], { rows, columns, env = {} }: TerminalOptions) {
    const script = path.join(sourceFolder, "terminal.py");
    this.output = new LineReader(
      program,
      startCommand("python3", [script, String(rows), String(columns), program, ...args], { env }),
      (text) => text,
    );
  }

  /** Types a text; a line ends with "\r", as the Enter key sends it. */
  type(text: string): void {
    this.output.say(JSON.stringify({ write: text }));
  }

  resize(rows: number, columns: number): void {
    this.output.say(JSON.stringify({ resize: [rows, columns] }));
  }
}

/** The Python of the environment, which is made the first time. */
async function pythonPath(): Promise<string> {
  const requirements = path.join(sourceFolder, "requirements.txt");
  const version = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 16);
  const folder = path.join(cacheFolder, "python", version);
  const python = path.join(folder, "bin", "python");
  if (existsSync(path.join(folder, "complete"))) return python;
  // An environment knows its own path, so it is made where it stays, and a half-made one is made anew.
  rmSync(folder, { recursive: true, force: true });
  await mustRun("python3", ["-m", "venv", folder]);
  await mustRun(python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements]);
  writeFileSync(path.join(folder, "complete"), "");
  return python;
}
