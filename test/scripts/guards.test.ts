import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

interface Guard {
  readonly name: string;
  readonly file: string;
  readonly find: string;
}

const folder = path.resolve(import.meta.dirname, "../guards");
const tables = readdirSync(folder).filter((file) => file.endsWith(".json"));

test.each(tables)("each guard of %s can be taken out: its text stands exactly once in its file", (table) => {
  const guards: readonly Guard[] = JSON.parse(readFileSync(path.join(folder, table), "utf8"));
  const lost = guards.filter(({ file, find }) => readFileSync(path.resolve(folder, "../..", file), "utf8").split(find).length !== 2);
  expect(lost.map(({ name, file }) => `${file}: ${name}`)).toEqual([]);
});
