/** Commands that read and write the container's files, and `tar`, with which `kubectl cp` copies. */
import { randomBytes } from "node:crypto";
import type { CommandEntry, CommandIo } from "./commands.ts";
import { isDirectory, listFiles, normalize, readFile, removeFile, writeFile } from "./files.ts";
import { tarEntry, tarEnd, TarReader } from "./tar.ts";

/** The commands about files. */
export const fileCommands: readonly CommandEntry[] = [
  { name: "cat", help: "cat [FILE...]", run: cat },
  { name: "head", help: "head -c N|-n N [FILE]; FILE may be /dev/zero or /dev/urandom", run: head },
  { name: "tail", help: "tail -c +N of the input", run: tail },
  { name: "tee", help: "tee FILE", run: tee },
  { name: "ls", help: "ls [DIRECTORY]: all files below it", run: list },
  { name: "rm", help: "rm FILE...", run: remove },
  { name: "test", help: "test -d|-e|-f PATH", run: test },
  { name: "tar", help: "tar cf - PATH... or tar xf - -C DIRECTORY", run: tar },
];

/** Bytes in one step of endless files. */
const blockBytes = 64 * 1024;

async function cat(io: CommandIo): Promise<number> {
  const paths = io.args.filter((arg) => arg !== "-");
  for (const path of paths) {
    const content = await readFile(io.host, path);
    if (typeof content === "string") return fail(io, `cat: ${path}: ${content}`);
    await io.out(content);
  }
  if (paths.length > 0) return 0;
  for (let chunk = await io.stdin.readChunk(io.interrupted); chunk !== undefined; chunk = await io.stdin.readChunk(io.interrupted))
    await io.out(chunk);
  return io.interrupted.aborted ? 130 : 0;
}

async function head(io: CommandIo): Promise<number> {
  const options = parseHead(io.args);
  if (options === undefined) return fail(io, "head: use head -c N or head -n N, then at most one file");
  const { unit, path } = options;
  let left = options.amount;
  for await (const chunk of chunksOf(io, path)) {
    if (typeof chunk === "string") return fail(io, `head: ${path}: ${chunk}`);
    if (left <= 0 || io.interrupted.aborted) break;
    const end = unit === "bytes" ? Math.min(left, chunk.length) : endOfLines(chunk, left);
    const taken = chunk.subarray(0, end);
    left -= unit === "bytes" ? taken.length : taken.filter((byte) => byte === 0x0a).length;
    await io.out(taken);
    if (left <= 0) break;
  }
  return io.interrupted.aborted ? 130 : 0;
}

function parseHead(
  args: readonly string[],
): { readonly unit: "bytes" | "lines"; readonly amount: number; readonly path: string } | undefined {
  const match = /^(?:-(c|n) ?(\d+)([kMG]?) ?)?([^ -][^ ]*)?$/.exec(args.join(" "));
  if (match === null) return undefined;
  const [, unit, amount, scale = "", path = ""] = match;
  const factor = { "": 1, k: 1024, M: 1024 ** 2, G: 1024 ** 3 }[scale] ?? 1;
  return { unit: unit === "c" ? "bytes" : "lines", amount: unit === undefined ? 10 : Number(amount) * factor, path };
}

function endOfLines(chunk: Buffer, wanted: number): number {
  let end = 0;
  for (let count = 0; count < wanted; count += 1) {
    const next = chunk.indexOf(0x0a, end);
    if (next < 0) return chunk.length;
    end = next + 1;
  }
  return end;
}

async function* chunksOf(io: CommandIo, path: string): AsyncGenerator<Buffer | string> {
  if (path === "/dev/zero") for (;;) yield Buffer.alloc(blockBytes);
  if (path === "/dev/urandom") for (;;) yield randomBytes(blockBytes);
  if (path !== "") return yield readFile(io.host, path);
  for (let chunk = await io.stdin.readChunk(io.interrupted); chunk !== undefined; chunk = await io.stdin.readChunk(io.interrupted))
    yield chunk;
}

async function tail(io: CommandIo): Promise<number> {
  const [, first] = /^-c ?\+(\d+)$/.exec(io.args.join(" ")) ?? [];
  if (first === undefined) return fail(io, "tail: only `tail -c +N` is there");
  let skip = Math.max(0, Number(first) - 1);
  for (let chunk = await io.stdin.readChunk(io.interrupted); chunk !== undefined; chunk = await io.stdin.readChunk(io.interrupted)) {
    const kept = chunk.subarray(skip);
    skip = Math.max(0, skip - chunk.length);
    if (kept.length > 0) await io.out(kept);
  }
  return 0;
}

async function tee(io: CommandIo): Promise<number> {
  const content = await io.stdin.readAll(io.interrupted);
  await io.out(content);
  for (const path of io.args) {
    const error = await writeFile(io.host, path, content);
    if (error !== undefined) return fail(io, `tee: ${path}: ${error}`);
  }
  return 0;
}

async function list(io: CommandIo): Promise<number> {
  const [path = "/"] = io.args.filter((arg) => !arg.startsWith("-"));
  const names = await listFiles(io.host, path);
  if (names.length === 0 && !(await isDirectory(io.host, path))) return fail(io, `ls: ${path}: No such file or directory`);
  await io.out(names.map((name) => `${name}\n`).join(""));
  return 0;
}

async function remove(io: CommandIo): Promise<number> {
  for (const path of io.args.filter((arg) => !arg.startsWith("-"))) {
    const error = await removeFile(io.host, path);
    if (error !== undefined) return fail(io, `rm: ${path}: ${error}`);
  }
  return 0;
}

async function test(io: CommandIo): Promise<number> {
  const [flag, path] = io.args;
  if (path === undefined || !["-d", "-e", "-f"].includes(flag ?? "")) return fail(io, "test: use test -d|-e|-f PATH");
  const directory = await isDirectory(io.host, path);
  if (flag === "-d") return directory ? 0 : 1;
  const names = await listFiles(io.host, path);
  return names.includes(normalize(path)) || (flag === "-e" && directory) ? 0 : 1;
}

async function tar(io: CommandIo): Promise<number> {
  const [mode = "", ...rest] = io.args;
  const paths = rest.filter((arg) => arg !== "-" && !arg.startsWith("--"));
  if (/^-?[cf]+$/.test(mode) && mode.includes("c")) return pack(io, paths);
  if (/^-?[xmf]+$/.test(mode) && mode.includes("x")) {
    const at = paths.indexOf("-C");
    return unpack(io, at < 0 ? "/" : (paths[at + 1] ?? "/"));
  }
  return fail(io, "tar: only `tar cf - PATH...` and `tar xf - [-C DIRECTORY]` are there");
}

async function pack(io: CommandIo, paths: readonly string[]): Promise<number> {
  for (const path of paths) {
    const names = await listFiles(io.host, path);
    if (names.length === 0) return fail(io, `tar: ${path}: No such file or directory`);
    for (const name of names) {
      const content = await readFile(io.host, name);
      if (typeof content === "string") return fail(io, `tar: ${name}: ${content}`);
      await io.out(tarEntry(name.slice(1), content));
    }
  }
  await io.out(tarEnd);
  return 0;
}

async function unpack(io: CommandIo, directory: string): Promise<number> {
  const reader = new TarReader();
  for (let chunk = await io.stdin.readChunk(io.interrupted); chunk !== undefined; chunk = await io.stdin.readChunk(io.interrupted)) {
    for (const entry of reader.take(chunk)) {
      if (entry.type === "invalid") return fail(io, `tar: ${entry.why}`);
      const error = await writeFile(io.host, `${directory}/${entry.name}`, entry.content);
      if (error !== undefined) return fail(io, `tar: ${entry.name}: ${error}`);
    }
  }
  return 0;
}

async function fail(io: CommandIo, why: string): Promise<number> {
  await io.err(`${why}\n`);
  return 1;
}
