/** Health check node ports: an HTTP server for each Service that has one, which tells load balancers whether this node has endpoints. */
import type { Clock } from "#agent/clock.ts";
import type { IpFamily, NodePortAddresses } from "#agent/dataplane/dataplane.ts";
import type { HealthCheck } from "#agent/dataplane/node-plan.ts";
import type { HttpAnswer, Listen, Listening } from "./http-listener.ts";

/** A Service's health check in one of its families. */
export interface FamilyHealthCheck extends HealthCheck {
  readonly family: IpFamily;
}

export interface HealthCheckPortsOptions {
  readonly listen: Listen;
  /** Where a family has its node ports. */
  readonly addresses: (family: IpFamily) => NodePortAddresses;
  /** Whether the proxy keeps up. */
  readonly isProxyHealthy: () => boolean;
  /** Told when a port cannot be listened at, once for each reason. */
  readonly onFailure: (check: HealthCheck, message: string) => void;
  readonly clock: Clock;
}

/** Time until a port that could not be had is tried again. */
const retryMs = 30_000;

/** One server, for all families of a Service. */
interface WantedPort {
  readonly check: HealthCheck;
  readonly hosts: readonly string[];
}

interface OpenPort {
  wanted: WantedPort;
  readonly listening: readonly Listening[];
}

/** The servers that are open. Changes run one after another. */
export class HealthCheckPorts {
  readonly #options: HealthCheckPortsOptions;
  readonly #open = new Map<string, OpenPort>();
  readonly #failures = new Map<string, string>();
  #wanted: ReadonlyMap<string, WantedPort> = new Map();
  #work: Promise<void> = Promise.resolve();
  #cancelRetry: () => void = () => undefined;

  constructor(options: HealthCheckPortsOptions) {
    this.#options = options;
  }

  /** Opens and closes servers; those that stay say the new counts at once. Resolves when it is done, and never rejects. */
  async sync(checks: readonly FamilyHealthCheck[]): Promise<void> {
    this.#wanted = this.#mergeFamilies(checks);
    for (const [key, wanted] of this.#wanted) {
      const open = this.#open.get(key);
      if (open !== undefined && isSamePlace(open.wanted, wanted)) open.wanted = wanted;
    }
    this.#work = this.#work.then(() => this.#change());
    await this.#work;
  }

  async close(): Promise<void> {
    await this.sync([]);
    this.#cancelRetry();
  }

  /** One server for each Service: a pod counts once, whichever of its addresses is of which family. */
  #mergeFamilies(checks: readonly FamilyHealthCheck[]): ReadonlyMap<string, WantedPort> {
    const merged = new Map<string, WantedPort>();
    for (const check of checks) {
      const key = `${check.namespace}/${check.name}`;
      const other = merged.get(key);
      const isMore = other === undefined || other.check.localReadyEndpoints < check.localReadyEndpoints;
      const hosts = new Set([...(other?.hosts ?? []), ...this.#hostsOf(check.family)]);
      merged.set(key, { check: isMore ? check : other.check, hosts: [...hosts] });
    }
    return merged;
  }

  #hostsOf(family: IpFamily): readonly string[] {
    const addresses = this.#options.addresses(family);
    if (addresses.type === "only") return addresses.addresses;
    return [family === "IPv4" ? "0.0.0.0" : "::"];
  }

  async #change(): Promise<void> {
    this.#cancelRetry();
    for (const [key, open] of this.#open) {
      const wanted = this.#wanted.get(key);
      if (wanted !== undefined && isSamePlace(open.wanted, wanted)) continue;
      this.#open.delete(key);
      await closeAll(open.listening);
    }
    for (const [key, wanted] of this.#wanted) if (!this.#open.has(key)) await this.#listen(key, wanted);
    for (const key of this.#failures.keys()) if (!this.#wanted.has(key)) this.#failures.delete(key);
    if (this.#failures.size > 0) {
      this.#cancelRetry = this.#options.clock.after(retryMs, () => {
        this.#work = this.#work.then(() => this.#change());
      });
    }
  }

  async #listen(key: string, wanted: WantedPort): Promise<void> {
    const { listen, onFailure } = this.#options;
    const { check, hosts } = wanted;
    const listening: Listening[] = [];
    try {
      for (const host of hosts) listening.push(await listen({ host, port: check.port, isOneFamily: true }, () => this.#answer(key, check)));
      this.#open.set(key, { wanted: this.#wanted.get(key) ?? wanted, listening });
      this.#failures.delete(key);
    } catch (thrown) {
      await closeAll(listening);
      const message = thrown instanceof Error ? thrown.message : "an unknown failure";
      if (this.#failures.get(key) !== message) onFailure(check, message);
      this.#failures.set(key, message);
    }
  }

  /** As kube-proxy's: 200 while there is a ready endpoint here and the proxy keeps up; the weight is KEP-3836's. */
  #answer(key: string, opened: HealthCheck): HttpAnswer {
    const { namespace, name, localReadyEndpoints } = this.#open.get(key)?.wanted.check ?? opened;
    const isProxyHealthy = this.#options.isProxyHealthy();
    const body = { service: { namespace, name }, localEndpoints: localReadyEndpoints, serviceProxyHealthy: isProxyHealthy };
    return {
      status: localReadyEndpoints > 0 && isProxyHealthy ? 200 : 503,
      contentType: "application/json",
      headers: { "x-load-balancing-endpoint-weight": String(localReadyEndpoints) },
      body: JSON.stringify(body),
    };
  }
}

function isSamePlace(one: WantedPort, other: WantedPort): boolean {
  return one.check.port === other.check.port && one.hosts.join(" ") === other.hosts.join(" ");
}

async function closeAll(listening: readonly Listening[]): Promise<void> {
  await Promise.all(listening.map(async (one) => one.close()));
}
