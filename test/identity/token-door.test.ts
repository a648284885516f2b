import { beforeAll, describe, expect, it } from "vitest";
import type { KeySource } from "#identity/key-source.ts";
import { doorLimits } from "#identity/limits.ts";
import { createTokenDoor } from "#identity/token-door.ts";
import type { TokenRefusalReason } from "#identity/token-verdict.ts";
import { encodeBase64Url } from "#test/identity/base64url.ts";
import {
  issuerUrl,
  makeClaims,
  makeConfiguration,
  makeConfigurationText,
  makeDoor,
  makeKey,
  makeStaticKeys,
  makeToken,
  nowMs,
  type SigningKey,
} from "#test/identity/makers.ts";

let key: SigningKey;
let otherKey: SigningKey;
const seconds = nowMs / 1000;

beforeAll(async () => {
  key = await makeKey();
  otherKey = await makeKey("key-2");
});

async function verify(token: string): Promise<unknown> {
  return await makeDoor([key, otherKey]).verify(token);
}

describe("a sound token", () => {
  it("becomes the identity that the claim mappings say", async () => {
    const token = await makeToken({ key, payload: makeClaims({ jti: "t-1" }) });
    expect(await verify(token)).toEqual({
      type: "verified",
      identity: {
        username: "oidc:alice",
        uid: "",
        groups: ["oidc:dev"],
        extra: { "authentication.kubernetes.io/credential-id": ["JTI=t-1"] },
      },
      issuer: issuerUrl,
      subject: "alice",
      tokenId: "t-1",
      issuedAtMs: nowMs - 10_000,
      expiresAtMs: nowMs + 600_000,
    });
  });

  it.each(["ES256", "ES384", "RS256", "PS256"] as const)("may be signed with %s", async (algorithm) => {
    const signer = await makeKey("k", algorithm);
    expect(await makeDoor([signer]).verify(await makeToken({ key: signer }))).toMatchObject({ type: "verified" });
  });

  it.each([
    ["no typ", { alg: "ES256", kid: "key-1" }],
    ["typ at+jwt", { alg: "ES256", kid: "key-1", typ: "at+jwt" }],
    ["typ in another case", { alg: "ES256", kid: "key-1", typ: "jwt" }],
  ])("may have %s", async (_, header) => {
    expect(await verify(await makeToken({ key, header }))).toMatchObject({ type: "verified" });
  });

  it("may leave out the kid where the issuer has one key only", async () => {
    const token = await makeToken({ key, header: { alg: "ES256" } });
    expect(await makeDoor([key]).verify(token)).toMatchObject({ type: "verified" });
  });

  it("may carry a member named __proto__ without any effect", async () => {
    const payload = JSON.stringify(makeClaims()).replace("{", '{"__proto__":{"groups":["admins"],"username":"root"},');
    expect(await verify(await makeToken({ key, payload }))).toMatchObject({ identity: { username: "oidc:alice", groups: ["oidc:dev"] } });
  });
});

describe("a malformed header or form", () => {
  const header = (changes: object): string => JSON.stringify({ alg: "ES256", kid: "key-1", ...changes });
  const rows: readonly (readonly [string, TokenRefusalReason, string])[] = [
    ["alg none", "algorithm-refused", header({ alg: "none" })],
    ["alg None", "algorithm-refused", header({ alg: "None" })],
    ["alg nOnE", "algorithm-refused", header({ alg: "nOnE" })],
    ["alg empty", "algorithm-refused", header({ alg: "" })],
    ["alg missing", "algorithm-refused", '{"kid":"key-1"}'],
    ["alg as an array", "algorithm-refused", header({ alg: ["ES256"] })],
    ["alg HS256", "algorithm-refused", header({ alg: "HS256" })],
    ["alg EdDSA", "algorithm-refused", header({ alg: "EdDSA" })],
    ["crit b64", "header-refused", header({ crit: ["b64"], b64: true })],
    ["an unknown crit", "header-refused", header({ crit: ["exp"] })],
    ["b64 without crit", "header-refused", header({ b64: false })],
    ["cty JWT", "header-refused", header({ cty: "JWT" })],
    ["jku", "header-refused", header({ jku: "https://evil.test/keys" })],
    ["x5u", "header-refused", header({ x5u: "https://evil.test/keys" })],
    ["jwk", "header-refused", header({ jwk: { kty: "EC" } })],
    ["x5c", "header-refused", header({ x5c: ["AAAA"] })],
    ["zip", "header-refused", header({ zip: "DEF" })],
    ["kid as an array", "header-refused", header({ kid: ["key-1"] })],
    ["kid as a number", "header-refused", header({ kid: 1 })],
    ["kid of another path", "key-unknown", header({ kid: "../../dev/null" })],
    ["kid __proto__", "key-unknown", header({ kid: "__proto__" })],
    ["no kid with two keys", "key-unknown", '{"alg":"ES256"}'],
    ["typ logout+jwt", "token-type-refused", header({ typ: "logout+jwt" })],
    ["typ dpop+jwt", "token-type-refused", header({ typ: "dpop+jwt" })],
    ["typ as a number", "token-type-refused", header({ typ: 1 })],
    ["two alg members", "token-malformed", '{"alg":"ES256","alg":"none","kid":"key-1"}'],
    ["an array as header", "token-malformed", "[]"],
    ["a header that is no JSON", "token-malformed", "{alg:ES256}"],
    ["a byte order mark", "token-malformed", `\ufeff${header({})}`],
  ];

  it.each(rows)("%s is refused as %s", async (_, reason, text) => {
    expect(await verify(await makeToken({ key, header: text }))).toMatchObject({ type: "refused", reason });
  });

  const spellings: readonly (readonly [string, TokenRefusalReason, (token: string) => string])[] = [
    ["two parts", "token-malformed", (token) => token.slice(0, token.lastIndexOf("."))],
    ["an empty signature", "token-malformed", (token) => token.slice(0, token.lastIndexOf(".") + 1)],
    ["four parts", "token-malformed", (token) => `${token}.x`],
    ["five parts", "token-encrypted", (token) => `${token}.x.y`],
    ["a line end in the signature", "token-malformed", (token) => `${token.slice(0, -4)}\n${token.slice(-4)}`],
    ["a trailing space", "token-malformed", (token) => `${token} `],
    ["padding", "token-malformed", (token) => `${token}==`],
    ["standard base64", "token-malformed", (token) => `${token.slice(0, -1)}+`],
    ["a changed unused last bit", "token-malformed", changeUnusedBit],
    ["JSON serialization", "token-malformed", (token) => JSON.stringify({ payload: token.split(".")[1], signatures: [] })],
    ["nothing", "token-malformed", () => ""],
  ];

  it.each(spellings)("%s is refused as %s", async (_, reason, change) => {
    expect(await verify(change(await makeToken({ key })))).toMatchObject({ type: "refused", reason });
  });

  it("an encrypted token with a bomb for a decoder is refused before anything is parsed", async () => {
    const bomb = encodeBase64Url(
      new TextEncoder().encode(JSON.stringify({ alg: "PBES2-HS256+A128KW", enc: "A128GCM", zip: "DEF", p2c: 2 ** 31 })),
    );
    expect(await verify(`${bomb}.a.b.c.d`)).toMatchObject({ type: "refused", reason: "token-encrypted" });
  });

  it("more than 16 KiB is refused before any cryptography", async () => {
    const token = await makeToken({ key, payload: makeClaims({ filler: "x".repeat(doorLimits.maxTokenBytes) }) });
    expect(await verify(token)).toMatchObject({ type: "refused", reason: "token-too-large" });
  });
});

describe("a bad signature", () => {
  it("of another key is refused", async () => {
    const stranger = await makeKey("key-1");
    expect(await verify(await makeToken({ key: stranger }))).toMatchObject({ type: "refused", reason: "signature-invalid" });
  });

  it("over another payload is refused", async () => {
    const [header, , signature] = (await makeToken({ key })).split(".");
    const payload = encodeBase64Url(new TextEncoder().encode(JSON.stringify(makeClaims({ sub: "root" }))));
    expect(await verify(`${header}.${payload}.${signature}`)).toMatchObject({ type: "refused", reason: "signature-invalid" });
  });

  it("with HMAC over the public key is refused, whatever spelling of the key is the secret", async () => {
    const hmacToken = async (secret: string): Promise<string> => {
      const text = `${encodeBase64Url(new TextEncoder().encode('{"alg":"HS256","kid":"key-1"}'))}.${encodeBase64Url(new TextEncoder().encode(JSON.stringify(makeClaims())))}`;
      const imported = await crypto.subtle.importKey("raw", new TextEncoder().encode(secret), { name: "HMAC", hash: "SHA-256" }, false, [
        "sign",
      ]);
      return `${text}.${encodeBase64Url(new Uint8Array(await crypto.subtle.sign("HMAC", imported, new TextEncoder().encode(text))))}`;
    };
    expect(await verify(await hmacToken(JSON.stringify(key.jwk)))).toMatchObject({ reason: "algorithm-refused" });
    expect(await verify(await hmacToken(String(key.jwk["x"])))).toMatchObject({ reason: "algorithm-refused" });
  });

  it("of an algorithm that the key does not declare is refused", async () => {
    const signer = await makeKey("k", "PS256");
    const keys = makeStaticKeys([{ ...signer.jwk, alg: "RS256" }]);
    const door = createTokenDoor({ configuration: makeConfiguration(), keysFor: () => keys, clock: () => nowMs });
    expect(await door.verify(await makeToken({ key: signer }))).toMatchObject({ reason: "key-unknown" });
  });

  it("of ES256 under a P-384 key is refused", async () => {
    const signer = await makeKey("k", "ES384");
    const token = await makeToken({ key: signer, header: { alg: "ES256", kid: "k" } });
    expect(await makeDoor([signer]).verify(token)).toMatchObject({ reason: "key-unknown" });
  });

  it("is refused where two published keys have the same kid", async () => {
    const twin = await makeKey("key-1");
    expect(await makeDoor([key, twin]).verify(await makeToken({ key }))).toMatchObject({ reason: "key-unknown" });
  });
});

describe("claims", () => {
  const rows: readonly (readonly [string, TokenRefusalReason, Readonly<Record<string, unknown>>])[] = [
    ["another audience", "audience-mismatch", { aud: "cluster-b" }],
    ["a prefix of the audience", "audience-mismatch", { aud: "cluster-" }],
    ["more than the audience", "audience-mismatch", { aud: "cluster-a2" }],
    ["an empty list of audiences", "audience-mismatch", { aud: [] }],
    ["no audience", "claims-malformed", { aud: undefined }],
    ["a number among the audiences", "claims-malformed", { aud: ["cluster-a", 1] }],
    ["several audiences and another client", "authorized-party-mismatch", { aud: ["cluster-a", "x"], azp: "x" }],
    ["several audiences and a client that is no text", "authorized-party-mismatch", { aud: ["cluster-a", "x"], azp: 1 }],
    ["another issuer", "issuer-unknown", { iss: "https://evil.test" }],
    ["the issuer with a slash", "issuer-unknown", { iss: `${issuerUrl}/` }],
    ["the issuer on http", "issuer-unknown", { iss: issuerUrl.replace("https", "http") }],
    ["the issuer in another case", "issuer-unknown", { iss: issuerUrl.toUpperCase() }],
    ["the issuer named __proto__", "issuer-unknown", { iss: "__proto__" }],
    ["no issuer", "claims-malformed", { iss: undefined }],
    ["no subject", "claims-malformed", { sub: undefined }],
    ["an empty subject", "claims-malformed", { sub: "" }],
    ["no exp", "claims-malformed", { exp: undefined }],
    ["exp as a text", "claims-malformed", { exp: String(seconds + 600) }],
    ["exp null", "claims-malformed", { exp: null }],
    ["exp 1e300", "claims-malformed", { exp: 1e300 }],
    ["a negative exp", "claims-malformed", { exp: -1 }],
    ["exp in the past", "token-expired", { exp: seconds - 1 }],
    ["nbf too far ahead", "token-not-yet-valid", { nbf: seconds + 61 }],
    ["nbf as a text", "claims-malformed", { nbf: "0" }],
    ["no iat", "claims-malformed", { iat: undefined }],
    ["iat too far ahead", "issued-in-future", { iat: seconds + 61 }],
    ["a lifetime above the limit", "lifetime-too-long", { iat: seconds - 10, exp: seconds + 24 * 3600 }],
    ["a nonce that is no text", "claims-malformed", { nonce: 1 }],
    ["ISS beside iss", "claims-malformed", { ISS: "https://evil.test" }],
    ["Exp beside exp", "claims-malformed", { Exp: seconds - 1 }],
    ["a Kelvin sign in a folded name", "claims-malformed", { "i\u017fs": "x" }],
    [
      "groups elsewhere",
      "distributed-claims",
      { groups: undefined, _claim_names: { groups: "a" }, _claim_sources: { a: { endpoint: "https://evil.test" } } },
    ],
    ["a source that is not there", "claims-malformed", { _claim_names: { groups: "a" }, _claim_sources: {} }],
  ];

  it.each(rows)("with %s are refused as %s", async (_, reason, changes) => {
    expect(await verify(await makeToken({ key, payload: makeClaims(changes) }))).toMatchObject({ type: "refused", reason });
  });

  it.each([
    ["clocks that differ by a minute", { iat: seconds + 60, nbf: seconds + 60 }],
    ["several audiences and one of them as the client", { aud: ["x", "cluster-a"], azp: "cluster-a" }],
    ["several audiences and no client", { aud: ["x", "cluster-a"] }],
    ["one audience and another client", { aud: "cluster-a", azp: "mobile" }],
    ["groups elsewhere that are here too", { _claim_names: { groups: "a" }, _claim_sources: { a: {} } }],
    ["exactly the longest lifetime", { iat: seconds, exp: seconds + 24 * 3600 }],
  ])("with %s are accepted", async (_, changes) => {
    expect(await verify(await makeToken({ key, payload: makeClaims(changes) }))).toMatchObject({ type: "verified" });
  });

  const texts: readonly (readonly [string, string | Uint8Array])[] = [
    ["sub twice", JSON.stringify(makeClaims()).replace("{", '{"sub":"root",')],
    ["groups twice", JSON.stringify(makeClaims()).replace("{", '{"groups":["admins"],')],
    ["an escaped spelling of aud", JSON.stringify(makeClaims()).replace("{", String.raw`{"\u0061ud":"cluster-b",`)],
    ["NaN", JSON.stringify(makeClaims()).replace(/"exp":\d+/, '"exp":NaN')],
    ["1e999", JSON.stringify(makeClaims()).replace(/"exp":\d+/, '"exp":1e999')],
    ["a lone surrogate", JSON.stringify(makeClaims()).replace("alice", String.raw`\ud800`)],
    ["a byte order mark", `\ufeff${JSON.stringify(makeClaims())}`],
    ["text after the object", `${JSON.stringify(makeClaims())} {}`],
    ["an array", "[]"],
    ["null", "null"],
    ["invalid UTF-8", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ["deep nesting", `{"a":${"[".repeat(200)}${"]".repeat(200)}}`],
    ["an array of 1001 elements", JSON.stringify(makeClaims({ groups: Array.from({ length: 1001 }, () => "g") }))],
  ];

  it.each(texts)("with %s are refused as malformed", async (_, payload) => {
    expect(await verify(await makeToken({ key, payload }))).toMatchObject({ type: "refused", reason: "token-malformed" });
  });
});

describe("two issuers", () => {
  const second = "https://second.test";
  const text = `${makeConfigurationText()}
- issuer: {url: "${second}", audiences: [cluster-a]}
  claimMappings: {username: {claim: sub, prefix: "second:"}}
`;

  it("map the same subject to different users, and neither can sign for the other", async () => {
    const [first, other] = [makeStaticKeys([key.jwk]), makeStaticKeys([otherKey.jwk])];
    const configuration = makeConfiguration(text);
    const door = createTokenDoor({ configuration, keysFor: (url) => (url === second ? other : first), clock: () => nowMs });
    expect(await door.verify(await makeToken({ key }))).toMatchObject({ identity: { username: "oidc:alice" } });
    expect(await door.verify(await makeToken({ key: otherKey, payload: makeClaims({ iss: second }) }))).toMatchObject({
      identity: { username: "second:alice", groups: [] },
    });
    expect(await door.verify(await makeToken({ key: otherKey }))).toMatchObject({ type: "refused", reason: "key-unknown" });
    const crossed = await makeToken({ key, header: { alg: "ES256", kid: "key-2" }, payload: makeClaims({ iss: second }) });
    expect(await door.verify(crossed)).toMatchObject({ type: "refused", reason: "signature-invalid" });
  });

  it("without keys for an issuer its tokens are refused", async () => {
    const door = createTokenDoor({ configuration: makeConfiguration(), keysFor: () => undefined, clock: () => nowMs });
    expect(await door.verify(await makeToken({ key }))).toMatchObject({ type: "refused", reason: "keys-unavailable" });
  });
});

describe("the door's answers", () => {
  it("never hold a value of the token", async () => {
    const secret = "s3cr3t-value";
    const tokens = [
      await makeToken({ key, payload: makeClaims({ aud: secret, sub: secret }) }),
      await makeToken({ key, payload: makeClaims({ iss: secret }) }),
      await makeToken({ key, header: { alg: secret, kid: secret } }),
      await makeToken({ key, payload: makeClaims({ groups: { a: secret } }) }),
    ];
    for (const token of tokens) expect(JSON.stringify(await verify(token))).not.toContain(secret);
  });

  it("tell a stranger's token nothing about whether the user exists", async () => {
    const stranger = await makeKey("key-1");
    const known = await verify(await makeToken({ key: stranger, payload: makeClaims({ sub: "alice" }) }));
    const unknown = await verify(await makeToken({ key: stranger, payload: makeClaims({ sub: "nobody" }) }));
    expect(known).toEqual(unknown);
  });

  it("refuse when a part of the door fails", async () => {
    const failing = () => {
      throw new RangeError("a fault");
    };
    const door = createTokenDoor({ configuration: makeConfiguration(), keysFor: failing, clock: () => nowMs });
    expect(await door.verify(await makeToken({ key }))).toMatchObject({ type: "refused", reason: "internal" });
  });
});

describe("a repeated token", () => {
  it("is answered without a promise, until it expires", async () => {
    let now = nowMs;
    const door = makeDoor([key], { clock: () => now });
    const token = await makeToken({ key });
    expect(door.verifyCached(token)).toBeUndefined();
    const verdict = await door.verify(token);
    expect(door.verifyCached(token)).toBe(verdict);
    now = nowMs + 600_001;
    expect(door.verifyCached(token)).toMatchObject({ type: "refused", reason: "token-expired" });
    expect(await door.verify(token)).toMatchObject({ type: "refused", reason: "token-expired" });
  });

  /** Keys of an issuer that change in the test's hand. */
  function changingKeys() {
    const known = makeStaticKeys([key.jwk]);
    const state = { generation: 1, isFresh: true, isUsable: true, isWithdrawn: false };
    const keys: KeySource = {
      generation: () => state.generation,
      isFresh: () => state.isFresh,
      isUsable: () => state.isUsable,
      refresh: async () => undefined,
      find: async (query) => {
        if (!state.isUsable) return { type: "unavailable", message: "too old" };
        const found = await known.find(query);
        return state.isWithdrawn || found.type !== "found" ? { type: "unknown" } : { ...found, generation: state.generation };
      },
      exportKeys: () => undefined,
    };
    return { state, door: createTokenDoor({ configuration: makeConfiguration(), keysFor: () => keys, clock: () => nowMs }) };
  }

  it.each([
    ["while its issuer's keys are fresh", true],
    ["when they have to be looked at again", false],
  ])("is refused once its key was withdrawn, %s", async (_name, isFresh) => {
    const { state, door } = changingKeys();
    const token = await makeToken({ key });
    expect(await door.verify(token)).toMatchObject({ type: "verified" });
    Object.assign(state, { generation: 2, isFresh, isWithdrawn: true });
    expect(door.verifyCached(token)).toBeUndefined();
    expect(await door.verify(token)).toMatchObject({ type: "refused", reason: "key-unknown" });
  });

  it("is refused once its issuer's keys are too old, and needs no second check while they are only to be looked at again", async () => {
    const { state, door } = changingKeys();
    const token = await makeToken({ key });
    const verdict = await door.verify(token);
    state.isFresh = false;
    expect(door.verifyCached(token)).toBeUndefined();
    expect(await door.verify(token)).toBe(verdict);
    state.isUsable = false;
    expect(await door.verify(token)).toMatchObject({ type: "refused", reason: "keys-unavailable" });
  });

  it("is not remembered when it was refused", async () => {
    const door = makeDoor([key]);
    const token = await makeToken({ key: otherKey });
    expect(await door.verify(token)).toMatchObject({ type: "refused" });
    expect(door.verifyCached(token)).toBeUndefined();
  });

  it("is forgotten when more tokens come than are kept", async () => {
    const door = makeDoor([key]);
    const first = await makeToken({ key });
    await door.verify(first);
    for (let index = 0; index < doorLimits.maxCachedVerdicts; index += 1) {
      await door.verify(await makeToken({ key, payload: makeClaims({ jti: String(index) }) }));
    }
    expect(door.verifyCached(first)).toBeUndefined();
  });
});

/** Sets the lowest bit of the last character, which a 64-byte signature does not use. */
function changeUnusedBit(token: string): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return token.slice(0, -1) + alphabet.charAt(alphabet.indexOf(token.slice(-1)) + 1);
}
