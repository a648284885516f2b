/** Session affinity by client address: which endpoint a client of one Service port went to last, and for how long that counts. */
import type { Clock } from "#agent/clock.ts";
import type { Endpoint } from "#agent/dataplane/dataplane.ts";

interface Sticky {
  readonly endpoint: Endpoint;
  readonly atMs: number;
}

/** What one Service port remembers, at all of its frontends together. */
export class ClientAffinity {
  readonly #clock: Clock;
  readonly #maxClients: number;
  /** The client that was silent longest comes first. */
  readonly #clients = new Map<string, Sticky>();
  /** As the Service says it now; a change counts for clients that are remembered already. */
  timeoutSeconds: number;

  constructor(clock: Clock, maxClients: number, timeoutSeconds: number) {
    this.#clock = clock;
    this.#maxClients = maxClients;
    this.timeoutSeconds = timeoutSeconds;
  }

  get size(): number {
    return this.#clients.size;
  }

  /** Where a client went last, if that is an endpoint it may go to now and not too long ago. */
  endpointOf(client: string, endpoints: readonly Endpoint[]): Endpoint | undefined {
    const sticky = this.#clients.get(client);
    if (sticky === undefined || this.#isOver(sticky)) return undefined;
    return endpoints.find((endpoint) => isSameEndpoint(endpoint, sticky.endpoint));
  }

  /** A client went to an endpoint with a new connection. */
  remember(client: string, endpoint: Endpoint): void {
    this.#clients.delete(client);
    for (const [other, sticky] of this.#clients) {
      if (!this.#isOver(sticky) && this.#clients.size < this.#maxClients) break;
      this.#clients.delete(other);
    }
    this.#clients.set(client, { endpoint, atMs: this.#clock.now() });
  }

  /** A client's endpoint did not take it: its next connection chooses anew. */
  forget(client: string): void {
    this.#clients.delete(client);
  }

  /** Clients of endpoints that serve no more are free at once, also when such an endpoint comes back. */
  keepOnly(serving: readonly Endpoint[]): void {
    const keys = new Set(serving.map(endpointKey));
    for (const [client, { endpoint }] of this.#clients) if (!keys.has(endpointKey(endpoint))) this.#clients.delete(client);
  }

  #isOver({ atMs }: Sticky): boolean {
    return this.#clock.now() - atMs >= this.timeoutSeconds * 1_000;
  }
}

export function isSameEndpoint(one: Endpoint, other: Endpoint): boolean {
  return one.port === other.port && one.address === other.address;
}

export function endpointKey({ address, port }: Endpoint): string {
  return `${address} ${port}`;
}
