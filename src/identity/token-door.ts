import type { AuthenticationConfiguration } from "./configuration.ts";
import type { KeySource } from "./key-source.ts";
import type { TokenVerdict } from "./token-verdict.ts";

/** What a door is built from; the clock is in milliseconds since 1970. */
export interface TokenDoorOptions {
  readonly configuration: AuthenticationConfiguration;
  /** The keys of one of the configuration's issuers; undefined refuses its tokens as keys-unavailable. */
  readonly keysFor: (issuerUrl: string) => KeySource | undefined;
  readonly clock: () => number;
  /** Longest accepted exp minus iat; doorLimits.maxLifetimeMs when left out. */
  readonly maxLifetimeMs?: number;
}

/** The one place where a bearer token becomes an identity. */
export interface TokenDoor {
  /** Decides about a token; never throws, and never fetches because of what a token holds beyond its issuer and key id. */
  readonly verify: (token: string) => Promise<TokenVerdict>;
  /** The answer for a token verified before, if it still holds without asking anybody; else undefined, and `verify` decides. */
  readonly verifyCached: (token: string) => TokenVerdict | undefined;
}
