import { beforeAll, describe, expect, it } from "vitest";
import { createIssuerKeys, type IssuerKeysOptions } from "#identity/issuer-keys.ts";
import type { FetchKeys } from "#identity/keys.ts";
import { createTokenDoor, type TokenDoor } from "#identity/token-door.ts";
import {
  issuerUrl,
  makeClaims,
  makeConfiguration,
  makeConfigurationText,
  makeKey,
  makeToken,
  nowMs,
  type SigningKey,
} from "#test/identity/makers.ts";

const privateUrl = "https://private.test";
const text = `${makeConfigurationText()}
- issuer: {url: "${privateUrl}", audiences: [cluster-a]}
  claimMappings: {username: {claim: sub, prefix: "private:"}}
`;

let key: SigningKey;
let registeredText: string;
const requests: string[] = [];

beforeAll(async () => {
  key = await makeKey();
  registeredText = JSON.stringify({ keys: [key.jwk] });
});

const fetchKeys: FetchKeys = async (url) => {
  requests.push(url);
  const isDiscovery = url.endsWith("openid-configuration");
  return new Response(isDiscovery ? JSON.stringify({ issuer: issuerUrl, jwks_uri: "https://issuer.test/keys" }) : registeredText);
};

function makeOptions(changes: Partial<IssuerKeysOptions> = {}): IssuerKeysOptions {
  return {
    registered: new Map(),
    fetchFor: (issuer) => (issuer.url === privateUrl ? undefined : fetchKeys),
    clock: () => nowMs,
    createDeadline: () => new AbortController().signal,
    flight: "shared",
    ...changes,
  };
}

function makeDoorOf(options: IssuerKeysOptions): TokenDoor {
  const configuration = makeConfiguration(text);
  const keys = createIssuerKeys(configuration, options);
  if (keys.type === "malformed") throw new Error(keys.problems.join());
  return createTokenDoor({ configuration, keysFor: keys.keysFor, clock: () => nowMs });
}

describe("the keys of a configuration's issuers", () => {
  it("are fetched where that is possible, and their tokens refused where it is not", async () => {
    const door = makeDoorOf(makeOptions());
    expect(await door.verify(await makeToken({ key }))).toMatchObject({ type: "verified" });
    expect(await door.verify(await makeToken({ key, payload: makeClaims({ iss: privateUrl }) }))).toMatchObject({
      reason: "keys-unavailable",
    });
  });

  it("are the registered ones where there are some, for that issuer alone and without any fetch", async () => {
    requests.length = 0;
    const door = makeDoorOf(makeOptions({ registered: new Map([[privateUrl, registeredText]]) }));
    expect(await door.verify(await makeToken({ key, payload: makeClaims({ iss: privateUrl }) }))).toMatchObject({
      identity: { username: "private:alice" },
    });
    expect(requests).toEqual([]);
  });

  it("are refused at once where registered ones cannot be read", () => {
    const registered = new Map([[privateUrl, "<html>"]]);
    expect(createIssuerKeys(makeConfiguration(text), makeOptions({ registered }))).toEqual({
      type: "malformed",
      problems: [expect.stringContaining(privateUrl)],
    });
  });
});
