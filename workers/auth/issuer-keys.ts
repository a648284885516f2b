/**
 * Where the gateway gets issuers' keys: registered ones first, else the issuer itself, else what a cluster's agent reported for issuers
 * that a Worker cannot reach or whose private CA it cannot trust. Never one cluster's keys for another.
 */
import type { PublicKeySet } from "#core/gateway-api.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { createRemoteKeys, createStaticKeys } from "#identity/keys.ts";
import type { KeySource } from "#identity/key-source.ts";

export type KeySets = Readonly<Record<string, PublicKeySet>>;

/** The key source of each issuer of a configuration. */
export function createIssuerKeys(
  configuration: AuthenticationConfiguration,
  registered: KeySets,
  reported: KeySets,
): (issuerUrl: string) => KeySource | undefined {
  const sources = new Map<string, KeySource>();
  for (const { issuer } of configuration.authenticators) {
    const own = fromSet(registered[issuer.url]);
    const told = fromSet(reported[issuer.url]);
    const remote = issuer.certificateAuthority === undefined ? remoteKeys(issuer.url, issuer.discoveryUrl) : undefined;
    const source = own ?? (remote !== undefined && told !== undefined ? withFallback(remote, told) : (told ?? remote));
    if (source !== undefined) sources.set(issuer.url, source);
  }
  return (issuerUrl) => sources.get(issuerUrl);
}

function fromSet(set: PublicKeySet | undefined): KeySource | undefined {
  if (set === undefined) return undefined;
  const created = createStaticKeys(JSON.stringify(set));
  return created.type === "created" ? created.keys : undefined;
}

function remoteKeys(issuerUrl: string, discoveryUrl: string | undefined): KeySource {
  return createRemoteKeys({
    issuerUrl,
    discoveryUrl,
    fetch: (url, init) => fetch(url, init),
    clock: () => Date.now(),
    createDeadline: (ms) => AbortSignal.timeout(ms),
    flight: "separate",
  });
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
