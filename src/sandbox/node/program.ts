/** A program of ours in a process of its own, with almost no rights (Node's permission model). */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { dirname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { FileAnswer, FileQuestion, FromProgram, ProgramStart, ToProgram } from "#sandbox/programs/messages.ts";

/** How a program ended. */
export interface ProgramEnd {
  /** Exit code; 128 + the signal's number for a signal. */
  readonly code: number;
}

/** What the owner of a program hears. */
export interface ProgramListener {
  listening(containerPort: number, port: number): void;
  file(question: FileQuestion): FileAnswer;
}

const signalNumbers: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGPIPE: 13, SIGTERM: 15 };

/** Heap of one program in MiB: enough for everything that they do, and small for a laptop. */
const heapMegabytes = 64;

/** A running program. */
export class Program {
  readonly pid: number;
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  readonly ended: Promise<ProgramEnd>;
  readonly #child: ChildProcess;

  constructor(start: Omit<ProgramStart, "type">, listener: ProgramListener) {
    const entry = entryFile();
    const flags = ["--permission", `--allow-fs-read=${entry.readable}`, `--max-old-space-size=${heapMegabytes}`, "--no-warnings"];
    const child = spawn(process.execPath, [...flags, entry.path], {
      env: minimalEnvironment(),
      cwd: dirname(entry.path),
      stdio: ["pipe", "pipe", "pipe", "ipc"],
    });
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.stdin = child.stdin as Writable; // stdio is "pipe"
    this.stdout = child.stdout as Readable;
    this.stderr = child.stderr as Readable;
    this.stdin.on("error", () => undefined); // the program has closed its input: `ended` tells when it ends
    this.ended = new Promise((resolve) => {
      child.once("error", () => resolve({ code: 126 }));
      child.once("close", (code, signal) => resolve({ code: code ?? 128 + (signalNumbers[signal ?? ""] ?? 0) }));
    });
    child.on("message", (message: FromProgram) => this.#take(message, listener));
    this.#send({ type: "start", ...start });
  }

  resize(columns: number, rows: number): void {
    this.#send({ type: "resize", columns, rows });
  }

  /** Asks the program to end; SIGKILL ends it at once. */
  kill(signal: "SIGKILL" | "SIGTERM"): void {
    this.#child.kill(signal);
  }

  #take(message: FromProgram, listener: ProgramListener): void {
    if (message.type === "listening") listener.listening(message.containerPort, message.port);
    else this.#send(listener.file(message));
  }

  #send(message: ToProgram): void {
    if (this.#child.connected) this.#child.send(message, () => undefined); // an error means that the program has ended
  }
}

/** What a program's process runs, and what it may read. */
interface EntryFile {
  readonly path: string;
  readonly readable: string;
}

/** The source `programs/main.ts` with its folder or, in the bundle, one file of its own. */
function entryFile(): EntryFile {
  if (!import.meta.url.endsWith(".ts")) {
    const bundled = fileURLToPath(new URL("./sandbox-program.js", import.meta.url));
    return { path: bundled, readable: bundled };
  }
  const source = fileURLToPath(new URL("../programs/main.ts", import.meta.url));
  return { path: source, readable: join(dirname(source), "*") };
}

/** Nothing of ours; Windows cannot start a process without SystemRoot. */
function minimalEnvironment(): Record<string, string> {
  const root = process.env["SystemRoot"];
  return root === undefined ? {} : { SystemRoot: root };
}
