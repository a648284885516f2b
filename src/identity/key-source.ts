import type { SignatureAlgorithm } from "./compact-token.ts";

/** What is asked of an issuer's keys: the token's key id, if it names one, and its algorithm. */
export interface KeyQuery {
  readonly keyId: string | undefined;
  readonly algorithm: SignatureAlgorithm;
}

/** A public key, bound to one algorithm. */
export interface VerificationKey {
  /** Whether a compact token is signed by this key with its algorithm; false for anything malformed. Never throws. */
  readonly verify: (token: string) => Promise<boolean>;
}

/** The one key for a query, or why there is none: no such key, more than one fits, or the issuer's keys could not be had. */
export type KeyLookup =
  | { readonly type: "found"; readonly key: VerificationKey; readonly generation: number }
  | { readonly type: "unknown" }
  | { readonly type: "ambiguous" }
  | { readonly type: "unavailable"; readonly message: string };

/** The keys of one issuer: registered ones, or fetched and kept fresh. */
export interface KeySource {
  /** Changes whenever the set of keys changes; a verdict reached under another generation is void. */
  readonly generation: () => number;
  /** True while keys may be used without asking the issuer again. */
  readonly isFresh: () => boolean;
  /** True while there are keys that are not too old to be used at all. */
  readonly isUsable: () => boolean;
  /** Brings the keys up to date where they are not; never throws, and waits no longer than one fetch may take. */
  readonly refresh: () => Promise<void>;
  /** Finds the key of a query, fetching again when the key id is unknown and the cooldown has passed. Never throws. */
  readonly find: (query: KeyQuery) => Promise<KeyLookup>;
  /** The public keys as a JWK Set (RFC 7517 section 5), fit for `createStaticKeys` elsewhere; undefined while none are usable. */
  readonly exportKeys: () => string | undefined;
}
