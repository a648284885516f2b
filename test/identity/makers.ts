import { encodeBase64Url } from "#test/identity/base64url.ts";
import { parseAuthenticationConfiguration, type AuthenticationConfiguration } from "#identity/configuration.ts";
import { createStaticKeys } from "#identity/keys.ts";
import type { KeySource } from "#identity/key-source.ts";
import { createTokenDoor, type TokenDoor } from "#identity/token-door.ts";

/** The moment at which the tests' tokens are verified, in milliseconds. */
export const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5);

export const issuerUrl = "https://issuer.test/realm";

/** A key pair of an issuer, with its published JWK. */
export interface SigningKey {
  readonly keyId: string;
  readonly algorithm: string;
  readonly jwk: Readonly<Record<string, unknown>>;
  readonly sign: (text: string) => Promise<string>;
}

const keyShapes = {
  ES256: { generate: { name: "ECDSA", namedCurve: "P-256" }, sign: { name: "ECDSA", hash: "SHA-256" } },
  ES384: { generate: { name: "ECDSA", namedCurve: "P-384" }, sign: { name: "ECDSA", hash: "SHA-384" } },
  RS256: {
    generate: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
    sign: { name: "RSASSA-PKCS1-v1_5" },
  },
  PS256: {
    generate: { name: "RSA-PSS", hash: "SHA-256", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) },
    sign: { name: "RSA-PSS", saltLength: 32 },
  },
} as const;

/** Makes a fresh key pair. */
export async function makeKey(keyId = "key-1", algorithm: keyof typeof keyShapes = "ES256"): Promise<SigningKey> {
  const shape = keyShapes[algorithm];
  const pair = await crypto.subtle.generateKey(shape.generate, true, ["sign", "verify"]);
  if (!("privateKey" in pair)) throw new Error("the runtime made no key pair");
  const { kty, n, e, crv, x, y } = await crypto.subtle.exportKey("jwk", pair.publicKey);
  const members = Object.entries({ kty, n, e, crv, x, y, kid: keyId, alg: algorithm, use: "sig" }).filter(
    ([, value]) => value !== undefined,
  );
  return {
    keyId,
    algorithm,
    jwk: Object.fromEntries(members),
    sign: async (text) =>
      encodeBase64Url(new Uint8Array(await crypto.subtle.sign(shape.sign, pair.privateKey, new TextEncoder().encode(text)))),
  };
}

/** Claims that the default configuration accepts. */
export function makeClaims(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const seconds = nowMs / 1000;
  return { iss: issuerUrl, sub: "alice", aud: "cluster-a", iat: seconds - 10, exp: seconds + 600, groups: ["dev"], ...changes };
}

/** What a token is made of; texts are taken as they are, so that they can be malformed. */
export interface TokenParts {
  readonly key: SigningKey;
  readonly header?: string | Readonly<Record<string, unknown>>;
  readonly payload?: string | Uint8Array | Readonly<Record<string, unknown>>;
}

/** Signs a token; every part may be replaced, and the signature is always valid for what the token says. */
export async function makeToken({ key, header, payload }: TokenParts): Promise<string> {
  const signed = `${encodePart(header ?? { alg: key.algorithm, kid: key.keyId, typ: "JWT" })}.${encodePart(payload ?? makeClaims())}`;
  return `${signed}.${await key.sign(signed)}`;
}

/** A configuration file with one issuer; `mappings` and `rest` are lines of YAML. */
export function makeConfigurationText(
  changes: { readonly mappings?: string; readonly rest?: string; readonly issuer?: string } = {},
): string {
  const issuer = changes.issuer ?? `    url: ${issuerUrl}\n    audiences: [cluster-a]`;
  const mappings = changes.mappings ?? `    username: {claim: sub, prefix: "oidc:"}\n    groups: {claim: groups, prefix: "oidc:"}`;
  return `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
${issuer}
  claimMappings:
${mappings}
${changes.rest ?? ""}`;
}

/** A parsed configuration; throws when the text has problems. */
export function makeConfiguration(text = makeConfigurationText()): AuthenticationConfiguration {
  const result = parseAuthenticationConfiguration(text, "authentication.yaml");
  if (result.type === "invalid") throw new Error(result.problems.map((problem) => `${problem.line}: ${problem.message}`).join("\n"));
  return result.configuration;
}

/** Registered keys. */
export function makeStaticKeys(jwks: readonly Readonly<Record<string, unknown>>[]): KeySource {
  const result = createStaticKeys(JSON.stringify({ keys: jwks }));
  if (result.type === "malformed") throw new Error(result.message);
  return result.keys;
}

/** A door with registered keys at a fixed time. */
export function makeDoor(
  keys: readonly SigningKey[],
  changes: { readonly text?: string; readonly clock?: () => number; readonly maxLifetimeMs?: number } = {},
): TokenDoor {
  const source = makeStaticKeys(keys.map((key) => key.jwk));
  const { text, clock, ...rest } = changes;
  return createTokenDoor({ configuration: makeConfiguration(text), keysFor: () => source, clock: clock ?? (() => nowMs), ...rest });
}

function encodePart(part: string | Uint8Array | Readonly<Record<string, unknown>>): string {
  if (part instanceof Uint8Array) return encodeBase64Url(part);
  return encodeBase64Url(new TextEncoder().encode(typeof part === "string" ? part : JSON.stringify(part)));
}
