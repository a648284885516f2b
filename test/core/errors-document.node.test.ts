import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { errorTable } from "#core/errors.ts";

test("docs/errors.md has the rows of the error table, and no other", () => {
  const page = readFileSync("docs/errors.md", "utf8");
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` *\| (\d+) *\| (\w+) *\| (\d+) *\| (.+?) *\|$/gm)].map(
    ([, code, status, reason, exit, hint]) => [code, status, reason, exit, hint],
  );
  const wanted = Object.entries(errorTable).map(([code, row]) => [
    code,
    String(row.status),
    row.reason,
    String(row.exit),
    row.hint.replaceAll("|", "\\|"),
  ]);
  expect(rows).toEqual(wanted);
});
