import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";

test("both recipes of the agent's images start it in the same way", async () => {
  const entrypoint: unknown = JSON.parse(await readFile("infra/image/entrypoint.json", "utf8"));
  const dockerfile = await readFile("infra/image/Dockerfile", "utf8");
  const entrypoints = [...dockerfile.matchAll(/^ENTRYPOINT (.*)$/gm)].map(([, json = ""]): unknown => JSON.parse(json));
  expect(entrypoints).toEqual([entrypoint, entrypoint]);
});
