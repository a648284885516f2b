import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { compatibilityDate, compatibilityFlags, renderWorkerdConfig } from "#cli/workerd/config.ts";

test("a workerd of one's own is the same runtime as Cloudflare's: date and flags are wrangler.toml's", async () => {
  const wrangler = await readFile("wrangler.toml", "utf8");
  expect(/^compatibility_date = "(?<date>.+)"$/m.exec(wrangler)?.groups?.["date"]).toBe(compatibilityDate);
  expect(JSON.parse(/^compatibility_flags = (?<flags>\[.*\])$/m.exec(wrangler)?.groups?.["flags"] ?? "")).toEqual(compatibilityFlags);
});

test("the example for a workerd of one's own sets every variable that wrangler.toml has", async () => {
  const variables = (await readFile("wrangler.toml", "utf8")).split("[vars]")[1]?.split("\n[")[0] ?? "";
  const names = [...variables.matchAll(/^([A-Z_]+) = /gm)].map((match) => match[1]);
  const example = await readFile("infra/workerd/gateway.capnp", "utf8");
  const set = [...example.matchAll(/\(name = "([A-Z_]+)", text = /g)].map((match) => match[1]);
  expect(new Set(set)).toEqual(new Set(names));
  expect(names).toContain("GATEWAY_URL");
});

test("a variable cannot leave its place in the configuration, whatever it holds", () => {
  const rendered = renderWorkerdConfig({
    ...{ listen: "127.0.0.1:0", bundle: "main.js", certificate: "tls.crt", key: "tls.key", trusted: [], storage: "storage" },
    variables: { A: 'x"), (name = "B", text = "y\\\n\u0001' },
  });
  expect(rendered).toContain(String.raw`(name = "A", text = "x\"), (name = \"B\", text = \"y\\\n\x01")`);
});
