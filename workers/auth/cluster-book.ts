/**
 * The clusters as this isolate knows them: each one's record and token door, looked up again every few seconds so that a change or a
 * removal is obeyed everywhere soon, and kept together so that a door is built once for many requests.
 */
import { parseAuthenticationConfiguration } from "#identity/configuration.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { createTokenDoor } from "#identity/token-door.ts";
import type { TokenDoor } from "#identity/token-door.ts";
import type { ClusterName } from "#core/brand.ts";
import type { ClusterRecord } from "#workers/hub/registry.ts";
import { openIssuerKeys } from "./issuer-keys.ts";
import type { OwnIssuer } from "./issuer-keys.ts";
import type { RegistryStub } from "#workers/hub/stubs.ts";

/** How long a record is believed: the time within which a removed cluster stops working at every isolate. */
const recordMs = 5_000;

/** How soon a record is read again when it seems to lack a key: a stranger's tokens must not read the registry at will. */
const hurriedRecordMs = 1_000;

/** Names remembered at once, unknown ones too: a scan of names must not fill the memory. */
const maxClusters = 2_000;

/** A cluster with the door to it. */
export interface KnownCluster {
  readonly record: ClusterRecord;
  readonly door: TokenDoor;
  readonly configuration: AuthenticationConfiguration;
}

interface Entry {
  readonly text: string | undefined;
  readonly cluster: KnownCluster | undefined;
  readonly atMs: number;
}

export class ClusterBook {
  readonly #entries = new Map<string, Entry>();
  readonly #own: OwnIssuer;

  /** @param own the gateway itself as an issuer */
  constructor(own: OwnIssuer) {
    this.#own = own;
  }

  /** The cluster of this name, or undefined when none is registered. */
  async find(registry: RegistryStub, name: ClusterName): Promise<KnownCluster | undefined> {
    return this.#find(registry, name, recordMs);
  }

  /** The cluster as it is registered now, for a token whose key was not known: its agent may have reported one since. */
  async findAgain(registry: RegistryStub, name: ClusterName): Promise<KnownCluster | undefined> {
    return this.#find(registry, name, hurriedRecordMs);
  }

  async #find(registry: RegistryStub, name: ClusterName, believedMs: number): Promise<KnownCluster | undefined> {
    const entry = this.#entries.get(name);
    if (entry !== undefined && Date.now() - entry.atMs < believedMs) return entry.cluster;
    const record = await registry.get(name);
    const text = record === undefined ? undefined : JSON.stringify(record);
    const cluster = entry !== undefined && entry.text === text ? entry.cluster : knowCluster(record, this.#own);
    this.#entries.delete(name);
    this.#entries.set(name, { text, cluster, atMs: Date.now() });
    this.#shrink();
    return cluster;
  }

  /** Forgets what this isolate knows of a cluster that it has just changed. */
  forget(name: ClusterName): void {
    this.#entries.delete(name);
  }

  #shrink(): void {
    for (const name of this.#entries.keys()) {
      if (this.#entries.size <= maxClusters) return;
      this.#entries.delete(name);
    }
  }
}

function knowCluster(record: ClusterRecord | undefined, own: OwnIssuer): KnownCluster | undefined {
  if (record === undefined) return undefined;
  const { authenticationConfiguration, issuerKeys, name } = record.registration;
  const parsed = parseAuthenticationConfiguration(authenticationConfiguration, name);
  if (parsed.type === "invalid") return undefined; // it was valid when it was registered; a stricter version denies it
  const { configuration } = parsed;
  const keysFor = openIssuerKeys(configuration, issuerKeys, record.reportedKeys, own);
  return { record, configuration, door: createTokenDoor({ configuration, keysFor, clock: () => Date.now() }) };
}
