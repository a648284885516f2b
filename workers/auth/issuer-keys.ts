/**
 * Where the gateway gets issuers' keys: registered ones first, else the issuer itself, else what a cluster's agent reported for issuers
 * that a Worker cannot reach or whose private CA it cannot trust. Never one cluster's keys for another.
 */
import type { PublicKeySet } from "#core/gateway-api.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { createIssuerKeys } from "#identity/issuer-keys.ts";
import { createStaticKeys } from "#identity/keys.ts";
import type { FetchKeys } from "#identity/keys.ts";
import type { KeySource } from "#identity/key-source.ts";

/** The gateway as an issuer. Its documents are had from inside: a Worker may not be able to fetch from itself. */
export interface OwnIssuer {
  readonly url: string;
  readonly fetch: FetchKeys;
}

export type KeySets = Readonly<Record<string, PublicKeySet>>;

/** The key source of each issuer of a configuration; registered sets that cannot be read leave their issuer without keys. */
export function openIssuerKeys(
  configuration: AuthenticationConfiguration,
  registered: KeySets,
  reported: KeySets,
  gatewayIssuer?: OwnIssuer,
): (issuerUrl: string) => KeySource | undefined {
  const created = createIssuerKeys(configuration, {
    registered: new Map(Object.entries(registered).map(([issuer, set]) => [issuer, JSON.stringify(set)])),
    fetchFor: (issuer) => {
      if (issuer.url === gatewayIssuer?.url) return gatewayIssuer.fetch;
      return issuer.certificateAuthority === undefined ? (url, init) => fetch(url, init) : undefined;
    },
    clock: () => Date.now(),
    createDeadline: (ms) => AbortSignal.timeout(ms),
    flight: "separate",
  });
  if (created.type === "malformed") return () => undefined;
  const sources = new Map<string, KeySource | undefined>();
  for (const { issuer } of configuration.authenticators) {
    const own = created.keysFor(issuer.url);
    const told = Object.hasOwn(registered, issuer.url) ? undefined : fromReport(reported[issuer.url]);
    sources.set(issuer.url, own !== undefined && told !== undefined ? withFallback(own, told) : (own ?? told));
  }
  return (issuerUrl) => sources.get(issuerUrl);
}

function fromReport(set: PublicKeySet | undefined): KeySource | undefined {
  if (set === undefined) return undefined;
  const created = createStaticKeys(JSON.stringify(set));
  return created.type === "created" ? created.keys : undefined;
}

/** `first`, and where it can be had from nowhere, `second`. */
function withFallback(first: KeySource, second: KeySource): KeySource {
  return {
    generation: () => first.generation(),
    isFresh: () => first.isFresh(),
    isUsable: () => first.isUsable() || second.isUsable(),
    refresh: () => first.refresh(),
    find: async (query) => {
      const found = await first.find(query);
      return found.type === "unavailable" ? second.find(query) : found;
    },
    exportKeys: () => first.exportKeys() ?? second.exportKeys(),
  };
}
