/** A directory for one test file, removed behind it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

export interface TemporaryDirectory {
  readonly path: string;
  /** Writes a file and gives its path. */
  write(name: string, text: string): string;
}

export function makeTemporaryDirectory(): TemporaryDirectory {
  const path = mkdtempSync(join(tmpdir(), "sallyport-"));
  afterAll(() => rmSync(path, { recursive: true }));
  return {
    path,
    write: (name, text) => {
      const file = join(path, name);
      writeFileSync(file, text, { mode: 0o600 });
      return file;
    },
  };
}
