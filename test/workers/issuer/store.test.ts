import { env, runInDurableObject } from "cloudflare:test";
import { expect, test } from "vitest";
import type { TokenRequest } from "#workers/issuer/issued-token.ts";
import { issuerLimits } from "#workers/issuer/limits.ts";
import { IssuerStore } from "#workers/issuer/store.ts";

/** wrangler.toml's binding, whose type belongs to the Worker's own project. */
const issuers = (env as unknown as { readonly ISSUER: DurableObjectNamespace }).ISSUER;
const alice = { issuer: "https://login.example", subject: "alice" };
const bob = { issuer: "https://login.example", subject: "bob" };

function request(changes: Partial<TokenRequest> = {}): TokenRequest {
  const defaults = { issuer: "https://gateway.example/issuer", cluster: "one", audience: "one", owner: alice, username: "oidc:alice" };
  return { ...defaults, uid: "", groups: [], ...changes };
}

async function inStore(name: string, run: (store: IssuerStore, wait: (ms: number) => void) => void): Promise<void> {
  await runInDurableObject(issuers.getByName(name), (_object, state) => {
    let nowMs = 1_800_000_000_000;
    run(new IssuerStore(state.storage.sql, () => nowMs), (ms) => void (nowMs += ms));
  });
}

test("a token is its owner's to see and to revoke, and nobody else's", () =>
  inStore("owner", (store) => {
    store.addToken("a", request());
    expect(store.tokensOf(bob)).toEqual([]);
    expect(store.tokensOf({ ...alice, issuer: "https://other.example" })).toEqual([]);
    expect(store.revoke("a", bob)).toBeUndefined();
    expect(store.revoked("one")).toEqual([]);
    expect(store.tokensOf(alice).map(({ id }) => id)).toEqual(["a"]);
    expect(store.revoke("a", alice)).toBe("one");
    expect(store.revoke("a", alice)).toBeUndefined();
    expect(store.tokensOf(alice)).toEqual([]);
  }));

test("a revoked token is told of for its cluster alone, until it would have ended anyway and a minute more", () =>
  inStore("revoked", (store, wait) => {
    store.addToken("a", request());
    store.revoke("a", alice);
    expect(store.revoked("two")).toEqual([]);
    wait(issuerLimits.tokenMs + 59_000);
    expect(store.revoked("one")).toEqual(["a"]);
    wait(2_000);
    expect(store.revoked("one")).toEqual([]);
  }));

test("one person has so many live tokens of one cluster and no more; one that ends or is revoked makes room", () =>
  inStore("many", (store, wait) => {
    for (let index = 0; index < issuerLimits.maxLiveTokens; index++) expect(store.addToken(`a${index}`, request())).toBeDefined();
    expect(store.addToken("more", request())).toBeUndefined();
    expect(store.addToken("of bob", request({ owner: bob }))).toBeDefined();
    expect(store.addToken("for two", request({ cluster: "two" }))).toBeDefined();
    store.revoke("a0", alice);
    expect(store.addToken("after a revocation", request())).toBeDefined();
    wait(issuerLimits.tokenMs);
    expect(store.addToken("after all have ended", request())).toBeDefined();
    expect(store.tokensOf(alice).map(({ id }) => id)).toEqual(["after all have ended"]);
  }));
