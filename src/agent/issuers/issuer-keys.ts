/**
 * The agent's own keys of the cluster's issuers: fetched by itself, with the certificate authority that the configuration names, or
 * from a file. What the gateway says of keys is never asked for: two roots that agree are the point of verifying twice.
 */
import { request } from "node:https";
import type { IncomingMessage } from "node:http";
import { GatewayError } from "#core/errors.ts";
import type { PublicKeySet } from "#core/gateway-api.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { createIssuerKeys } from "#identity/issuer-keys.ts";
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
  /** The keys of one issuer, for a token door. */
  readonly keysFor: (issuerUrl: string) => KeySource | undefined;
  readonly #issuers: readonly string[];

  /** @throws GatewayError CONFIGURATION_INVALID for key sets that are none */
  constructor(options: IssuerKeysOptions) {
    const created = createIssuerKeys(options.configuration, {
      registered: new Map(Object.entries(options.files).map(([issuer, set]) => [issuer, JSON.stringify(set)])),
      fetchFor: (issuer) => fetchWith(issuer.certificateAuthority),
      clock: options.clock,
      createDeadline: (ms) => AbortSignal.timeout(ms),
      flight: "shared",
    });
    if (created.type === "malformed") throw new GatewayError("CONFIGURATION_INVALID", `--issuer-keys: ${created.problems.join("; ")}`);
    this.keysFor = created.keysFor;
    this.#issuers = options.configuration.authenticators.map(({ issuer }) => issuer.url);
  }

  /** Fetches what is due, and gives the public keys that are known: the gateway may not be able to fetch them itself. */
  async report(): Promise<Readonly<Record<string, PublicKeySet>>> {
    const known: [string, PublicKeySet][] = [];
    for (const issuer of this.#issuers) {
      const source = this.keysFor(issuer);
      await source?.refresh();
      const text = source?.exportKeys();
      if (text !== undefined) known.push([issuer, JSON.parse(text)]);
    }
    return Object.fromEntries(known);
  }
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
