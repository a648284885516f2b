/** The open HTTP/1.1 connections to one apiserver: each carries one request at a time, idle ones are used again, the newest first. */
import { buildConnector, Client } from "undici";
import type { Clock } from "#agent/clock.ts";
import {
  dialTimeoutMs,
  idleConnectionMs,
  maxConnectionAgeMs,
  maxIdleConnections,
  maxRequestsPerConnection,
  maxResponseHeaderBytes,
  tcpKeepAliveMs,
} from "./limits.ts";
import type { ApiserverAddress, ClientTls } from "./upstream.ts";

export interface ConnectionOptions {
  readonly address: ApiserverAddress;
  /** The agent's own TLS material as it is now; asked for each new connection. */
  readonly tls: () => ClientTls;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** Told when a connection ends while nobody uses it. */
  readonly onIdleLost?: () => void;
}

/** A connection, lent to one request at a time. */
export interface Connection {
  readonly client: Client;
  /** Requests that it was lent to. */
  served: number;
  /** It takes no further request. */
  worn: boolean;
  readonly requestsLimit: number;
  readonly retireAtMs: number;
  /** What it was dialled with: a connection keeps the client certificate that it showed. */
  readonly tls: ClientTls;
}

type Connector = ReturnType<typeof buildConnector>;

export class Connections {
  readonly #options: ConnectionOptions;
  readonly #open = new Set<Connection>();
  #idle: Connection[] = [];
  #connector: { readonly tls: ClientTls; readonly connect: Connector } | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Lends a connection: an idle one unless `fresh`, else one that dials when it is used. */
  acquire(fresh: boolean): Connection {
    const tls = this.#options.tls();
    if (this.#connector !== undefined && this.#connector.tls !== tls) this.dropIdle();
    const connection = (fresh ? undefined : this.#idle.pop()) ?? this.#create(tls);
    connection.served += 1;
    return connection;
  }

  /** Takes a connection back when its request is over. */
  release(connection: Connection): void {
    if (!this.#open.has(connection)) return;
    const changed = connection.tls !== this.#connector?.tls;
    const old = changed || connection.served >= connection.requestsLimit || this.#options.clock.now() >= connection.retireAtMs;
    if (connection.worn || old || this.#idle.length >= maxIdleConnections) this.#discard(connection);
    else this.#idle.push(connection);
  }

  /** Closes what is idle: a server that fell may have left it half open. */
  dropIdle(): void {
    for (const connection of this.#idle) this.#discard(connection);
    this.#idle = [];
  }

  /** Closes idle connections now and the others when their requests are over. */
  retire(): void {
    this.dropIdle();
    for (const connection of this.#open) connection.worn = true;
  }

  /** Closes everything at once. */
  async close(): Promise<void> {
    const open = [...this.#open];
    this.#open.clear();
    this.#idle = [];
    await Promise.all(open.map(async ({ client }) => client.destroy()));
  }

  #create(tls: ClientTls): Connection {
    const { address, clock, random } = this.#options;
    const vary = (value: number): number => Math.round(value * (0.8 + 0.4 * random()));
    const connection: Connection = {
      client: new Client(address.url, {
        connect: this.#dialer(tls),
        allowH2: false,
        pipelining: 1,
        keepAliveTimeout: idleConnectionMs,
        keepAliveMaxTimeout: idleConnectionMs,
        maxHeaderSize: maxResponseHeaderBytes,
      }),
      served: 0,
      worn: false,
      tls,
      requestsLimit: vary(maxRequestsPerConnection),
      retireAtMs: clock.now() + vary(maxConnectionAgeMs),
    };
    this.#open.add(connection);
    connection.client.on("disconnect", () => this.#disconnected(connection));
    connection.client.on("connectionError", () => this.#disconnected(connection));
    return connection;
  }

  /** A connector for the present TLS material; keeping it keeps its TLS sessions, which halve the price of a dial. */
  #dialer(tls: ClientTls): Connector {
    if (this.#connector?.tls !== tls) this.#connector = { tls, connect: buildConnector(dialOptions(this.#options.address, tls)) };
    return this.#connector.connect;
  }

  #disconnected(connection: Connection): void {
    connection.worn = true;
    const index = this.#idle.indexOf(connection);
    if (index === -1) return;
    this.#idle.splice(index, 1);
    this.#discard(connection);
    this.#options.onIdleLost?.();
  }

  #discard(connection: Connection): void {
    this.#open.delete(connection);
    // Not destroyed: a request that was queued on it before it was written may still be under way.
    void connection.client.close();
  }
}

function dialOptions(address: ApiserverAddress, tls: ClientTls): buildConnector.BuildOptions {
  const ca = address.ca ?? tls.ca;
  const serverName = address.serverName ?? tls.serverName;
  return {
    timeout: dialTimeoutMs,
    keepAlive: true,
    keepAliveInitialDelay: tcpKeepAliveMs,
    allowH2: false,
    rejectUnauthorized: !tls.insecure,
    ...(ca === undefined ? {} : { ca }),
    ...(serverName === undefined ? {} : { servername: serverName }),
    ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
  };
}
