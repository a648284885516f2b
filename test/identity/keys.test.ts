import { beforeAll, describe, expect, it } from "vitest";
import { createRemoteKeys, createStaticKeys, type FetchKeys, type RemoteKeysOptions } from "#identity/keys.ts";
import type { KeySource } from "#identity/key-source.ts";
import { keyLimits } from "#identity/limits.ts";
import { createTokenDoor } from "#identity/token-door.ts";
import { issuerUrl, makeClaims, makeConfiguration, makeKey, makeToken, nowMs, type SigningKey } from "#test/identity/makers.ts";

let first: SigningKey;
let second: SigningKey;

beforeAll(async () => {
  first = await makeKey("first");
  second = await makeKey("second");
});

/** An issuer that answers from memory, at a clock that the test moves. */
class FakeIssuer {
  now = nowMs;
  keys: readonly SigningKey[] = [first];
  isDown = false;
  discovery: unknown = { issuer: issuerUrl, jwks_uri: "https://issuer.test/keys" };
  readonly requests: string[] = [];

  readonly fetch: FetchKeys = async (url) => {
    this.requests.push(url);
    if (this.isDown) throw new TypeError("connection refused");
    const document = url === "https://issuer.test/keys" ? { keys: this.keys.map((key) => key.jwk) } : this.discovery;
    return new Response(JSON.stringify(document));
  };

  source(changes: Partial<RemoteKeysOptions> = {}): KeySource {
    return createRemoteKeys({
      issuerUrl,
      discoveryUrl: undefined,
      fetch: this.fetch,
      clock: () => this.now,
      createDeadline: () => new AbortController().signal,
      flight: "shared",
      ...changes,
    });
  }

  get keyRequests(): number {
    return this.requests.filter((url) => url.endsWith("/keys")).length;
  }
}

async function lookUp(source: KeySource, keyId: string): Promise<string> {
  return (await source.find({ keyId, algorithm: "ES256" })).type;
}

describe("an issuer's keys", () => {
  it("are found through the discovery document below the issuer's URL", async () => {
    const issuer = new FakeIssuer();
    expect(await lookUp(issuer.source(), "first")).toBe("found");
    expect(issuer.requests).toEqual([`${issuerUrl}/.well-known/openid-configuration`, "https://issuer.test/keys"]);
  });

  it("are found through another discovery document where one is configured", async () => {
    const issuer = new FakeIssuer();
    expect(await lookUp(issuer.source({ discoveryUrl: "https://mirror.test/discovery" }), "first")).toBe("found");
    expect(issuer.requests[0]).toBe("https://mirror.test/discovery");
  });

  it.each([
    ["another issuer", { issuer: "https://evil.test", jwks_uri: "https://issuer.test/keys" }],
    ["the issuer with a slash", { issuer: `${issuerUrl}/`, jwks_uri: "https://issuer.test/keys" }],
    ["no issuer", { jwks_uri: "https://issuer.test/keys" }],
    ["keys on http", { issuer: issuerUrl, jwks_uri: "http://issuer.test/keys" }],
    ["keys in a data URL", { issuer: issuerUrl, jwks_uri: "data:application/json,{}" }],
    ["no keys", { issuer: issuerUrl }],
    ["a list", []],
  ])("are not taken from a discovery document with %s", async (_, discovery) => {
    const issuer = new FakeIssuer();
    issuer.discovery = discovery;
    expect(await lookUp(issuer.source(), "first")).toBe("unavailable");
    expect(issuer.keyRequests).toBe(0);
  });

  it("are fetched once for many callers at a time", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await Promise.all(Array.from({ length: 50 }, () => lookUp(source, "first")));
    expect(issuer.keyRequests).toBe(1);
  });

  it("are fetched by each caller for itself where the runtime asks for that", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source({ flight: "separate" });
    expect(await Promise.all([lookUp(source, "first"), lookUp(source, "first")])).toEqual(["found", "found"]);
    expect(issuer.keyRequests).toBe(2);
  });

  it("are fetched at most once in a cooldown, whatever key ids tokens name", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    for (let index = 0; index < 1000; index += 1) expect(await lookUp(source, `unknown-${index}`)).toBe("unknown");
    expect(issuer.keyRequests).toBe(1);
    issuer.now += keyLimits.cooldownMs;
    for (let index = 0; index < 1000; index += 1) await lookUp(source, `unknown-${index}`);
    expect(issuer.keyRequests).toBe(2);
  });

  it("include a new key within a minute", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    issuer.keys = [first, second];
    issuer.now += 60_000;
    expect(await lookUp(source, "second")).toBe("found");
  });

  it("include a new key as soon as the refresh in the background has it", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    issuer.keys = [first, second];
    issuer.now += keyLimits.refreshAfterMs;
    expect(await lookUp(source, "second")).toBe("found");
    expect(issuer.keyRequests).toBe(2);
  });

  it("lose a removed key after ten minutes at the latest", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    issuer.keys = [second];
    issuer.now += keyLimits.refreshBeforeUseAfterMs;
    expect(await lookUp(source, "first")).toBe("unknown");
  });

  it("are refreshed in the background after five minutes", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    issuer.now += keyLimits.refreshAfterMs;
    expect(source.isFresh()).toBe(false);
    const answered = await lookUp(source, "first");
    expect(answered).toBe("found");
    expect(issuer.keyRequests).toBe(2);
  });

  it("keep working for a day while the issuer is down, and no longer", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    issuer.isDown = true;
    issuer.now += keyLimits.maxStaleMs;
    expect(await lookUp(source, "first")).toBe("found");
    issuer.now += 1;
    expect(await lookUp(source, "first")).toBe("unavailable");
    expect(source.exportKeys()).toBeUndefined();
  });

  it("are asked for no more than once in a cooldown while the issuer is down", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    issuer.isDown = true;
    issuer.now += keyLimits.refreshBeforeUseAfterMs;
    const before = issuer.requests.length;
    for (let index = 0; index < 100; index += 1) expect(await lookUp(source, "first")).toBe("found");
    expect(issuer.requests.length).toBe(before + 1);
  });

  it("come back without a restart when the issuer does", async () => {
    const issuer = new FakeIssuer();
    issuer.isDown = true;
    const source = issuer.source();
    expect(await lookUp(source, "first")).toBe("unavailable");
    issuer.isDown = false;
    expect(await lookUp(source, "first")).toBe("unavailable");
    issuer.now += keyLimits.firstCooldownMs;
    expect(await lookUp(source, "first")).toBe("found");
  });

  it("are looked for anew when they have moved", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    issuer.now += keyLimits.discoveryRefreshAfterMs;
    await lookUp(source, "first");
    expect(issuer.requests.filter((url) => url.endsWith("openid-configuration"))).toHaveLength(2);
  });

  it("are not trusted as fresh after the clock was set back", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    issuer.now -= 3_600_000;
    expect(source.isFresh()).toBe(false);
    expect(await lookUp(source, "first")).toBe("found");
    expect(source.isFresh()).toBe(true);
  });

  it("can be reported to somebody who cannot fetch them", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    await lookUp(source, "first");
    const copy = createStaticKeys(source.exportKeys() ?? "");
    expect(copy.type).toBe("created");
    expect(copy.type === "created" && (await lookUp(copy.keys, "first"))).toBe("found");
  });
});

describe("a remembered verdict", () => {
  it("ends when the issuer removes the key", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    const door = createTokenDoor({ configuration: makeConfiguration(), keysFor: () => source, clock: () => issuer.now });
    const token = await makeToken({ key: first, payload: makeClaims({ exp: nowMs / 1000 + 3600 }) });
    expect(await door.verify(token)).toMatchObject({ type: "verified" });
    issuer.keys = [second];
    issuer.now += keyLimits.refreshBeforeUseAfterMs;
    expect(door.verifyCached(token)).toBeUndefined();
    expect(await door.verify(token)).toMatchObject({ type: "refused", reason: "key-unknown" });
  });

  it("outlives a refresh that changes nothing", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    const door = createTokenDoor({ configuration: makeConfiguration(), keysFor: () => source, clock: () => issuer.now });
    const token = await makeToken({ key: first, payload: makeClaims({ exp: nowMs / 1000 + 3600 }) });
    const verdict = await door.verify(token);
    issuer.now += keyLimits.refreshBeforeUseAfterMs;
    expect(door.verifyCached(token)).toBeUndefined();
    expect(await door.verify(token)).toBe(verdict);
    expect(door.verifyCached(token)).toBe(verdict);
  });

  it("ends with the keys when the issuer stays down for a day", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    const options = { configuration: makeConfiguration(), keysFor: () => source, clock: () => issuer.now, maxLifetimeMs: 1e12 };
    const door = createTokenDoor(options);
    const token = await makeToken({ key: first, payload: makeClaims({ exp: nowMs / 1000 + 1e6 }) });
    await door.verify(token);
    issuer.isDown = true;
    issuer.now += keyLimits.maxStaleMs;
    expect(await door.verify(token)).toMatchObject({ type: "verified" });
    issuer.now += 1;
    expect(door.verifyCached(token)).toBeUndefined();
    expect(await door.verify(token)).toMatchObject({ type: "refused", reason: "keys-unavailable" });
  });
});

describe("a token", () => {
  it("never causes a request to an address of its own, nor more than one fetch", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    const door = createTokenDoor({ configuration: makeConfiguration(), keysFor: () => source, clock: () => issuer.now });
    const headers = ["jku", "x5u", "jwk", "x5c"].map((member) => ({ alg: "ES256", kid: "first", [member]: "https://evil.test" }));
    for (const header of headers) expect(await door.verify(await makeToken({ key: first, header }))).toMatchObject({ type: "refused" });
    expect(issuer.requests).toEqual([]);
    for (const kid of ["../../dev/null", "https://evil.test", "__proto__"]) {
      expect(await door.verify(await makeToken({ key: first, header: { alg: "ES256", kid } }))).toMatchObject({ reason: "key-unknown" });
    }
    expect(issuer.requests).toEqual([`${issuerUrl}/.well-known/openid-configuration`, "https://issuer.test/keys"]);
  });

  it("of an unknown issuer, audience or age causes no fetch", async () => {
    const issuer = new FakeIssuer();
    const source = issuer.source();
    const door = createTokenDoor({ configuration: makeConfiguration(), keysFor: () => source, clock: () => issuer.now });
    for (const changes of [{ iss: "https://evil.test" }, { aud: "x" }, { exp: 1 }]) {
      expect(await door.verify(await makeToken({ key: first, payload: makeClaims(changes) }))).toMatchObject({ type: "refused" });
    }
    expect(issuer.requests).toEqual([]);
  });
});
