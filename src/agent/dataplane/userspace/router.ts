/** Chooses the endpoints of a connection from the table as it is now: the client's rules, then its affinity, then chance. */
import type { Clock } from "#agent/clock.ts";
import type { Endpoint, Outcome, ServicePort, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { canonicalAddress } from "#agent/dataplane/ip-address.ts";
import { ClientAffinity, isSameEndpoint } from "./affinity.ts";
import { type ClientRules, type ClientSource, createClientRules } from "./client-rules.ts";
import { type Frontend, frontendKey, type MachineInterfaces } from "./frontends.ts";
import type { OrdinaryAddress } from "#agent/dataplane/ordinary-address.ts";

export interface RouterOptions {
  readonly clock: Clock;
  /** 0 to 1, 1 excluded. */
  readonly random: () => number;
  /** Clients remembered for each Service port. */
  readonly affinityClients: number;
  /** Whether an endpoint may have an address. */
  readonly isOrdinary: OrdinaryAddress;
  /** Whether a key is a frontend of ours. */
  readonly isFrontend: (key: string) => boolean;
}

export class Router {
  readonly #options: RouterOptions;
  readonly #affinities = new Map<string, ClientAffinity>();
  #known: ReadonlyMap<string, ServicePort> = new Map();
  #rules: ClientRules = () => ({ type: "drop" });

  constructor(options: RouterOptions) {
    this.#options = options;
  }

  /** Takes the next table. What clients are remembered for is kept as far as the endpoints serve on. */
  update(table: ServiceTable, interfaces: MachineInterfaces): void {
    this.#rules = createClientRules(table, interfaces);
    const known = new Map(table.ports.map((port) => [servicePortKey(port), port]));
    for (const key of this.#affinities.keys()) if (known.get(key)?.affinitySeconds === undefined) this.#affinities.delete(key);
    for (const [key, port] of known) if (this.#known.get(key) !== port) this.#updateAffinity(key, port);
    this.#known = known;
  }

  /** What a client meets at a frontend. */
  outcome(frontend: Frontend, source: ClientSource): Outcome {
    return this.#rules(frontend, source);
  }

  /** The endpoints to try for a new connection, each once: the client's own first, the others in random order. */
  *attempts(frontend: Frontend, client: string, endpoints: readonly Endpoint[]): Generator<Endpoint> {
    const own = this.#affinityOf(frontend)?.endpointOf(client, endpoints);
    if (own !== undefined) yield own;
    const remaining = endpoints.filter((endpoint) => endpoint !== own);
    while (remaining.length > 0) {
      const index = Math.floor(this.#options.random() * remaining.length);
      const last = remaining.pop();
      if (last === undefined) return;
      const chosen = remaining[index] ?? last;
      if (index < remaining.length) remaining[index] = last;
      yield chosen;
    }
  }

  /** Whether an endpoint may be dialled for a client now: it is in the table, not on loopback, and no frontend of ours, which would lead back. */
  mayDial(frontend: Frontend, source: ClientSource, endpoint: Endpoint): boolean {
    const { family, protocol } = frontend.servicePort;
    const address = canonicalAddress(endpoint.address, family);
    if (address === undefined || !this.#options.isOrdinary(address, family)) return false;
    if (this.#options.isFrontend(frontendKey(protocol, address, endpoint.port))) return false;
    const outcome = this.outcome(frontend, source);
    return outcome.type === "balance" && outcome.endpoints.some((offered) => isSameEndpoint(offered, endpoint));
  }

  /** A client's connection went to an endpoint. */
  remember(frontend: Frontend, client: string, endpoint: Endpoint): void {
    this.#affinityOf(frontend)?.remember(client, endpoint);
  }

  /** A client's endpoint did not take its connection. */
  forget(frontend: Frontend, client: string): void {
    this.#affinityOf(frontend)?.forget(client);
  }

  #affinityOf({ servicePort }: Frontend): ClientAffinity | undefined {
    return servicePort.affinitySeconds === undefined ? undefined : this.#affinities.get(servicePortKey(servicePort));
  }

  #updateAffinity(key: string, { affinitySeconds, serving }: ServicePort): void {
    if (affinitySeconds === undefined) return;
    const affinity = this.#affinities.get(key) ?? new ClientAffinity(this.#options.clock, this.#options.affinityClients, affinitySeconds);
    affinity.timeoutSeconds = affinitySeconds;
    affinity.keepOnly(serving);
    this.#affinities.set(key, affinity);
  }
}

function servicePortKey({ namespace, name, portName, protocol }: ServicePort): string {
  return `${namespace}/${name}:${portName} ${protocol}`;
}
