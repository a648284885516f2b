import type { AuthenticationConfiguration, Issuer } from "./configuration.ts";
import type { KeySource } from "./key-source.ts";
import { createRemoteKeys, createStaticKeys, type FetchKeys, type RemoteKeysOptions } from "./keys.ts";

/** Where the keys of a configuration's issuers come from. */
export interface IssuerKeysOptions extends Pick<RemoteKeysOptions, "clock" | "createDeadline" | "flight"> {
  /** JWK Sets by issuer URL, for issuers that cannot be reached from here; these issuers are never fetched from. */
  readonly registered: ReadonlyMap<string, string>;
  /**
   * A fetch that trusts the issuer's certificateAuthority; undefined where this runtime cannot, so that the issuer's tokens
   * are refused as keys-unavailable until its keys are registered.
   */
  readonly fetchFor: (issuer: Issuer) => FetchKeys | undefined;
}

/** The keys of each issuer, for a door's `keysFor`; or which registered JWK Sets cannot be read. */
export type IssuerKeysResult =
  | { readonly type: "created"; readonly keysFor: (issuerUrl: string) => KeySource | undefined }
  | { readonly type: "malformed"; readonly problems: readonly string[] };

/** Creates a key source for each issuer of a configuration, without fetching anything yet. */
export function createIssuerKeys(configuration: AuthenticationConfiguration, options: IssuerKeysOptions): IssuerKeysResult {
  const sources = new Map<string, KeySource>();
  const problems: string[] = [];
  for (const { issuer } of configuration.authenticators) {
    const registered = options.registered.get(issuer.url);
    if (registered === undefined) {
      const remote = createFetchedKeys(issuer, options);
      if (remote !== undefined) sources.set(issuer.url, remote);
      continue;
    }
    const result = createStaticKeys(registered);
    if (result.type === "created") sources.set(issuer.url, result.keys);
    else problems.push(`the keys registered for the issuer ${issuer.url} cannot be used: ${result.message}`);
  }
  return problems.length > 0 ? { type: "malformed", problems } : { type: "created", keysFor: (issuerUrl) => sources.get(issuerUrl) };
}

function createFetchedKeys(issuer: Issuer, options: IssuerKeysOptions): KeySource | undefined {
  const fetch = options.fetchFor(issuer);
  if (fetch === undefined) return undefined;
  const { clock, createDeadline, flight } = options;
  return createRemoteKeys({ issuerUrl: issuer.url, discoveryUrl: issuer.discoveryUrl, fetch, clock, createDeadline, flight });
}
