/** The sandbox's shell: runs scripts of `-c`, of its input, or typed at a prompt. */
import { PassThrough } from "node:stream";
import { findCommand } from "./commands.ts";
import type { CommandIo } from "./commands.ts";
import { readFile, writeFile } from "./files.ts";
import { writeAll } from "./host.ts";
import type { Host } from "./host.ts";
import { Input } from "./input.ts";
import { parseScript } from "./shell-syntax.ts";
import type { Command, Step, Word } from "./shell-syntax.ts";

/** What the shell and its commands read and write. */
export interface ShellIo {
  readonly host: Host;
  readonly stdin: Input;
  readonly out: (chunk: Buffer | string) => Promise<void>;
  readonly err: (chunk: Buffer | string) => Promise<void>;
  /** Aborts at Ctrl-C; another signal is there after that. */
  interrupted(): AbortSignal;
}

/** `sh [-c script]`: without a script it takes commands from its input. The result is the last command's exit code. */
export async function runShell(args: readonly string[], io: ShellIo): Promise<number> {
  const shell = new Shell(io);
  const flag = args.findIndex((arg) => /^-[a-z]*c$/.test(arg));
  if (flag >= 0) {
    const script = args[flag + 1];
    if (script === undefined) return usage(io, "-c needs a script");
    return shell.run(script);
  }
  const [file] = args.filter((arg) => !arg.startsWith("-"));
  if (file !== undefined) return usage(io, `cannot open ${file}: scripts in files are not part of this sandbox`);
  return shell.interact();
}

async function usage(io: ShellIo, why: string): Promise<number> {
  await io.err(`sh: ${why}\n`);
  return 2;
}

type StreamIo = Omit<CommandIo, "args" | "env">;

interface Redirected {
  readonly io: StreamIo;
  readonly finish: () => Promise<void>;
}

interface FileSink {
  readonly write: (chunk: Buffer | string) => Promise<void>;
  readonly finish: () => Promise<void>;
}

class Shell {
  readonly #io: ShellIo;
  readonly #variables = new Map<string, string>();
  #lastCode = 0;
  #exited = false;

  constructor(io: ShellIo) {
    this.#io = io;
    for (const [name, value] of Object.entries(io.host.start.env)) this.#variables.set(name, value);
  }

  async run(script: string): Promise<number> {
    const parsed = parseScript(script);
    if (parsed.type === "invalid") {
      await this.#io.err(`sh: syntax error: ${parsed.why}\n`);
      this.#lastCode = 2;
      return 2;
    }
    for (const step of parsed.steps) {
      if (this.#exited) break;
      if (this.#isDue(step)) this.#lastCode = await this.#pipeline(step.pipeline);
    }
    return this.#lastCode;
  }

  /** Reads and runs lines until the input ends or `exit`; with a terminal there is a prompt. */
  async interact(): Promise<number> {
    const { tty, hostname } = this.#io.host.start;
    if (tty) await this.#io.out("Sallyport sandbox: a small built-in shell, not one of your machine. `help` lists the commands.\n");
    while (!this.#exited) {
      if (tty) await this.#io.out(`${hostname}:/# `);
      const interrupted = this.#io.interrupted();
      const line = await this.#io.stdin.readLine(interrupted);
      if (line === undefined && interrupted.aborted) this.#lastCode = 130;
      else if (line === undefined) break;
      else await this.run(line);
    }
    return this.#lastCode;
  }

  #isDue(step: Step): boolean {
    switch (step.when) {
      case "always":
        return true;
      case "onSuccess":
        return this.#lastCode === 0;
      case "onFailure":
        return this.#lastCode !== 0;
    }
  }

  /** Runs commands side by side, each one's output the next one's input; the last one's code counts. */
  async #pipeline(commands: readonly Command[]): Promise<number> {
    const interrupted = this.#io.interrupted();
    let stdin = this.#io.stdin;
    const running: Promise<number>[] = [];
    for (const [index, command] of commands.entries()) {
      const isLast = index === commands.length - 1;
      const pipe = new PassThrough();
      const out = isLast ? this.#io.out : (chunk: Buffer | string) => writeAll(pipe, chunk);
      const io = { host: this.#io.host, stdin, out, err: this.#io.err, interrupted };
      running.push(this.#command(command, io).finally(() => pipe.end()));
      stdin = new Input(pipe);
    }
    const codes = await Promise.all(running);
    return codes.at(-1) ?? 0;
  }

  async #command(command: Command, io: StreamIo): Promise<number> {
    const redirected = await this.#redirect(command, io);
    if (typeof redirected === "string") {
      await io.err(`sh: ${redirected}\n`);
      return 1;
    }
    const words = this.#assign(command.words).flatMap((word) => this.#expand(word));
    const code = await this.#start(words, redirected.io);
    await redirected.finish();
    return code;
  }

  async #start([name, ...args]: readonly string[], io: StreamIo): Promise<number> {
    if (name === undefined) return 0;
    if (name === "exit") {
      this.#exited = true;
      const code = Number(args[0] ?? this.#lastCode);
      return Number.isInteger(code) ? code & 255 : 2;
    }
    if (name === "export") {
      for (const arg of args) this.#set(arg);
      return 0;
    }
    const env = Object.fromEntries(this.#variables);
    const command = findCommand(name);
    if (command !== undefined) return command.run({ ...io, args, env });
    await io.err(`sh: ${name}: not found in this sandbox; \`help\` lists what there is\n`);
    return 127;
  }

  /** Applies redirects from left to right; what goes to files is written when the command has ended. */
  async #redirect(command: Command, io: StreamIo): Promise<Redirected | string> {
    let result = io;
    const finishers: (() => Promise<void>)[] = [];
    for (const redirect of command.redirects) {
      if (redirect.type === "merge") {
        result = redirect.operator === ">&2" ? { ...result, out: result.err } : { ...result, err: result.out };
        continue;
      }
      const path = this.#expand(redirect.target).join(" ");
      if (redirect.operator === "<") {
        const content = path === "/dev/null" ? Buffer.alloc(0) : await readFile(io.host, path);
        if (typeof content === "string") return `${path}: ${content}`;
        const stream = new PassThrough();
        stream.end(content);
        result = { ...result, stdin: new Input(stream) };
        continue;
      }
      const sink = await this.#fileSink(io, path, redirect.operator);
      result = redirect.operator === "2>" ? { ...result, err: sink.write } : { ...result, out: sink.write };
      finishers.push(sink.finish);
    }
    return { io: result, finish: async () => void (await Promise.all(finishers.map((finish) => finish()))) };
  }

  async #fileSink(io: StreamIo, path: string, operator: "2>" | ">" | ">>"): Promise<FileSink> {
    const before = operator === ">>" ? await readFile(io.host, path) : "";
    const chunks: Buffer[] = typeof before === "string" ? [] : [before];
    return {
      write: async (chunk) => void chunks.push(Buffer.from(chunk)),
      finish: async () => {
        const error = path === "/dev/null" ? undefined : await writeFile(io.host, path, Buffer.concat(chunks));
        if (error !== undefined) await io.err(`sh: ${path}: ${error}\n`);
      },
    };
  }

  /** Takes leading `NAME=value` words as assignments. */
  #assign(words: readonly Word[]): readonly Word[] {
    const first = words.findIndex((word) => word[0]?.type !== "text" || !/^[A-Za-z_][A-Za-z0-9_]*=/.test(word[0].text));
    const count = first < 0 ? words.length : first;
    for (const word of words.slice(0, count)) this.#set(this.#text(word));
    return words.slice(count);
  }

  #set(assignment: string): void {
    const [, name, value = ""] = /^([A-Za-z_][A-Za-z0-9_]*)=([\s\S]*)$/.exec(assignment) ?? [];
    if (name !== undefined) this.#variables.set(name, value);
  }

  /** A word with its variables; one that is only an empty unquoted variable vanishes. */
  #expand(word: Word): readonly string[] {
    const text = this.#text(word);
    const vanishes = text === "" && word.every((piece) => piece.type === "variable" && !piece.quoted);
    return vanishes ? [] : [text];
  }

  #text(word: Word): string {
    return word.map((piece) => (piece.type === "text" ? piece.text : this.#variable(piece.name))).join("");
  }

  #variable(name: string): string {
    return name === "?" ? String(this.#lastCode) : (this.#variables.get(name) ?? "");
  }
}
