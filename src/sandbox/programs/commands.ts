/** The commands of the sandbox's containers: one table, from which `help` is made. */
import { createHash } from "node:crypto";
import { readFile } from "./files.ts";
import { fileCommands } from "./file-commands.ts";
import type { Host } from "./host.ts";
import type { Input } from "./input.ts";

/** What a command works with. */
export interface CommandIo {
  readonly host: Host;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Input;
  readonly out: (chunk: Buffer | string) => Promise<void>;
  readonly err: (chunk: Buffer | string) => Promise<void>;
  /** Aborts at Ctrl-C. */
  readonly interrupted: AbortSignal;
}

/** A command. */
export interface CommandEntry {
  readonly name: string;
  readonly help: string;
  run(io: CommandIo): Promise<number>;
}

/** The command of a name, also when it is given with a path such as /bin/cat. */
export function findCommand(name: string): CommandEntry | undefined {
  const base = name.replace(/^\/(usr\/)?(local\/)?s?bin\//, "");
  return [...commands, ...fileCommands].find((command) => command.name === base);
}

const commands: readonly CommandEntry[] = [
  { name: "help", help: "this list", run: help },
  { name: "echo", help: "echo [-n] [TEXT...]", run: echo },
  { name: "env", help: "the container's environment", run: environment },
  { name: "printenv", help: "printenv [NAME]", run: environment },
  { name: "ps", help: "the container's processes", run: processes },
  { name: "hostname", help: "the pod's name", run: async (io) => line(io, io.host.start.hostname) },
  { name: "date", help: "the time in UTC", run: async (io) => line(io, new Date().toISOString()) },
  { name: "whoami", help: "who runs this", run: async (io) => line(io, "sandbox") },
  { name: "id", help: "who runs this", run: async (io) => line(io, "uid=1000(sandbox) gid=1000(sandbox)") },
  { name: "pwd", help: "the working directory", run: async (io) => line(io, "/") },
  { name: "uname", help: "the system", run: async (io) => line(io, "Sallyport-sandbox") },
  { name: "sleep", help: "sleep SECONDS", run: sleep },
  { name: "seq", help: "seq [FIRST] LAST", run: sequence },
  { name: "sha256sum", help: "hash of the input, or of files", run: hash },
  { name: "wc", help: "wc -c|-l of the input", run: count },
  { name: "stty", help: "stty size: the terminal's rows and columns", run: terminalSize },
  { name: "true", help: "succeed", run: async () => 0 },
  { name: "false", help: "fail", run: async () => 1 },
  { name: ":", help: "succeed", run: async () => 0 },
  { name: "rights", help: "what this process may do on the machine that runs it", run: rights },
  { name: "clear", help: "clear the screen", run: async (io) => print(io, "\x1b[2J\x1b[H") },
];

async function print(io: CommandIo, text: string): Promise<number> {
  await io.out(text);
  return 0;
}

function line(io: CommandIo, text: string): Promise<number> {
  return print(io, `${text}\n`);
}

/** Node's own answer (`process.permission`); without its permission model everything is allowed. */
function rights(io: CommandIo): Promise<number> {
  const permission: typeof process.permission | undefined = process.permission;
  const scopes = ["fs.read", "fs.write", "child", "worker", "addon", "wasi"];
  return print(io, scopes.map((scope) => `${scope.padEnd(10)} ${(permission?.has(scope) ?? true) ? "yes" : "no"}\n`).join(""));
}

async function help(io: CommandIo): Promise<number> {
  const shell = [{ name: "sh", help: "sh [-c SCRIPT]: ; && || | < > >> $NAME quotes, exit, export" }];
  const rows = [...shell, ...commands, ...fileCommands].map((command) => `  ${command.name.padEnd(10)} ${command.help}\n`);
  return print(io, `Commands of this sandbox (built in; nothing of your machine is run):\n${rows.join("")}`);
}

function echo(io: CommandIo): Promise<number> {
  const [first, ...rest] = io.args;
  return first === "-n" ? print(io, rest.join(" ")) : line(io, io.args.join(" "));
}

async function environment(io: CommandIo): Promise<number> {
  const [name] = io.args;
  if (name !== undefined) return io.env[name] === undefined ? 1 : line(io, io.env[name]);
  const lines = Object.entries(io.env).map(([key, value]) => `${key}=${value}\n`);
  return print(io, lines.join(""));
}

function processes(io: CommandIo): Promise<number> {
  const own = { pid: process.pid, command: `toybox ${io.host.start.argv.join(" ")}`.trim() };
  const rows = [...io.host.start.processes.filter(({ pid }) => pid !== own.pid), own];
  return print(io, `    PID COMMAND\n${rows.map(({ pid, command }) => `${String(pid).padStart(7)} ${command}\n`).join("")}`);
}

async function sleep(io: CommandIo): Promise<number> {
  const seconds = Number(io.args[0]);
  if (io.args[0] === undefined || !Number.isFinite(seconds) || seconds < 0) return fail(io, "sleep: give a number of seconds");
  const { promise, resolve } = Promise.withResolvers<number>();
  const timer = setTimeout(() => resolve(0), Math.min(seconds * 1000, 2 ** 31 - 1));
  io.interrupted.addEventListener("abort", () => resolve(130), { once: true });
  const code = await promise;
  clearTimeout(timer);
  return code;
}

async function sequence(io: CommandIo): Promise<number> {
  const numbers = io.args.map(Number);
  const [first = 1, last = first] = numbers.length === 1 ? [1, ...numbers] : numbers;
  if (numbers.length === 0 || !numbers.every(Number.isInteger)) return fail(io, "seq: give one or two whole numbers");
  for (let number = first; number <= last; number += 1) {
    if (io.interrupted.aborted) return 130;
    await io.out(`${number}\n`);
  }
  return 0;
}

async function hash(io: CommandIo): Promise<number> {
  const digest = createHash("sha256");
  const [path] = io.args;
  if (path !== undefined && path !== "-") {
    const content = await readFile(io.host, path);
    if (typeof content === "string") return fail(io, `sha256sum: ${path}: ${content}`);
    return line(io, `${digest.update(content).digest("hex")}  ${path}`);
  }
  for (let chunk = await io.stdin.readChunk(io.interrupted); chunk !== undefined; chunk = await io.stdin.readChunk(io.interrupted))
    digest.update(chunk);
  return io.interrupted.aborted ? 130 : line(io, `${digest.digest("hex")}  -`);
}

async function count(io: CommandIo): Promise<number> {
  let bytes = 0;
  let lines = 0;
  for (let chunk = await io.stdin.readChunk(io.interrupted); chunk !== undefined; chunk = await io.stdin.readChunk(io.interrupted)) {
    bytes += chunk.length;
    for (const byte of chunk) lines += byte === 0x0a ? 1 : 0;
  }
  if (io.args[0] === "-c") return line(io, String(bytes));
  return line(io, io.args[0] === "-l" ? String(lines) : `${lines} ${bytes}`);
}

function terminalSize(io: CommandIo): Promise<number> {
  if (io.args[0] !== "size") return fail(io, "stty: only `stty size` is there");
  if (!io.host.start.tty) return fail(io, "stty: no terminal");
  return line(io, `${io.host.size.rows} ${io.host.size.columns}`);
}

async function fail(io: CommandIo, why: string): Promise<number> {
  await io.err(`${why}\n`);
  return 1;
}
