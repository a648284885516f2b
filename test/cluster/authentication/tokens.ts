import { doorLimits } from "#identity/limits.ts";
import type { SigningKey } from "#test/identity/makers.ts";

/** Keys of the corpus; every issuer publishes all but `unpublished`. */
export interface CorpusKeys {
  readonly first: SigningKey;
  readonly rsa: SigningKey;
  readonly probabilistic: SigningKey;
  readonly wide: SigningKey;
  /** Two published keys of one kid. */
  readonly twin: SigningKey;
  /** Published for encryption. */
  readonly encryption: SigningKey;
  readonly unpublished: SigningKey;
}

/** One token of the corpus: what differs from a sound one. */
export interface TokenCase {
  readonly name: string;
  /** Claims in place of the default ones; undefined leaves one out, a function gets the time in seconds and the issuers' origin. */
  readonly claims?: Readonly<Record<string, unknown>> | ((seconds: number, origin: string) => Readonly<Record<string, unknown>>);
  /** The payload's text made from the default claims' text. */
  readonly payload?: (text: string) => string | Uint8Array;
  readonly header?: Readonly<Record<string, unknown>> | string;
  readonly key?: keyof CorpusKeys;
  /** The token, written in another way. */
  readonly respell?: (token: string) => string;
  /** The apiserver accepts it only after it has fetched something in the background. */
  readonly isSlow?: boolean;
  /** The line of docs/security.md because of which the door refuses what the apiserver accepts. */
  readonly stricter?: string;
}

const header = { alg: "ES256", kid: "first" };

/** Tokens in many forms, tried against one authenticator. */
export const baseTokens: readonly TokenCase[] = [
  { name: "plain", claims: {} },
  { name: "RS256", key: "rsa" },
  { name: "PS256", key: "probabilistic" },
  { name: "ES384", key: "wide" },
  { name: "an unpublished key", key: "unpublished" },
  { name: "an unpublished key under a published kid", key: "unpublished", header },
  { name: "no kid", header: { alg: "ES256" }, stricter: "kid" },
  { name: "an empty kid", header: { alg: "ES256", kid: "" }, stricter: "kid" },
  { name: "a kid of two keys", key: "twin", stricter: "kid" },
  { name: "a kid that is a number", header: { alg: "ES256", kid: 1 } },
  { name: "another kid", header: { alg: "ES256", kid: "rsa" } },
  { name: "a key for encryption", key: "encryption", stricter: "key-use" },
  { name: "alg none", header: { alg: "none", kid: "first" } },
  { name: "alg HS256", header: { alg: "HS256", kid: "first" } },
  { name: "alg of another type of key", header: { alg: "RS256", kid: "first" } },
  { name: "no alg", header: { kid: "first" } },
  { name: "typ at+jwt", header: { ...header, typ: "at+jwt" } },
  { name: "typ logout+jwt", header: { ...header, typ: "logout+jwt" }, stricter: "typ" },
  { name: "crit", header: { ...header, crit: ["exp"] } },
  { name: "b64 false", header: { ...header, crit: ["b64"], b64: false } },
  { name: "cty", header: { ...header, cty: "JWT" }, stricter: "header" },
  { name: "jku", header: { ...header, jku: "https://127.0.0.1:1/keys" }, stricter: "header" },
  { name: "two kid members", header: '{"alg":"ES256","kid":"first","kid":"first"}' },
  { name: "a header that is an array", header: "[]" },
  { name: "two parts", respell: (token) => token.slice(0, token.lastIndexOf(".")) },
  { name: "an empty signature", respell: (token) => token.slice(0, token.lastIndexOf(".") + 1) },
  { name: "five parts", respell: (token) => `${token}.a.b` },
  { name: "padding", respell: (token) => `${token}==` },
  { name: "an unused bit", respell: changeUnusedBit, stricter: "spelling" },
  { name: "a changed signature", respell: (token) => `${token.slice(0, -6)}AAAA${token.slice(-2)}` },
  { name: "expired", claims: (seconds) => ({ exp: seconds - 30 }) },
  { name: "no exp", claims: { exp: undefined } },
  { name: "exp null", claims: { exp: null } },
  { name: "exp zero", claims: { exp: 0 } },
  { name: "exp as a text", claims: (seconds) => ({ exp: String(seconds + 600) }), stricter: "claim-types" },
  { name: "exp as a word", claims: { exp: "tomorrow" } },
  { name: "exp with a fraction", claims: (seconds) => ({ exp: seconds + 600.5 }) },
  { name: "nbf a little ahead", claims: (seconds) => ({ nbf: seconds + 30 }) },
  { name: "nbf far ahead", claims: (seconds) => ({ nbf: seconds + 120 }) },
  { name: "nbf null", claims: { nbf: null }, stricter: "claim-types" },
  { name: "nbf as a word", claims: { nbf: "now" } },
  { name: "iat a little ahead", claims: (seconds) => ({ iat: seconds + 30 }) },
  { name: "iat far ahead", claims: (seconds) => ({ iat: seconds + 120 }), stricter: "iat" },
  { name: "no iat", claims: { iat: undefined }, stricter: "iat" },
  { name: "iat as a word", claims: { iat: "now" } },
  { name: "a long life", claims: (seconds) => ({ exp: seconds + 2 * 24 * 3600 }), stricter: "lifetime" },
  { name: "no sub that nobody maps", claims: { sub: undefined } },
  { name: "sub a number", claims: { sub: 1 } },
  { name: "sub empty", claims: { sub: "" }, stricter: "sub" },
  { name: "sub null", claims: { sub: null }, stricter: "sub" },
  { name: "another audience", claims: { aud: "cluster-b" } },
  { name: "audiences of another type", claims: { aud: 7 } },
  { name: "our audience among others", claims: { aud: ["x", "cluster-a"] } },
  { name: "null among the audiences", claims: { aud: [null, "cluster-a"] }, stricter: "claim-types" },
  { name: "azp of another client for us alone", claims: { azp: "x" } },
  { name: "azp of another client", claims: { aud: ["x", "cluster-a"], azp: "x" }, stricter: "azp" },
  { name: "an issuer with a slash", payload: (text) => text.replace('base"', 'base/"') },
  { name: "an issuer in another case", payload: (text) => text.replace('base"', 'Base"') },
  { name: "no issuer", claims: { iss: undefined } },
  { name: "a nonce that is a number", claims: { nonce: 7 } },
  { name: "at_hash that is a number", claims: { at_hash: 7 } },
  { name: "a nonce that is null", claims: { nonce: null } },
  { name: "sub twice", payload: (text) => text.replace("{", '{"sub":"mallory",'), stricter: "json" },
  { name: "a lone surrogate", payload: (text) => text.replace('"alice"', String.raw`"\ud800"`), stricter: "json" },
  {
    name: "invalid UTF-8",
    payload: (text) => new Uint8Array([...new TextEncoder().encode(text.slice(0, -1)), 0x2c, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]),
    stricter: "json",
  },
  { name: "deep nesting", payload: (text) => text.replace("{", `{"deep":${"[".repeat(50)}${"]".repeat(50)},`), stricter: "json" },
  { name: "a long array", claims: { long: Array.from({ length: 1001 }, () => 1) }, stricter: "json" },
  { name: "a byte order mark", payload: (text) => `\ufeff${text}` },
  { name: "text after the object", payload: (text) => `${text}{}` },
  { name: "an array", payload: () => "[]" },
  { name: "__proto__", payload: (text) => text.replace("{", '{"__proto__":{"sub":"root"},') },
  { name: "EXP before exp", payload: (text) => text.replace("{", '{"EXP":1,'), stricter: "name-case" },
  { name: "EXP after exp", claims: (seconds) => ({ EXP: seconds + 300 }), stricter: "name-case" },
  { name: "EXP after exp and in the past", claims: { EXP: 1 } },
  { name: "a huge token", claims: { filler: "x".repeat(doorLimits.maxTokenBytes) }, stricter: "size" },
  {
    name: "names for claims elsewhere that nobody maps",
    claims: { _claim_names: { phone: "a" }, _claim_sources: { a: { endpoint: "https://127.0.0.1:1" } } },
  },
  { name: "names without sources", claims: { groups: undefined, _claim_names: { groups: "a" } } },
  {
    name: "groups elsewhere where nobody answers",
    claims: { groups: undefined, _claim_names: { groups: "a" }, _claim_sources: { a: { endpoint: "https://127.0.0.1:1" } } },
  },
  {
    name: "groups elsewhere",
    claims: (_, origin) => ({ groups: undefined, _claim_names: { groups: "a" }, _claim_sources: { a: { endpoint: `${origin}/claims` } } }),
    isSlow: true,
    stricter: "distributed-claims",
  },
  { name: "a username with a control character", claims: { sub: "al\u0007ice" } },
  { name: "a username beyond ASCII", claims: { sub: "боб@пример.рф" } },
  { name: "a username that looks reserved", claims: { sub: "system:admin" } },
];

/** Sets the lowest bit of the last character, which a 64-byte signature does not use. */
function changeUnusedBit(token: string): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return token.slice(0, -1) + alphabet.charAt(alphabet.indexOf(token.slice(-1)) + 1);
}
