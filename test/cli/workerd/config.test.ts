import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { compatibilityDate, compatibilityFlags, renderWorkerdConfig } from "#cli/workerd/config.ts";

test("a workerd of one's own is the same runtime as Cloudflare's: date and flags are wrangler.toml's", async () => {
  const wrangler = await readFile("wrangler.toml", "utf8");
  expect(/^compatibility_date = "(?<date>.+)"$/m.exec(wrangler)?.groups?.["date"]).toBe(compatibilityDate);
  expect(JSON.parse(/^compatibility_flags = (?<flags>\[.*\])$/m.exec(wrangler)?.groups?.["flags"] ?? "")).toEqual(compatibilityFlags);
});

test("a variable cannot leave its place in the configuration, whatever it holds", () => {
  const rendered = renderWorkerdConfig({
    ...{ listen: "127.0.0.1:0", bundle: "main.js", certificate: "tls.crt", key: "tls.key", trusted: [], storage: "storage" },
    variables: { A: 'x"), (name = "B", text = "y\\\n\u0001' },
  });
  expect(rendered).toContain(String.raw`(name = "A", text = "x\"), (name = \"B\", text = \"y\\\n\x01")`);
});
