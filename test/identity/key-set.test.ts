import { beforeAll, describe, expect, it } from "vitest";
import { parseKeySet } from "#identity/key-set.ts";
import { keyLimits } from "#identity/limits.ts";
import { makeKey, type SigningKey } from "#test/identity/makers.ts";

let key: SigningKey;
let rsaKey: SigningKey;

beforeAll(async () => {
  key = await makeKey("k");
  rsaKey = await makeKey("r", "RS256");
});

function parse(document: unknown): ReturnType<typeof parseKeySet> {
  return parseKeySet(new TextEncoder().encode(typeof document === "string" ? document : JSON.stringify(document)));
}

/** The look-up of key id k with ES256 in a set of the good key changed so. */
function lookUp(changes: Readonly<Record<string, unknown>>): string {
  const result = parse({ keys: [{ ...key.jwk, ...changes }] });
  return result.type === "parsed" ? result.keySet.find({ keyId: "k", algorithm: "ES256" }).type : "malformed";
}

describe("a key set", () => {
  it.each([
    ["HTML", "<html></html>"],
    ["an array", []],
    ["keys that are no list", { keys: {} }],
    ["two lists of keys", '{"keys":[],"keys":[]}'],
    ["more keys than a hundred", { keys: Array.from({ length: keyLimits.maxKeys + 1 }, () => ({})) }],
    ["a symmetric key", { keys: [{ kty: "oct", k: "AAAA", alg: "HS256" }] }],
    ["a private key", { keys: [{ kty: "EC", d: "AAAA" }] }],
  ])("of %s is malformed", (_, document) => {
    expect(parse(document).type).toBe("malformed");
  });

  it.each([
    ["another type", { kty: "OKP" }],
    ["no type", { kty: undefined }],
    ["another use", { use: "enc" }],
    ["a use that is no text", { use: ["sig"] }],
    ["other operations", { key_ops: ["encrypt"] }],
    ["an unknown algorithm", { alg: "ES224" }],
    ["an algorithm of another curve", { alg: "ES384" }],
    ["an unknown curve", { crv: "secp256k1" }],
    ["the curve toString", { crv: "toString" }],
    ["a coordinate that is too short", { x: "AAAA" }],
    ["a coordinate that is no base64url", { y: "*" }],
    ["a kid that is no text", { kid: 7 }],
  ])("leaves out a key with %s", (_, changes) => {
    expect(lookUp(changes)).toBe("unknown");
  });

  it.each([
    ["no use", { use: undefined }],
    ["no algorithm", { alg: undefined }],
    ["operations that allow verifying", { key_ops: ["verify"] }],
  ])("keeps a key with %s", (_, changes) => {
    expect(lookUp(changes)).toBe("found");
  });

  it.each([
    ["an exponent of one", { e: "AQ" }],
    ["an even exponent", { e: "Ag" }],
    ["an empty modulus", { n: "" }],
    ["a modulus of 1024 bits", { n: btoa("\u00ff".repeat(128)).replaceAll("=", "").replaceAll("/", "_") }],
    ["a modulus of 16384 bits", { n: btoa("\u00ff".repeat(2048)).replaceAll("=", "").replaceAll("/", "_") }],
  ])("leaves out an RSA key with %s", (_, changes) => {
    const result = parse({ keys: [{ ...rsaKey.jwk, ...changes }] });
    expect(result.type === "parsed" && result.keySet.find({ keyId: "r", algorithm: "RS256" }).type).toBe("unknown");
  });

  it("does not verify with a point that is not on its curve", async () => {
    const result = parse({ keys: [{ ...key.jwk, x: key.jwk["y"], y: key.jwk["x"] }] });
    const lookup = result.type === "parsed" ? result.keySet.find({ keyId: "k", algorithm: "ES256" }) : { type: "malformed" };
    expect("key" in lookup && (await lookup.key.verify(`e30.e30.${await key.sign("e30.e30")}`))).toBe(false);
  });
});
