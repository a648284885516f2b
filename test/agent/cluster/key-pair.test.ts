import { createPublicKey, verify } from "node:crypto";
import type { JsonWebKey } from "node:crypto";
import { chmodSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openFileKeyPair, openSecretKeyPair, parseKeyPair } from "#agent/cluster/key-pair.ts";
import type { ClusterKeyPair } from "#agent/cluster/key-pair.ts";
import { codeOf } from "../apiserver/pool-maker.ts";
import { makeApi } from "./scripted-api.ts";
import type { ApiCall, ScriptedAnswer } from "./scripted-api.ts";
import { makeTemporaryDirectory } from "./temporary-directory.ts";

const directory = makeTemporaryDirectory();

/** RFC 8037 appendix A. */
const example = {
  kty: "OKP",
  crv: "Ed25519",
  d: "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
  x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
};

/** A Secret as an apiserver keeps it: an update with an old resourceVersion is a conflict. */
class StoredSecret {
  object: Record<string, unknown>;
  #version = 1;

  constructor(data: Readonly<Record<string, string>> | undefined) {
    this.object = {
      kind: "Secret",
      metadata: { name: "key", labels: { app: "sallyport" }, resourceVersion: "1" },
      type: "Opaque",
      ...(data === undefined ? {} : { data }),
    };
  }

  answer = (call: ApiCall): ScriptedAnswer => {
    if (call.method === "GET") return { status: 200, object: this.object };
    const metadata = call.object?.["metadata"] as { readonly resourceVersion: string }; // the code under test sends what it read
    if (metadata.resourceVersion !== String(this.#version)) return { status: 409, object: { reason: "Conflict" } };
    this.#version += 1;
    this.object = { ...call.object, metadata: { ...metadata, resourceVersion: String(this.#version) } };
    return { status: 200, object: this.object };
  };
}

async function signsAs(pair: ClusterKeyPair, publicKey: JsonWebKey): Promise<boolean> {
  const bytes = Buffer.from("statement");
  return verify(null, bytes, createPublicKey({ key: publicKey, format: "jwk" }), await pair.sign(bytes));
}

describe("a key pair", () => {
  it("has the public key, thumbprint and signature of RFC 8037's example", async () => {
    const pair = parseKeyPair(JSON.stringify(example), "a test");
    expect(pair.publicJwk).toEqual({ kty: "OKP", crv: "Ed25519", x: example.x });
    expect(pair.thumbprint).toBe("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    const signed = await pair.sign(Buffer.from("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"));
    expect(Buffer.from(signed).toString("base64url")).toBe(
      "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
  });

  it.each([
    ["text", "x"],
    ["an empty object", "{}"],
    ["a public key", JSON.stringify({ kty: "OKP", crv: "Ed25519", x: example.x })],
    ["a public half of another key", JSON.stringify({ ...example, x: "A".repeat(43) })],
    ["another curve", JSON.stringify({ ...example, crv: "X25519" })],
    ["a symmetric key", JSON.stringify({ kty: "oct", k: "AAAA" })],
  ])("that is %s is refused, without a part of it in the message", (_what, text) => {
    expect(() => parseKeyPair(text, "the place")).toThrow(
      expect.objectContaining({ code: "CONFIGURATION_INVALID", message: expect.not.stringContaining(example.d) as string }),
    );
  });
});

describe("the Secret", () => {
  it("that is empty gets a key, and keeps everything else that it has", async () => {
    const secret = new StoredSecret({ other: "eA==" });
    const { api, calls } = makeApi(secret.answer);
    const pair = await openSecretKeyPair(api, "sallyport-system", "key");
    expect(await signsAs(pair, { ...pair.publicJwk })).toBe(true);
    expect(calls.map(({ method, target }) => `${method} ${target}`)).toEqual([
      "GET /api/v1/namespaces/sallyport-system/secrets/key",
      "PUT /api/v1/namespaces/sallyport-system/secrets/key",
    ]);
    expect(secret.object).toMatchObject({
      type: "Opaque",
      metadata: { labels: { app: "sallyport" } },
      data: { other: "eA==", "key.jwk": expect.any(String) as string },
    });
  });

  it("that has a key is only read", async () => {
    const secret = new StoredSecret({ "key.jwk": Buffer.from(JSON.stringify(example)).toString("base64") });
    const { api, calls } = makeApi(secret.answer);
    expect([(await openSecretKeyPair(api, "a", "b")).publicJwk.x, calls.length]).toEqual([example.x, 1]);
  });

  it("gives replicas that start together one key", async () => {
    const secret = new StoredSecret(undefined);
    const pairs = await Promise.all(Array.from({ length: 5 }, async () => openSecretKeyPair(makeApi(secret.answer).api, "a", "b")));
    expect(new Set(pairs.map(({ thumbprint }) => thumbprint)).size).toBe(1);
  });

  it("with a key that cannot be read is never overwritten", async () => {
    const secret = new StoredSecret({ "key.jwk": Buffer.from("garbage").toString("base64") });
    const { api, calls } = makeApi(secret.answer);
    expect([await codeOf(openSecretKeyPair(api, "a", "b")), calls.length]).toEqual(["CONFIGURATION_INVALID", 1]);
  });

  it.each([
    ["is missing", { status: 404 }],
    ["may not be read", { status: 403 }],
  ])("that %s is said", async (_what, answer) => {
    expect(await codeOf(openSecretKeyPair(makeApi(() => answer).api, "a", "b"))).toBe("CONFIGURATION_INVALID");
  });

  it("that always conflicts ends the attempt", async () => {
    const { api } = makeApi((call) => (call.method === "GET" ? { status: 200, object: { metadata: {} } } : { status: 409 }));
    expect(await codeOf(openSecretKeyPair(api, "a", "b"))).toBe("CONFIGURATION_INVALID");
  });
});

describe("the key file", () => {
  it("is made once, for its owner only, and read from then on", async () => {
    const path = join(directory.path, "made.jwk");
    const pairs = await Promise.all(Array.from({ length: 5 }, async () => openFileKeyPair(path)));
    expect(new Set(pairs.map(({ thumbprint }) => thumbprint)).size).toBe(1);
    expect([statSync(path).mode & 0o777, readdirSync(directory.path)]).toEqual([0o600, ["made.jwk"]]);
    const before = readFileSync(path, "utf8");
    await openFileKeyPair(path);
    expect(readFileSync(path, "utf8")).toBe(before);
  });

  it("that others may read is refused", async () => {
    const path = directory.write("open.jwk", JSON.stringify(example));
    chmodSync(path, 0o640);
    expect(await codeOf(openFileKeyPair(path))).toBe("CONFIGURATION_INVALID");
  });

  it("in a directory that is not there is said", async () => {
    expect(await codeOf(openFileKeyPair(join(directory.path, "none", "key.jwk")))).toBe("CONFIGURATION_INVALID");
  });
});
