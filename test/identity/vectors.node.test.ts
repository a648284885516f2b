/** Project Wycheproof's vectors at the signature layer under the door; they lie beside the repository and are not copied into it. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseCompactSignature } from "#identity/compact-token.ts";
import { parseKeySet } from "#identity/key-set.ts";

const folder = process.env["SALLYPORT_VECTORS"] ?? "../shared/vectors";
const isPresent = existsSync(`${folder}/json_web_signature_test.json`);

type Jwk = Readonly<Record<string, unknown>>;

interface VectorFile {
  readonly testGroups: readonly {
    readonly comment: string;
    readonly public?: Jwk;
    readonly private: Jwk & { readonly keys?: readonly Jwk[] };
    readonly tests: readonly {
      readonly tcId: number;
      readonly comment: string;
      readonly jws: unknown;
      readonly result: "valid" | "invalid";
    }[];
  }[];
}

const privateMembers = new Set(["d", "p", "q", "dp", "dq", "qi", "oth"]);

describe.runIf(isPresent || process.env["CI"] === "true")("Wycheproof", () => {
  it.each(["json_web_signature_test", "json_web_key_test"])(
    "%s: every invalid vector fails, every valid one of an accepted algorithm verifies",
    async (name) => {
      // The vectors' own schema.
      const file = JSON.parse(readFileSync(`${folder}/${name}.json`, "utf8")) as VectorFile;
      const wrong = [];
      let verified = 0;
      for (const group of file.testGroups) {
        const keys = (group.private.keys ?? [group.public ?? group.private]).map(toPublic);
        for (const vector of group.tests) {
          const isValid = await verify(vector.jws, keys);
          const isExpected = vector.result === "valid" && keys.every((key) => isMeantFor(key, vector.jws));
          if (isValid !== isExpected) wrong.push({ group: group.comment, vector: vector.tcId, comment: vector.comment, isValid });
          if (isValid) verified += 1;
        }
      }
      expect(wrong).toEqual([]);
      expect(verified).toBeGreaterThan(0);
    },
  );
});

/**
 * Whether the key is for the vector's algorithm, and that one the door accepts. The vectors disagree about a key that declares
 * another algorithm of its family (338 and 340 are invalid, 346 and 350 valid); the door refuses all of them.
 */
function isMeantFor(key: Jwk, jws: unknown): boolean {
  const signature = parseCompactSignature(String(jws));
  return signature.type === "signature" && (key["alg"] === undefined || key["alg"] === signature.algorithm);
}

/** A private key's public half; a symmetric key has none and stays as it is. */
function toPublic(key: Jwk): Jwk {
  return Object.fromEntries(Object.entries(key).filter(([name]) => !privateMembers.has(name)));
}

async function verify(jws: unknown, keys: readonly Jwk[]): Promise<boolean> {
  const keySet = parseKeySet(new TextEncoder().encode(JSON.stringify({ keys })));
  const signature = parseCompactSignature(typeof jws === "string" ? jws : JSON.stringify(jws));
  if (keySet.type === "malformed" || signature.type === "refused") return false;
  const lookup = keySet.keySet.find({ keyId: signature.keyId, algorithm: signature.algorithm });
  return lookup.type === "found" && (await lookup.key.verify(signature.text));
}
