/** One AuthenticationConfiguration, given to a real kube-apiserver and to the token door: who is let in, and as whom. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseAuthenticationConfiguration } from "#identity/configuration.ts";
import { createRemoteKeys } from "#identity/keys.ts";
import { createTokenDoor, type TokenDoor } from "#identity/token-door.ts";
import { Authority } from "#test/cluster/harness/authority.ts";
import { type Cluster, startCluster } from "#test/cluster/harness/cluster.ts";
import { waitUntil } from "#test/cluster/harness/command.ts";
import { makeKey, makeToken } from "#test/identity/makers.ts";
import { brokenFiles, unsupportedExpressions, unsupportedFiles } from "./configurations.ts";
import { createTrustingFetch, type IssuerServer, startIssuers } from "./issuer-server.ts";
import { type IssuerCase, issuers } from "./issuers.ts";
import { type Review, Reviewer } from "./reviewer.ts";
import type { CorpusKeys, TokenCase } from "./tokens.ts";

const reloadMs = 70_000;
let folder: string;
let keys: CorpusKeys;
let server: IssuerServer;
let cluster: Cluster;
let reviewer: Reviewer;
let door: TokenDoor;
let configurationText: string;
let authorityPem: string;

beforeAll(async () => {
  keys = await makeKeys();
  cluster = await startCluster({ nodes: 0, apiservers: 1, authenticationConfiguration: emptyConfiguration });
  folder = path.join(cluster.folder, "issuers");
  const authority = await Authority.create(folder, "issuers");
  await authority.issue({ name: "issuer", commonName: "issuer", addresses: ["127.0.0.1"] });
  authorityPem = readFileSync(path.join(folder, "ca.crt"), "utf8");
  const { unpublished: _, ...published } = keys;
  const rows = Object.values(published).map((key) => key.jwk);
  server = await startIssuers(folder, { keys: [...rows, { ...keys.first.jwk, kid: "twin" }], signClaims });
  configurationText = writeConfiguration(issuers);
  const result = parseAuthenticationConfiguration(configurationText, "corpus");
  if (result.type === "invalid") throw new Error(JSON.stringify(result.problems));
  const fetch = createTrustingFetch(authorityPem);
  const sources = new Map(
    result.configuration.authenticators.map(({ issuer }) => [
      issuer.url,
      createRemoteKeys({
        issuerUrl: issuer.url,
        discoveryUrl: issuer.discoveryUrl,
        fetch,
        clock: Date.now,
        createDeadline: (ms) => AbortSignal.timeout(ms),
        flight: "shared",
      }),
    ]),
  );
  door = createTokenDoor({ configuration: result.configuration, keysFor: (url) => sources.get(url), clock: Date.now });
  const [apiserver] = cluster.apiservers;
  reviewer = new Reviewer(apiserver?.url ?? "", cluster.caPem);
  expect(await reload(configurationText)).toBe("taken");
});

afterAll(async () => {
  reviewer?.close();
  await server?.close();
  await cluster?.stop();
});

describe("a token", () => {
  it.each(issuers)("of the issuer $name means the same to the apiserver and to the door", async (issuer) => {
    const compared = [];
    const expected = [];
    for (const tokenCase of issuer.tokens) {
      const token = await signToken(issuer, tokenCase);
      if (tokenCase.isSlow === true) await waitUntil("the apiserver accepts the token", reloadMs, () => isAccepted(token));
      const [review, verdict] = [await reviewer.review(token), await door.verify(token)];
      const ours: Review = verdict.type === "verified" ? { type: "accepted", identity: verdict.identity } : { type: "refused" };
      compared.push({ token: tokenCase.name, apiserver: review, door: ours });
      const wanted = tokenCase.stricter === undefined ? review : { type: "refused" };
      expected.push({
        token: tokenCase.name,
        apiserver: tokenCase.stricter === undefined ? review : expect.objectContaining({ type: "accepted" }),
        door: wanted,
      });
    }
    expect(compared).toEqual(expected);
    // Each issuer shows both: somebody who is let in by both, or the comparison would be empty.
    expect(compared.some((row) => row.apiserver.type === "accepted" && row.door.type === "accepted")).toBe(true);
  });

  it("is compared in more than 300 pairs with a configuration", () => {
    expect(issuers.flatMap((issuer) => issuer.tokens).length).toBeGreaterThanOrEqual(300);
  });
});

describe("a configuration", () => {
  it.each(brokenFiles)("$name is refused by both", async ({ text }) => {
    const written = text(`${server.origin}/i/other`, authorityPem);
    expect(parseAuthenticationConfiguration(written, "broken").type).toBe("invalid");
    expect(await reload(written)).toBe("refused");
  });

  it.each(unsupportedFiles)("$name is refused by the door alone ($stricter)", async ({ text }) => {
    const written = text(`${server.origin}/i/other`, authorityPem);
    expect(parseAuthenticationConfiguration(written, "unsupported").type).toBe("invalid");
    expect(await reload(written)).toBe("taken");
  });

  it("with an expression that means something else here is refused by the door alone", async () => {
    const authenticators = unsupportedExpressions.map(({ expression }, index): IssuerCase => {
      const mappings = `    username: {expression: ${JSON.stringify(expression)}}`;
      return { name: `other-${"x".repeat(index)}`, mappings, tokens: [] };
    });
    expect(authenticators.map((issuer) => parseAuthenticationConfiguration(writeConfiguration([issuer]), "expression").type)).toEqual(
      authenticators.map(() => "invalid"),
    );
    expect(await reload(writeConfiguration(authenticators))).toBe("taken");
  });
});

describe("docs/security.md", () => {
  it("names every kind of refusal that the apiserver does not share, and no other", () => {
    const documented = [...readFileSync("docs/security.md", "utf8").matchAll(/^\| `([a-z-]+)` +\|/gm)].map(([, kind]) => String(kind));
    const tokens = issuers.flatMap((issuer) => issuer.tokens.flatMap((token) => token.stricter ?? []));
    const observed = [...tokens, ...[...unsupportedFiles, ...unsupportedExpressions].map((row) => row.stricter)];
    expect(documented.toSorted()).toEqual([...new Set(observed)].toSorted());
  });
});

const emptyConfiguration = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: []\n";

async function makeKeys(): Promise<CorpusKeys> {
  const encryption = await makeKey("encryption");
  return {
    first: await makeKey("first"),
    rsa: await makeKey("rsa", "RS256"),
    probabilistic: await makeKey("probabilistic", "PS256"),
    wide: await makeKey("wide", "ES384"),
    twin: await makeKey("twin"),
    encryption: { ...encryption, jwk: { ...encryption.jwk, use: "enc" } },
    unpublished: await makeKey("unpublished"),
  };
}

function writeConfiguration(cases: readonly IssuerCase[]): string {
  const authority = JSON.stringify(authorityPem);
  const entries = cases.map(({ name, audiences = ["cluster-a"], mappings, rules = "" }) => {
    const policy = audiences.length > 1 ? ", audienceMatchPolicy: MatchAny" : "";
    return `- issuer: {url: "${server.origin}/i/${name}", audiences: [${audiences.join(", ")}]${policy}, certificateAuthority: ${authority}}\n  claimMappings:\n${mappings}\n${rules}`;
  });
  return `apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n${entries.join("")}`;
}

async function signToken(issuer: IssuerCase, tokenCase: TokenCase): Promise<string> {
  const seconds = Math.floor(Date.now() / 1000);
  const changes = typeof tokenCase.claims === "function" ? tokenCase.claims(seconds, server.origin) : tokenCase.claims;
  const claims = {
    iss: `${server.origin}/i/${issuer.name}`,
    sub: "alice",
    aud: "cluster-a",
    iat: seconds - 10,
    exp: seconds + 600,
    email: "Alice@Example.com",
    email_verified: true,
    name: "Alice van Dijk",
    groups: ["dev", "ops"],
    scope: "read write",
    level: 3,
    nothing: null,
    team: { name: "infra", id: 1234567 },
    roles: [{ name: "infra" }, { name: "web" }],
    realm: { access: [{ name: "admin", scopes: ["read", "write"] }] },
    ...changes,
  };
  const text = JSON.stringify(claims);
  const key = keys[tokenCase.key ?? "first"];
  const token = await makeToken({
    key,
    header: tokenCase.header ?? { alg: key.algorithm, kid: key.keyId },
    payload: tokenCase.payload?.(text) ?? text,
  });
  return tokenCase.respell?.(token) ?? token;
}

/** The token with the groups of a user whose own token only says where they are. */
async function signClaims(origin: string): Promise<string> {
  const seconds = Math.floor(Date.now() / 1000);
  const payload = { iss: `${origin}/i/base`, sub: "alice", aud: "cluster-a", iat: seconds, exp: seconds + 600, groups: ["far"] };
  return await makeToken({ key: keys.first, payload });
}

async function isAccepted(token: string): Promise<boolean> {
  return (await reviewer.review(token)).type === "accepted";
}

/** Gives the apiserver a configuration and waits until it says in its log what became of it. */
async function reload(text: string): Promise<"taken" | "refused"> {
  const [taken, refused] = [count("reloaded authentication config"), count("to (?:load|validate) authentication config")];
  const file = path.join(cluster.folder, "authentication.yaml");
  writeFileSync(`${file}.next`, `${text}\n# ${taken + refused}\n`);
  renameSync(`${file}.next`, file);
  const isDone = async (): Promise<boolean> =>
    count("reloaded authentication config") > taken || count("to (?:load|validate) authentication config") > refused;
  await waitUntil("the apiserver has read the configuration", reloadMs, isDone);
  return count("reloaded authentication config") > taken ? "taken" : "refused";
}

function count(pattern: string): number {
  return cluster.logOf("apiserver1").match(new RegExp(pattern, "g"))?.length ?? 0;
}
