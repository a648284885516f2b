import { doorLimits } from "./limits.ts";
import { type JsonObject, parseStrictJson, toJsonObject } from "./strict-json.ts";
import { refuse, type RefusedToken } from "./token-verdict.ts";

/** Asymmetric JWS algorithms that kube-apiserver accepts (RFC 7518 section 3.1). */
export const signatureAlgorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"] as const;

/** One of `signatureAlgorithms`. */
export type SignatureAlgorithm = (typeof signatureAlgorithms)[number];

/** A signature in sound form (RFC 7515) over an arbitrary payload, which nobody has verified yet. */
export interface CompactSignature {
  readonly type: "signature";
  /** The whole text, in the one spelling that its bytes have. */
  readonly text: string;
  readonly algorithm: SignatureAlgorithm;
  /** The header's `kid`; undefined when missing or empty. */
  readonly keyId: string | undefined;
  /** Not to be trusted before the signature is verified. */
  readonly payload: Uint8Array;
}

/** A signature in sound form over a JSON object of claims. */
export interface CompactToken {
  readonly type: "token";
  readonly signature: CompactSignature;
  /** Not to be trusted before the signature is verified. */
  readonly claims: JsonObject;
}

/** Header members that would make the meaning of the token, or the key, depend on the token itself. None is ever followed. */
const refusedHeaderMembers = ["crit", "b64", "cty", "zip", "enc", "jku", "jwk", "x5u", "x5c"];

/** Media types of tokens that are meant to be a bearer's identity (RFC 7519 section 5.1, RFC 9068); others, such as logout+jwt, are not. */
const acceptedTypes = new Set(["jwt", "at+jwt", "application/jwt", "application/at+jwt"]);

/** Three parts, of which the payload alone may be empty (RFC 7515). */
const compactPattern = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+$/;

const jsonLimits = { maxDepth: doorLimits.maxJsonDepth, maxElements: doorLimits.maxArrayElements };

/** Parses a token, a JWS in compact serialization whose payload is a JSON object, without any cryptography. */
export function parseCompactToken(text: string): CompactToken | RefusedToken {
  const signature = parseCompactSignature(text);
  if (signature.type === "refused") return signature;
  const claims = parseMembers(signature.payload, "payload");
  return claims.type === "refused" ? claims : { type: "token", signature, claims: claims.members };
}

/**
 * Parses a JWS in compact serialization (RFC 7515 section 7.1). There is exactly one accepted spelling of every signature:
 * strict base64url without padding, line ends or unused bits, so that what is revoked or cached cannot be respelled.
 */
export function parseCompactSignature(text: string): CompactSignature | RefusedToken {
  if (text.length > doorLimits.maxTokenBytes)
    return refuse("token-too-large", `the token is longer than ${doorLimits.maxTokenBytes} bytes`);
  const parts = text.split(".");
  if (parts.length === 5) return refuse("token-encrypted", "the token is encrypted; only signed tokens are accepted");
  if (!compactPattern.test(text)) return refuse("token-malformed", "the token is not a signed JWT in compact form");
  const [header, payload, signature] = parts.map(decodeBase64Url);
  if (header === undefined || payload === undefined || signature === undefined) {
    return refuse("token-malformed", "a part of the token is not canonical base64url");
  }
  const parsed = parseMembers(header, "header");
  if (parsed.type === "refused") return parsed;
  const members = parsed.members;
  const refusal = refuseHeader(members);
  if (refusal !== undefined) return refusal;
  const algorithm = signatureAlgorithms.find((known) => known === members.get("alg"));
  if (algorithm === undefined) {
    return refuse("algorithm-refused", `the token's signature algorithm is none of ${signatureAlgorithms.join(", ")}`);
  }
  const keyId = members.get("kid");
  return { type: "signature", text, algorithm, keyId: typeof keyId === "string" && keyId !== "" ? keyId : undefined, payload };
}

/** The bytes of unpadded base64url text (RFC 4648 section 5); undefined for any other spelling of them. */
export function decodeBase64Url(text: string): Uint8Array<ArrayBuffer> | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) return undefined;
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  if (encodeTail(binary) !== text.slice(text.length - (text.length % 4))) return undefined;
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** Encodes the last incomplete group again: unused bits that are not zero show as a difference. */
function encodeTail(binary: string): string {
  const tail = binary.slice(binary.length - (binary.length % 3));
  return btoa(tail).replaceAll("=", "").replaceAll("+", "-").replaceAll("/", "_");
}

function parseMembers(bytes: Uint8Array, part: string): { readonly type: "members"; readonly members: JsonObject } | RefusedToken {
  const result = parseStrictJson(bytes, jsonLimits);
  if (result.type === "malformed") return refuse("token-malformed", `the token's ${part} cannot be read: ${result.message}`);
  const members = toJsonObject(result.value);
  if (members === undefined) return refuse("token-malformed", `the token's ${part} is not a JSON object`);
  return { type: "members", members };
}

function refuseHeader(header: JsonObject): RefusedToken | undefined {
  const found = refusedHeaderMembers.find((member) => header.has(member));
  if (found !== undefined) return refuse("header-refused", `the token's header has the member ${found}, which is not accepted`);
  const keyId = header.get("kid");
  if (keyId !== undefined && typeof keyId !== "string") return refuse("header-refused", "the token's kid is not a string");
  const type = header.get("typ");
  if (type !== undefined && (typeof type !== "string" || !acceptedTypes.has(type.toLowerCase()))) {
    return refuse("token-type-refused", "the token's typ is not JWT or at+jwt: it is meant for another purpose");
  }
  return undefined;
}
