import { compactVerify, importJWK, type CryptoKey, type JWK } from "jose";
import { decodeBase64Url, type SignatureAlgorithm } from "./compact-token.ts";
import type { KeyQuery, VerificationKey } from "./key-source.ts";
import { doorLimits, keyLimits } from "./limits.ts";
import { type JsonObject, type JsonValue, parseStrictJson, toJsonObject } from "./strict-json.ts";

/** The usable public keys of one JWK Set (RFC 7517 section 5). */
export interface KeySet {
  /** The keys again as a JWK Set of their public members; equal text means equal keys. */
  readonly text: string;
  /** Finds the one key that fits; a missing key id fits every key, and more than one fitting key is ambiguous. */
  readonly find: (query: KeyQuery) => KeySetLookup;
}

/** The one key for a query, or why there is none. */
export type KeySetLookup =
  | { readonly type: "found"; readonly key: VerificationKey }
  | { readonly type: "unknown" }
  | { readonly type: "ambiguous" };

/** A key set, or why there is none. */
export type KeySetResult = { readonly type: "parsed"; readonly keySet: KeySet } | { readonly type: "malformed"; readonly message: string };

/** A public key's members, as they are published. */
interface PublicKey {
  readonly keyId: string | undefined;
  readonly algorithms: readonly SignatureAlgorithm[];
  readonly jwk: JWK;
  readonly imported: Map<SignatureAlgorithm, Promise<CryptoKey | undefined>>;
}

const ellipticAlgorithms: Readonly<Record<string, { readonly algorithm: SignatureAlgorithm; readonly bytes: number }>> = {
  "P-256": { algorithm: "ES256", bytes: 32 },
  "P-384": { algorithm: "ES384", bytes: 48 },
  "P-521": { algorithm: "ES512", bytes: 66 },
};
const rsaAlgorithms: readonly SignatureAlgorithm[] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];

/** Bits of an RSA modulus: RFC 7518 section 3.3 at the lower end, the cost of one verification at the upper. */
const rsaBits = { min: 2048, max: 8192 };

/**
 * Parses a JWK Set. Keys for other purposes, of other types, or too weak are left out (RFC 7517 section 5 says to ignore
 * them); a set with a symmetric or private key is refused whole, because its issuer shows the world how to sign.
 */
export function parseKeySet(bytes: Uint8Array): KeySetResult {
  const result = parseStrictJson(bytes, { maxDepth: doorLimits.maxJsonDepth, maxElements: doorLimits.maxArrayElements });
  if (result.type === "malformed") return { type: "malformed", message: `the key set cannot be read: ${result.message}` };
  const entries = toJsonObject(result.value)?.get("keys");
  if (!Array.isArray(entries)) return { type: "malformed", message: "the key set has no list `keys`" };
  if (entries.length > keyLimits.maxKeys) return { type: "malformed", message: `the key set has more than ${keyLimits.maxKeys} keys` };
  const keys = entries.map(toJsonObject).filter((key) => key !== undefined);
  if (keys.some((key) => key.get("kty") === "oct" || key.has("d") || key.has("k"))) {
    return { type: "malformed", message: "the key set publishes a secret key" };
  }
  return { type: "parsed", keySet: createKeySet(keys.map(parsePublicKey).filter((key) => key !== undefined)) };
}

function createKeySet(keys: readonly PublicKey[]): KeySet {
  return {
    text: JSON.stringify({ keys: keys.map((key) => key.jwk) }),
    find({ keyId, algorithm }) {
      const fitting = keys.filter((key) => (keyId === undefined || key.keyId === keyId) && key.algorithms.includes(algorithm));
      const [key, another] = fitting;
      if (key === undefined) return { type: "unknown" };
      return another === undefined ? { type: "found", key: bindKey(key, algorithm) } : { type: "ambiguous" };
    },
  };
}

function bindKey(key: PublicKey, algorithm: SignatureAlgorithm): VerificationKey {
  return {
    async verify(token) {
      const imported = key.imported.get(algorithm) ?? importKey(key.jwk, algorithm);
      key.imported.set(algorithm, imported);
      const cryptoKey = await imported;
      if (cryptoKey === undefined) return false;
      try {
        await compactVerify(token, cryptoKey, { algorithms: [algorithm] });
        return true;
      } catch {
        return false; // every failure of jose or the runtime's cryptography means: not verified
      }
    },
  };
}

async function importKey(jwk: JWK, algorithm: SignatureAlgorithm): Promise<CryptoKey | undefined> {
  try {
    const key = await importJWK(jwk, algorithm);
    return key instanceof Uint8Array ? undefined : key;
  } catch {
    return undefined; // not a key of this runtime, such as a point off its curve
  }
}

function parsePublicKey(key: JsonObject): PublicKey | undefined {
  const operations = key.get("key_ops");
  const isForSigning = [undefined, "sig"].includes(toText(key.get("use"))) && isTextOrMissing(key.get("use"));
  if (!isForSigning || !isTextOrMissing(key.get("kid")) || !isTextOrMissing(key.get("alg"))) return undefined;
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify"))) return undefined;
  const shape = parseRsaKey(key) ?? parseEllipticKey(key);
  if (shape === undefined) return undefined;
  const declared = toText(key.get("alg"));
  const algorithms = shape.algorithms.filter((algorithm) => declared === undefined || algorithm === declared);
  const keyId = toText(key.get("kid"));
  const jwk = { ...shape.jwk, ...(keyId === undefined ? {} : { kid: keyId }), ...(declared === undefined ? {} : { alg: declared }) };
  return { keyId, algorithms, jwk, imported: new Map() };
}

function parseRsaKey(key: JsonObject): Pick<PublicKey, "algorithms" | "jwk"> | undefined {
  if (key.get("kty") !== "RSA") return undefined;
  const [n, e] = [toText(key.get("n")), toText(key.get("e"))];
  const [modulus, exponent] = [toInteger(n), toInteger(e)];
  if (n === undefined || e === undefined || modulus === undefined || exponent === undefined) return undefined;
  const bits = modulus.toString(2).length;
  if (bits < rsaBits.min || bits > rsaBits.max || exponent < 3n || exponent % 2n === 0n || exponent > 0xffffffffn) return undefined;
  return isRocaModulus(modulus) ? undefined : { algorithms: rsaAlgorithms, jwk: { kty: "RSA", n, e } };
}

function parseEllipticKey(key: JsonObject): Pick<PublicKey, "algorithms" | "jwk"> | undefined {
  if (key.get("kty") !== "EC") return undefined;
  const [crv, x, y] = [toText(key.get("crv")), toText(key.get("x")), toText(key.get("y"))];
  if (crv === undefined || x === undefined || y === undefined || !Object.hasOwn(ellipticAlgorithms, crv)) return undefined;
  const curve = ellipticAlgorithms[crv];
  if (curve === undefined || [x, y].some((text) => decodeBase64Url(text)?.length !== curve.bytes)) return undefined;
  return { algorithms: [curve.algorithm], jwk: { kty: "EC", crv, x, y } };
}

const rocaPrimes = [
  3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139,
  149, 151, 157, 163, 167,
];

/**
 * Whether a modulus carries the fingerprint of Infineon's broken key generator (CVE-2017-15361), whose private key can be
 * computed: modulo each of these primes it is a power of 65537. A sound modulus passes all by chance once in 2^27 or less.
 */
function isRocaModulus(modulus: bigint): boolean {
  return rocaPrimes.every((prime) => {
    const remainder = Number(modulus % BigInt(prime));
    let power = 1;
    do {
      if (power === remainder) return true;
      power = (power * 65537) % prime;
    } while (power !== 1);
    return false;
  });
}

function toInteger(text: string | undefined): bigint | undefined {
  const bytes = text === undefined ? undefined : decodeBase64Url(text);
  if (bytes === undefined || bytes.length === 0 || bytes.length > rsaBits.max / 8 + 1) return undefined;
  return BigInt(`0x${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`);
}

function toText(value: JsonValue | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function isTextOrMissing(value: JsonValue | undefined): boolean {
  return value === undefined || typeof value === "string";
}
