/**
 * Seals what the gateway stores of secrets. A sealed text opens only with a key of SESSION_KEYS *and* with its owner's secret: the key is
 * made of both (HKDF, RFC 5869). A browser session's secret is the number in its cookie, so the storage alone, and the storage with the
 * keys, tell nothing of it. The issuer's signing keys have no such owner: whoever has the storage and the keys has them.
 */
import { base64url } from "jose";
import type { Parsed } from "#core/document.ts";

interface RingKey {
  readonly id: string;
  readonly material: CryptoKey;
}

export interface KeyRing {
  /** Sealed with the first key; opens only for the same owner and purpose. */
  readonly seal: (text: string, owner: Owner) => Promise<string>;
  /** The text, or undefined when no key of the ring opens it for this owner. */
  readonly open: (sealed: string, owner: Owner) => Promise<string | undefined>;
}

/** Whose text it is: the secret that only the owner's browser has, and what the text is for. */
export interface Owner {
  readonly secret: string;
  readonly purpose: "session" | "sign-in" | "signing-key";
}

const keyBytes = 32;
const nonceBytes = 12;
const encoder = new TextEncoder();

/** Parses SESSION_KEYS: `<id>:<32 bytes in base64url>`, separated by commas; the first seals, and all open. */
export async function parseKeyRing(text: string): Promise<Parsed<KeyRing>> {
  const problems: string[] = [];
  const keys: RingKey[] = [];
  for (const [index, part] of text.split(",").entries()) {
    const [, id, encoded] = /^\s*([a-z0-9-]{1,32}):([A-Za-z0-9_-]{43})\s*$/.exec(part) ?? [];
    if (id === undefined || encoded === undefined)
      problems.push(`SESSION_KEYS: entry ${index + 1} must be <id>:<key>, the key 32 random bytes in base64url (43 characters)`);
    else if (keys.some((key) => key.id === id)) problems.push(`SESSION_KEYS: the id ${id} stands twice`);
    else keys.push({ id, material: await crypto.subtle.importKey("raw", decodeKey(encoded), "HKDF", false, ["deriveKey"]) });
  }
  const [sealing] = keys;
  if (problems.length > 0 || sealing === undefined) return { type: "invalid", problems };
  return { type: "parsed", value: createRing(sealing, keys) };
}

function createRing(sealing: RingKey, keys: readonly RingKey[]): KeyRing {
  return {
    seal: async (text, owner) => {
      const nonce = crypto.getRandomValues(new Uint8Array(nonceBytes));
      const key = await deriveKey(sealing, owner);
      const sealed = await crypto.subtle.encrypt(parametersOf(nonce, sealing.id, owner), key, encoder.encode(text));
      return `${sealing.id}.${base64url.encode(nonce)}.${base64url.encode(new Uint8Array(sealed))}`;
    },
    open: async (sealed, owner) => {
      const [id = "", nonce = "", data = ""] = sealed.split(".");
      const ringKey = keys.find((key) => key.id === id);
      if (ringKey === undefined) return undefined;
      try {
        const key = await deriveKey(ringKey, owner);
        const plain = await crypto.subtle.decrypt(parametersOf(base64url.decode(nonce), id, owner), key, base64url.decode(data));
        return new TextDecoder().decode(plain);
      } catch {
        return undefined; // changed, or another owner's: as good as absent
      }
    },
  };
}

async function deriveKey(key: RingKey, owner: Owner): Promise<CryptoKey> {
  const info = encoder.encode(`sallyport ${owner.purpose}`);
  const derivation = { name: "HKDF", hash: "SHA-256", salt: encoder.encode(owner.secret), info };
  return crypto.subtle.deriveKey(derivation, key.material, { name: "AES-GCM", length: 8 * keyBytes }, false, ["encrypt", "decrypt"]);
}

/** The key's id and the purpose are authenticated too, so that no part of a sealed text can be given another meaning. */
function parametersOf(nonce: Uint8Array, keyId: string, owner: Owner) {
  return { name: "AES-GCM", iv: nonce, additionalData: encoder.encode(`${keyId} ${owner.purpose}`) };
}

function decodeKey(encoded: string): Uint8Array {
  return base64url.decode(encoded);
}
