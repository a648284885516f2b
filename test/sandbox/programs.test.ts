import { PassThrough } from "node:stream";
import { describe, expect, it } from "vitest";
import { Input } from "#sandbox/programs/input.ts";
import { parseScript } from "#sandbox/programs/shell-syntax.ts";
import { tarEnd, tarEntry, TarReader } from "#sandbox/programs/tar.ts";
import { Terminal } from "#sandbox/programs/terminal.ts";
import { ContainerFiles } from "#sandbox/node/container-files.ts";
import { normalize } from "#sandbox/programs/files.ts";
import { LogBuffer } from "#sandbox/node/log-buffer.ts";
import { maxLogBytes, maxLogLineBytes } from "#sandbox/limits.ts";
import { TestClock } from "./harness.ts";

describe("the shell's syntax", () => {
  it.each(["a; b", "a && b || c", "a | b | c", "a > f 2>&1", "echo 'a b' \"c $D\" e\\ f", "# a comment", "", "a;", "X=1 a", "a\nb\n"])(
    "takes %j",
    (text) => {
      expect(parseScript(text).type).toBe("script");
    },
  );

  it.each(["| a", "a |", "a && ", "; ;| a", "echo 'a", 'echo "a', "a >", "a > ; b", "$(a)", "`a`", "(a)", "a & b"])(
    "refuses %j",
    (text) => {
      expect(parseScript(text).type).toBe("invalid");
    },
  );
});

describe("the terminal", () => {
  const typed = (keys: string): { readonly lines: string; readonly echo: string; readonly terminal: Terminal } => {
    let echo = "";
    const terminal = new Terminal((chunk) => (echo += chunk.toString("latin1")));
    const lines = Buffer.concat(terminal.type(Buffer.from(keys))).toString();
    return { lines, echo: Buffer.from(echo, "latin1").toString(), terminal };
  };

  it.each([
    ["abc\r", "abc\n", "abc\r\n"],
    ["ab\x7fc\r", "ac\n", "ab\b \bc\r\n"],
    ["é\x7fx\r", "x\n", "é\b \bx\r\n"],
    ["\x7f\r", "\n", "\r\n"],
    ["ab\x15c\r", "c\n", "ab\b \b\b \bc\r\n"],
    ["a\x1b[Ab\r", "ab\n", "ab\r\n"],
    ["ab\x03c\r", "c\n", "ab^C\r\nc\r\n"],
  ])("edits %j to %j", (keys, lines, echo) => {
    expect(typed(keys)).toMatchObject({ lines, echo });
  });

  it("ends the input by Ctrl-D on an empty line only", () => {
    expect(typed("a\x04").terminal.ended).toBe(false);
    expect(typed("\x04").terminal.ended).toBe(true);
  });

  it("returns the carriage without breaking bytes of a split character", () => {
    const { terminal } = typed("");
    const [first, second] = [Buffer.from("é\n").subarray(0, 1), Buffer.from("é\n").subarray(1)];
    expect(Buffer.concat([terminal.cook(first), terminal.cook(second)]).toString()).toBe("é\r\n");
  });
});

describe("standard input", () => {
  it("gives what follows a line to the next reader", async () => {
    const stream = new PassThrough();
    const input = new Input(stream);
    stream.end("first\nrest\nmore");
    expect(await input.readLine()).toBe("first");
    expect((await input.readAll()).toString()).toBe("rest\nmore");
    expect(await input.readLine()).toBeUndefined();
  });

  it("stops waiting when it is interrupted", async () => {
    const interrupted = new AbortController();
    const line = new Input(new PassThrough()).readLine(interrupted.signal);
    interrupted.abort();
    expect(await line).toBeUndefined();
  });
});

describe("tar", () => {
  it("reads what it writes, in pieces of any size", () => {
    const files = [
      { name: "a.txt", content: Buffer.from("hello") },
      { name: "empty", content: Buffer.alloc(0) },
      { name: `${"d/".repeat(40)}${"n".repeat(60)}`, content: Buffer.alloc(1500, 7) },
    ];
    const archive = Buffer.concat([...files.map(({ name, content }) => tarEntry(name, content)), tarEnd]);
    const reader = new TarReader();
    const entries = [];
    for (let offset = 0; offset < archive.length; offset += 333) entries.push(...reader.take(archive.subarray(offset, offset + 333)));
    expect(entries).toEqual(files.map((file) => ({ type: "file", ...file })));
  });

  it("refuses a file that is too large before it keeps any of it", () => {
    const header = tarEntry("large", Buffer.alloc(0)).subarray(0, 512);
    header.write("77777777777\0", 124);
    expect([...new TarReader().take(header)]).toEqual([{ type: "invalid", why: "a file in the archive is too large for the sandbox" }]);
  });
});

describe("a container's files", () => {
  it.each([
    ["/a/../../b", "/b"],
    ["a//b/./c", "/a/b/c"],
    ["../../etc/passwd", "/etc/passwd"],
    ["", "/"],
  ])("%j is %j", (path, wanted) => {
    expect(normalize(path)).toBe(wanted);
  });

  it("are bounded in bytes and number", () => {
    const files = new ContainerFiles();
    const write = (path: string, base64: string) => files.answer({ type: "write", id: 1, path, base64 }).error;
    expect(write("/big", Buffer.alloc(17 * 1024 * 1024).toString("base64"))).toContain("No space left");
    const errors = Array.from({ length: 1001 }, (_, index) => write(`/f${index}`, ""));
    expect(errors.filter((error) => error !== undefined).length).toBe(1);
    expect(write("/f1/below", "")).toBe("No space left in this sandbox's container");
  });
});

describe("a log", () => {
  it("cuts output into lines, keeps the streams apart, and ends with what was begun", () => {
    const log = new LogBuffer(new TestClock());
    log.write("stdout", Buffer.from("a\nb"));
    log.write("stderr", Buffer.from("x\n"));
    log.write("stdout", Buffer.from("c\né").subarray(0, 3));
    log.write("stdout", Buffer.from("é").subarray(1));
    log.end();
    expect(log.lines.map(({ text }) => text)).toEqual(["a", "x", "bc", "é"]);
  });

  it("keeps the newest megabyte, and cuts lines that never end", () => {
    const log = new LogBuffer(new TestClock());
    for (let count = 0; count < 400; count += 1) log.write("stdout", Buffer.alloc(maxLogLineBytes, 97));
    log.end();
    const bytes = log.lines.reduce((sum, { text }) => sum + text.length, 0);
    expect(bytes).toBeLessThanOrEqual(maxLogBytes * 2 + maxLogLineBytes);
    expect(log.lines.every(({ text }) => text.length <= maxLogLineBytes)).toBe(true);
  });
});
