/** The files of a container: a few that are always there, and those in the kubelet's memory that were written or copied. */
import type { Host } from "./host.ts";

const release = `NAME="Sallyport sandbox"
ID=sallyport-sandbox
PRETTY_NAME="Sallyport sandbox"
`;

/** The content of a file, or a sentence that says why there is none. */
export async function readFile(host: Host, path: string): Promise<Buffer | string> {
  const fixed = fixedFiles(host)[normalize(path)];
  if (fixed !== undefined) return Buffer.from(fixed);
  const answer = await host.ask({ type: "read", path: normalize(path) });
  return answer.base64 === undefined ? (answer.error ?? "No such file or directory") : Buffer.from(answer.base64, "base64");
}

/** Writes a file; a sentence when it could not be. */
export async function writeFile(host: Host, path: string, content: Buffer): Promise<string | undefined> {
  if (fixedFiles(host)[normalize(path)] !== undefined) return "Read-only file";
  const answer = await host.ask({ type: "write", path: normalize(path), base64: content.toString("base64") });
  return answer.error;
}

/** Removes a file; a sentence when there is none. */
export async function removeFile(host: Host, path: string): Promise<string | undefined> {
  return (await host.ask({ type: "remove", path: normalize(path) })).error;
}

/** Absolute paths of all files at or below a path. */
export async function listFiles(host: Host, path: string): Promise<readonly string[]> {
  const base = normalize(path);
  const answer = await host.ask({ type: "list", path: base });
  const fixed = Object.keys(fixedFiles(host)).filter((name) => isWithin(name, base));
  return [...new Set([...fixed, ...(answer.names ?? [])])].toSorted();
}

/** Whether a path is a directory: one of those that are always there, or one with files below. */
export async function isDirectory(host: Host, path: string): Promise<boolean> {
  const base = normalize(path);
  if (["/", "/etc", "/home", "/tmp"].includes(base)) return true;
  return (await listFiles(host, base)).some((name) => name !== base);
}

/** An absolute path without `.`, `..` and doubled slashes; relative ones start at /. */
export function normalize(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

function isWithin(name: string, base: string): boolean {
  return base === "/" || name === base || name.startsWith(`${base}/`);
}

function fixedFiles(host: Host): Readonly<Record<string, string>> {
  return { "/etc/hostname": `${host.start.hostname}\n`, "/etc/os-release": release };
}
