/** Small JSON files that only their owner may read, replaced in one step so that a reader never sees half of one. */
import { randomBytes } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** Whether a thrown thing is the system error `code`, such as ENOENT. */
export function isSystemError(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && "code" in thrown && thrown.code === code;
}

/** A JSON object, with unknown members. */
export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(input: unknown): input is JsonObject {
  return input !== null && typeof input === "object" && !Array.isArray(input);
}

/** JSON text as a value; undefined when it is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a SyntaxError: the caller treats it as absent
  }
}

/** JSON text as an object; undefined when it is none. */
export function parseJsonObject(text: string): JsonObject | undefined {
  const value = parseJson(text);
  return isJsonObject(value) ? value : undefined;
}

/** The object in the file; undefined when there is no file, or when it holds no JSON object (a half-written or foreign file). */
export async function readPrivateJson(path: string): Promise<JsonObject | undefined> {
  try {
    return parseJsonObject(await readFile(path, "utf8"));
  } catch (thrown) {
    if (isSystemError(thrown, "ENOENT")) return undefined;
    throw thrown;
  }
}

/** Whether others than the owner may read the file; Windows keeps no such bits. */
export async function isReadableByOthers(path: string, platform: NodeJS.Platform): Promise<boolean> {
  if (platform === "win32") return false;
  try {
    return ((await stat(path)).mode & 0o077) !== 0;
  } catch (thrown) {
    if (isSystemError(thrown, "ENOENT")) return false;
    throw thrown;
  }
}

/** Writes text by a new file of mode 0600 (or `mode`) and a rename; makes the directory, of mode 0700, if it is missing. */
export async function replaceFile(path: string, text: string, mode = 0o600): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx", mode);
    try {
      await file.writeFile(text);
      await file.chmod(mode); // the umask may have taken bits off that the replaced file had
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (thrown) {
    await rm(temporary, { force: true });
    throw thrown;
  }
}

export async function writePrivateJson(path: string, value: object): Promise<void> {
  await replaceFile(path, `${JSON.stringify(value, undefined, 2)}\n`);
}
