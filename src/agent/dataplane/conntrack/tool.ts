/** The kernel's conntrack table through the program `conntrack` (conntrack-tools), which needs the capability NET_ADMIN. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { IpFamily } from "#agent/dataplane/dataplane.ts";
import { isFlow, parseFlow, type ConntrackEntry } from "./entry.ts";
import { maxMessageBytes, toolTimeoutMs } from "./limits.ts";
import type { ConntrackTable, DeleteResult, ToolResult } from "./reconciler.ts";

/** How a call of the tool ended. `missing`: the program could not be started. */
export type ToolEnd =
  | { readonly type: "ended"; readonly code: number; readonly stderr: string }
  | { readonly type: "missing"; readonly message: string };

/** Runs the tool and hands on its output line by line. Never rejects. */
export type RunConntrack = (args: readonly string[], onLine: (line: string) => void) => Promise<ToolEnd>;

/** The kernel's table by way of the tool. */
export function createConntrackTable(run: RunConntrack): ConntrackTable {
  return {
    list: (family, take) => list(run, family, take),
    delete: (family, entry) => deleteGroup(run, family, entry),
  };
}

async function list(run: RunConntrack, family: IpFamily, take: (entry: ConntrackEntry | undefined) => void): Promise<ToolResult> {
  const end = await run(["-L", ...common(family)], (line) => {
    if (isFlow(line)) take(parseFlow(line));
  });
  if (end.type === "ended" && end.code === 0) return { type: "done" };
  return { type: "failed", message: failure("list the UDP entries", end) };
}

/** The tool prints each entry that it deletes. It ends with 1 both when it finds none and when it fails; then only its words tell. */
async function deleteGroup(run: RunConntrack, family: IpFamily, entry: ConntrackEntry): Promise<DeleteResult> {
  let entries = 0;
  const count = (line: string): void => {
    if (isFlow(line)) entries += 1;
  };
  const end = await run(["-D", ...common(family), ...groupArgs(entry)], count);
  const foundNone = end.type === "ended" && /\b0 flow entries have been deleted/.test(end.stderr);
  if ((end.type === "ended" && end.code === 0) || foundNone) return { type: "deleted", entries };
  return { type: "failed", message: failure("delete stale UDP entries", end) };
}

/** Zone 0 only: other zones are other programs' (virtual switches), and the tool would not tell them apart. */
function common(family: IpFamily): readonly string[] {
  return ["-f", family === "IPv4" ? "ipv4" : "ipv6", "-p", "udp", "-w", "0", "-o", "xml"];
}

function groupArgs({ destination, destinationPort, replySource, replySourcePort }: ConntrackEntry): readonly string[] {
  return [
    ...["--orig-dst", destination, "--orig-port-dst", String(destinationPort)],
    ...["--reply-src", replySource, "--reply-port-src", String(replySourcePort)],
  ];
}

/** Why a call failed, and what to do. */
export function failure(what: string, end: ToolEnd): string {
  switch (end.type) {
    case "missing":
      return `the program conntrack, which is to ${what}, could not be started: ${end.message}; install the package conntrack`;
    case "ended":
      return `conntrack could not ${what}: ${end.stderr.trim() || `it ended with ${end.code}`}; it needs the capability NET_ADMIN`;
  }
}

/**
 * Runs the program by a command, `["conntrack"]` unless it is reached in another way (`nsenter`), within a limit of time; what it prints
 * is never kept.
 */
export function createConntrackRunner([program = "conntrack", ...before]: readonly string[]): RunConntrack {
  return async (args, onLine) => {
    const child = spawn(program, [...before, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: toolTimeoutMs,
      killSignal: "SIGKILL",
      shell: false,
      // Its words are read in one language.
      env: { PATH: process.env["PATH"], LC_ALL: "C" },
    });
    let stderr = "";
    child.stderr.setEncoding("utf8");
    child.stderr.on("data", (text: string) => {
      stderr = (stderr + text).slice(0, maxMessageBytes);
    });
    createInterface({ input: child.stdout, crlfDelay: Infinity }).on("line", onLine);
    return new Promise((resolve) => {
      child.once("error", (error) => resolve({ type: "missing", message: error.message }));
      child.once("close", (code, signal) => resolve({ type: "ended", code: code ?? 128, stderr: stderr || (signal ?? "") }));
    });
  };
}
