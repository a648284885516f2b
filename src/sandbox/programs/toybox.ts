/** `toybox:1` and every `exec`: a handful of commands and a small shell, interpreted here; nothing of the machine is run. */
import { PassThrough } from "node:stream";
import { findCommand } from "./commands.ts";
import { writeAll } from "./host.ts";
import type { Host } from "./host.ts";
import { Input } from "./input.ts";
import { runShell } from "./shell.ts";
import type { ShellIo } from "./shell.ts";
import { Terminal } from "./terminal.ts";

/** Runs its arguments as one command; without any it waits to be asked for something by exec or attach. */
export async function toybox(host: Host): Promise<number> {
  const io = host.start.tty ? terminalIo(host) : plainIo(host);
  const argv = host.start.argv;
  if (argv.length === 0) return idle(io);
  return runCommand(argv, io);
}

async function runCommand(argv: readonly string[], io: ShellIo): Promise<number> {
  const [name = "", ...rest] = argv;
  const base = name.slice(name.lastIndexOf("/") + 1);
  if (base === "sh" || base === "bash" || base === "ash") return runShell(rest, io);
  const command = findCommand(name);
  if (command !== undefined) return command.run({ ...io, args: rest, env: io.host.start.env, interrupted: io.interrupted() });
  await io.err(`toybox: ${name}: command not found in this sandbox; \`help\` lists what there is\n`);
  return 127;
}

/** The main process of a toybox pod: a shell when somebody can type, else a wait for SIGTERM. */
async function idle(io: ShellIo): Promise<number> {
  const stopped = new Promise<number>((resolve) => process.once("SIGTERM", () => resolve(143)));
  await io.out(`toybox: ready on ${io.host.start.hostname}; try: kubectl exec -it ${io.host.start.hostname} -- sh\n`);
  if (io.host.start.tty) return Promise.race([stopped, runShell([], io)]);
  const alive = setInterval(() => undefined, 1 << 30); // keeps the process while it waits
  const code = await stopped;
  clearInterval(alive);
  return code;
}

function plainIo(host: Host): ShellIo {
  const never = new AbortController().signal; // without a terminal nobody types Ctrl-C
  return {
    host,
    stdin: new Input(process.stdin),
    out: (chunk) => writeAll(process.stdout, chunk),
    err: (chunk) => writeAll(process.stderr, chunk),
    interrupted: () => never,
  };
}

/** With a terminal there is one output, and input goes through a line discipline. */
function terminalIo(host: Host): ShellIo {
  const terminal = new Terminal((chunk) => void process.stdout.write(chunk));
  const stdin = new PassThrough();
  process.stdin.on("data", (chunk: Buffer) => {
    for (const line of terminal.type(chunk)) stdin.write(line);
    if (terminal.ended) stdin.end();
  });
  process.stdin.once("end", () => stdin.end());
  const out = (chunk: Buffer | string): Promise<void> => writeAll(process.stdout, terminal.cook(chunk));
  return { host, stdin: new Input(stdin), out, err: out, interrupted: () => terminal.interrupted };
}
