import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { listAudiences, parseAuthenticationConfiguration } from "#identity/configuration.ts";
import { createTokenDoor } from "#identity/token-door.ts";
import type { TokenDoor } from "#identity/token-door.ts";
import { makeClaims, makeKey, makeStaticKeys, makeToken, nowMs } from "./makers.ts";
import type { SigningKey } from "./makers.ts";

const file = "examples/authentication.yaml";
const company = { iss: "https://login.example.com", aud: "sallyport-production", email_verified: true, groups: ["developers"] };
const github = { iss: "https://token.actions.githubusercontent.com", aud: "sallyport-production", repository_owner: "example" };

let key: SigningKey;
let door: TokenDoor;

beforeAll(async () => {
  key = await makeKey();
  const parsed = parseAuthenticationConfiguration(await readFile(file, "utf8"), file);
  if (parsed.type === "invalid") throw new Error(parsed.problems.map(({ line, message }) => `${line}: ${message}`).join("\n"));
  expect(listAudiences(parsed.configuration)).toEqual(["sallyport-production"]);
  const keys = makeStaticKeys([key.jwk]);
  door = createTokenDoor({ configuration: parsed.configuration, keysFor: () => keys, clock: () => nowMs });
});

async function verify(claims: Readonly<Record<string, unknown>>) {
  return door.verify(await makeToken({ key, payload: makeClaims(claims) }));
}

describe(file, () => {
  it("lets people and workflows in as it says", async () => {
    expect(await verify({ ...company, email: "lee@example.com" })).toMatchObject({
      type: "verified",
      identity: { username: "oidc:lee@example.com", groups: ["oidc:developers"], uid: "alice" },
    });
    expect(await verify({ ...github, groups: undefined, repository: "example/shop", environment: "production" })).toMatchObject({
      type: "verified",
      identity: { username: "github:example/shop:production", groups: ["github:example/shop"] },
    });
  });

  it.each([
    ["somebody of another company", { ...company, email: "lee@elsewhere.example" }, "only addresses of example.com may come in"],
    ["an address that was not verified", { ...company, email: "lee@example.com", email_verified: false }, "has not verified"],
    [
      "another owner's workflow",
      { ...github, repository_owner: "other", repository: "other/x", environment: "production" },
      "repository_owner",
    ],
    ["a workflow without an environment", { ...github, repository: "example/shop" }, ""],
  ])("keeps out %s", async (_name, claims, message) => {
    expect(await verify(claims)).toMatchObject({ type: "refused", message: expect.stringContaining(message) });
  });
});
