/**
 * The agent's own keys of the cluster's issuers: fetched by itself, with the certificate authority that the configuration names, or
 * from a file. What the gateway says of keys is never asked for: two roots that agree are the point of verifying twice.
 */
import { request } from "node:https";
import type { IncomingMessage } from "node:http";
import { GatewayError } from "#core/errors.ts";
import type { PublicKeySet } from "#core/gateway-api.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { createRemoteKeys, createStaticKeys } from "#identity/keys.ts";
import type { FetchKeys } from "#identity/keys.ts";
import type { KeySource } from "#identity/key-source.ts";

export interface IssuerKeysOptions {
  readonly configuration: AuthenticationConfiguration;
  /** JWK Sets by issuer URL, for issuers that the agent cannot reach. */
  readonly files: Readonly<Record<string, unknown>>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

/** The keys of each issuer of the configuration. */
export class IssuerKeys {
  readonly #sources: ReadonlyMap<string, KeySource>;

  /** @throws GatewayError CONFIGURATION_INVALID for a key set that is none */
  constructor(options: IssuerKeysOptions) {
    this.#sources = new Map(options.configuration.authenticators.map(({ issuer }) => [issuer.url, openSource(issuer, options)]));
  }

  readonly keysFor = (issuerUrl: string): KeySource | undefined => this.#sources.get(issuerUrl);

  /** Fetches what is due, and gives the public keys that are known: the gateway may not be able to fetch them itself. */
  async report(): Promise<Readonly<Record<string, PublicKeySet>>> {
    const known: [string, PublicKeySet][] = [];
    for (const [issuer, source] of this.#sources) {
      await source.refresh();
      const text = source.exportKeys();
      if (text !== undefined) known.push([issuer, JSON.parse(text)]);
    }
    return Object.fromEntries(known);
  }
}

type Issuer = AuthenticationConfiguration["authenticators"][number]["issuer"];

function openSource(issuer: Issuer, options: IssuerKeysOptions): KeySource {
  const file = options.files[issuer.url];
  if (file === undefined) {
    return createRemoteKeys({
      issuerUrl: issuer.url,
      discoveryUrl: issuer.discoveryUrl,
      fetch: fetchWith(issuer.certificateAuthority),
      clock: options.clock,
      createDeadline: (ms) => AbortSignal.timeout(ms),
      flight: "shared",
    });
  }
  const created = createStaticKeys(JSON.stringify(file));
  if (created.type === "malformed")
    throw new GatewayError("CONFIGURATION_INVALID", `--issuer-keys, issuer ${issuer.url}: ${created.message}`);
  return created.keys;
}

/** A fetch over TLS that trusts the given authority instead of the system's, sends no credential and follows no redirect. */
function fetchWith(certificateAuthority: string | undefined): FetchKeys {
  return (url, init) =>
    new Promise((resolve, reject) => {
      const options = {
        headers: init.headers,
        signal: init.signal,
        ...(certificateAuthority !== undefined && { ca: certificateAuthority }),
      };
      const sent = request(url, options, (response) =>
        resolve({ status: response.statusCode ?? 0, body: { getReader: () => readerOf(response) } }),
      );
      sent.on("error", reject);
      sent.end();
    });
}

function readerOf(response: IncomingMessage) {
  const chunks = response[Symbol.asyncIterator]();
  return {
    read: async () => {
      const next: IteratorResult<Buffer> = await chunks.next();
      return next.done === true ? { done: true } : { done: false, value: new Uint8Array(next.value) };
    },
    cancel: async () => {
      response.destroy();
    },
  };
}
