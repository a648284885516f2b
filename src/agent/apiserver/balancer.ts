/**
 * The balancer for clients inside: each TCP connection goes to one apiserver, whole and unread, TLS and all. What must stay true:
 *
 * - No timer ends a connection for being quiet: a watch may have nothing to say for hours. Only a server that is dead loses its own.
 * - A server that is not ready gets no new connections and keeps those it has: it ends them itself when it stops.
 * - A connection that a server never answered goes to the next one, with the same first bytes. They are a TLS ClientHello, which asks for
 *   nothing; anything more (early data) is never sent twice.
 * - Health and choice are those of the pool that the agent's own requests use.
 */
import type { Socket } from "node:net";
import type { Clock } from "#agent/clock.ts";
import { Apiserver } from "./apiserver.ts";
import { sameAddress } from "./address.ts";
import { maxAttempts, maxPassages, silentClientMs } from "./limits.ts";
import { Passage } from "./passage.ts";
import { createReadyzProbe, isRefusal } from "./probe.ts";
import type { Probe } from "./probe.ts";
import { orderByLoad } from "./selection.ts";
import type { ApiserverAddress, ClientTls, PoolState } from "./upstream.ts";

export interface BalancerOptions {
  readonly servers: readonly ApiserverAddress[];
  /** The agent's own TLS material as it is now, for probes. */
  readonly tls: () => ClientTls;
  /** The agent's own Authorization value, for probes. */
  readonly authorization: () => Promise<string | undefined>;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** Opens a TCP connection. */
  readonly dial: (host: string, port: number) => Socket;
  /** How a server is probed; tests give their own. */
  readonly probe?: (address: ApiserverAddress) => Probe;
}

export class Balancer {
  readonly #options: BalancerOptions;
  readonly #retired = new Set<Apiserver>();
  readonly #passages = new Set<Passage>();
  #servers: Apiserver[] = [];
  #isStarted = false;
  #onEmpty: (() => void) | undefined;

  constructor(options: BalancerOptions) {
    this.#options = options;
    this.setServers(options.servers);
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#passages.size;
  }

  /** Begins probing. */
  start(): void {
    this.#isStarted = true;
    for (const server of this.#servers) server.startProbing();
  }

  /** Replaces the addresses; servers that stay keep their health, those that go keep the connections that they have. */
  setServers(addresses: readonly ApiserverAddress[]): void {
    for (const server of this.#retired) if (server.load === 0) this.#retired.delete(server);
    const kept = this.#servers.filter((server) => addresses.some((address) => sameAddress(address, server.address)));
    for (const server of this.#servers.filter((each) => !kept.includes(each))) {
      this.#retired.add(server);
      void server.retire();
    }
    const added = addresses.filter((address) => !kept.some((server) => sameAddress(address, server.address)));
    this.#servers = [...kept, ...added.map((address) => this.#create(address))];
    if (this.#isStarted) this.start();
  }

  state(): PoolState {
    const servers = this.#servers.map((server) => server.state());
    return { servers, ready: servers.some((server) => server.health === "ready") };
  }

  /** Takes a client's connection; it must allow half-open ends. */
  accept(client: Socket): void {
    if (this.#passages.size >= maxPassages) {
      client.destroy();
      return;
    }
    const { clock, dial } = this.#options;
    const passage = new Passage({
      client,
      clock,
      // Chosen when the client speaks: whoever only looks whether the port is open costs no apiserver anything.
      candidates: () => orderByLoad(this.#servers, this.#options.random).slice(0, maxAttempts),
      dial: (server) => {
        const url = new URL(server.address.url);
        return dial(url.hostname.replaceAll(/[[\]]/g, ""), url.port === "" ? 443 : Number(url.port));
      },
      silentClientMs,
      onFailure: (server, cause) => this.#noteFailure(server, cause),
      onOver: () => {
        this.#passages.delete(passage);
        if (this.#passages.size === 0) this.#onEmpty?.();
      },
    });
    this.#passages.add(passage);
  }

  /** Resolves when no connection is open any more. */
  async drained(): Promise<void> {
    if (this.#passages.size === 0) return;
    await new Promise<void>((resolve) => (this.#onEmpty = resolve));
  }

  /** Ends everything that is open. */
  async close(): Promise<void> {
    for (const passage of this.#passages) passage.destroy();
    await Promise.all([...this.#servers, ...this.#retired].map((server) => server.close()));
  }

  /** As in the pool: connections alone take out at most half of the servers. */
  #noteFailure(server: Apiserver, cause: Error): void {
    if (isRefusal(cause)) return server.note({ type: "refused" }, cause.message);
    const out = this.#servers.filter((other) => other !== server && other.ejected).length;
    server.note({ type: "failed", mayEject: (out + 1) * 2 <= this.#servers.length }, cause.message);
  }

  #create(address: ApiserverAddress): Apiserver {
    const { tls, clock, random, authorization } = this.#options;
    const connection = { address, tls, clock, random };
    const probe = this.#options.probe?.(address) ?? createReadyzProbe({ connection, clock, authorization });
    return new Apiserver({ connection, probe, clock, random });
  }
}
