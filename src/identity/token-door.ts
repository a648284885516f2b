import {
  parseRegisteredClaims,
  refuseAudience,
  refuseDistributedClaims,
  refuseLifetime,
  refuseTimes,
  type RegisteredClaims,
} from "./claims.ts";
import { type CompactToken, parseCompactToken } from "./compact-token.ts";
import type { AuthenticationConfiguration, JwtAuthenticator } from "./configuration.ts";
import type { KeySource } from "./key-source.ts";
import { doorLimits } from "./limits.ts";
import { mapClaims } from "./mapping.ts";
import { refuse, type RefusedToken, type TokenVerdict, type VerifiedToken } from "./token-verdict.ts";
import { VerdictCache } from "./verdict-cache.ts";

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

/** Builds the door of one configuration. */
export function createTokenDoor(options: TokenDoorOptions): TokenDoor {
  return new Door(options);
}

/** A token that is sound and meant for this door, so that only its signature and its mapping are open. */
interface Admission {
  readonly type: "admitted";
  readonly token: CompactToken;
  readonly registered: RegisteredClaims;
  readonly authenticator: JwtAuthenticator;
  readonly keys: KeySource;
}

class Door implements TokenDoor {
  readonly #options: TokenDoorOptions;
  readonly #maxLifetimeMs: number;
  readonly #authenticators: ReadonlyMap<string, JwtAuthenticator>;
  readonly #cache = new VerdictCache();

  constructor(options: TokenDoorOptions) {
    this.#options = options;
    this.#maxLifetimeMs = options.maxLifetimeMs ?? doorLimits.maxLifetimeMs;
    this.#authenticators = new Map(options.configuration.authenticators.map((authenticator) => [authenticator.issuer.url, authenticator]));
  }

  readonly verifyCached = (token: string): TokenVerdict | undefined => {
    const entry = this.#cache.get(token);
    if (entry === undefined || !entry.keys.isFresh() || entry.keys.generation() !== entry.generation) return undefined;
    return refuseTimes(entry.times, this.#options.clock()) ?? entry.verdict;
  };

  readonly verify = async (token: string): Promise<TokenVerdict> => {
    try {
      return this.verifyCached(token) ?? (await this.#verifyAgain(token)) ?? (await this.#verifyAnew(token));
    } catch {
      return refuse("internal", "the token could not be checked because of a fault of this gateway"); // unknown means deny
    }
  };

  /** A remembered verdict whose keys have just turned out to be unchanged. */
  async #verifyAgain(token: string): Promise<TokenVerdict | undefined> {
    const entry = this.#cache.get(token);
    if (entry === undefined) return undefined;
    await entry.keys.refresh();
    if (entry.keys.generation() !== entry.generation || !entry.keys.isUsable()) return undefined;
    return refuseTimes(entry.times, this.#options.clock()) ?? entry.verdict;
  }

  async #verifyAnew(text: string): Promise<TokenVerdict> {
    const admission = this.#admit(text);
    if (admission.type === "refused") return admission;
    const { token, registered, authenticator, keys } = admission;
    const lookup = await keys.find({ keyId: token.signature.keyId, algorithm: token.signature.algorithm });
    switch (lookup.type) {
      case "unknown":
        return refuse("key-unknown", "the token is signed with a key that its issuer does not publish");
      case "ambiguous":
        return refuse("key-unknown", "the token does not say which of its issuer's keys signed it (kid)");
      case "unavailable":
        return refuse("keys-unavailable", `the keys of the token's issuer are not available: ${lookup.message}`);
      case "found":
        break;
    }
    if (!(await lookup.key.verify(text))) return refuse("signature-invalid", "the token's signature is not valid");
    const result = refuseDistributedClaims(token.claims, authenticator) ?? mapClaims(token.claims, authenticator);
    if (result.type === "refused") return result;
    const verdict: VerifiedToken = {
      type: "verified",
      identity: result.identity,
      issuer: authenticator.issuer.url,
      subject: registered.subject,
      tokenId: registered.tokenId,
      issuedAtMs: registered.times.issuedAtMs,
      expiresAtMs: registered.times.expiresAtMs,
    };
    this.#cache.put(text, { verdict, times: registered.times, keys, generation: lookup.generation });
    return verdict;
  }

  /** Everything that needs neither keys nor cryptography, so that a hopeless token costs no fetch. */
  #admit(text: string): Admission | RefusedToken {
    const token = parseCompactToken(text);
    if (token.type === "refused") return token;
    const registered = parseRegisteredClaims(token.claims);
    if (registered.type === "refused") return registered;
    const authenticator = this.#authenticators.get(registered.issuer);
    if (authenticator === undefined) return refuse("issuer-unknown", "the token's issuer (iss) is not one that this cluster trusts");
    const refusal =
      refuseAudience(token.claims, registered, authenticator.issuer) ??
      refuseTimes(registered.times, this.#options.clock()) ??
      refuseLifetime(registered.times, this.#maxLifetimeMs);
    if (refusal !== undefined) return refusal;
    const keys = this.#options.keysFor(authenticator.issuer.url);
    if (keys === undefined) return refuse("keys-unavailable", "no keys are known for the token's issuer");
    return { type: "admitted", token, registered, authenticator, keys };
  }
}
