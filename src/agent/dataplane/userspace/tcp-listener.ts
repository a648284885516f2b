/** TCP at one frontend: takes clients, finds an endpoint that takes them, and joins the two. */
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { Endpoint } from "#agent/dataplane/dataplane.ts";
import { withoutZone } from "#agent/dataplane/ip-address.ts";
import type { ClientSource } from "./client-rules.ts";
import type { Upstream } from "./dial.ts";
import type { Frontend } from "./frontends.ts";
import { failoverMs, listenBacklog, tcpKeepAliveMs } from "./limits.ts";
import type { FrontendCounters, Listener, ListenerServices } from "./listener.ts";
import { encodeProxyHeader } from "./proxy-protocol.ts";
import { breakOff, splice } from "./splice.ts";

export class TcpListener implements Listener {
  readonly #services: ListenerServices;
  readonly #counters: FrontendCounters;
  #frontend: Frontend;
  #isClosed = false;
  /** Clients that hold a place, from the accept to the end. */
  #held = 0;
  readonly #server: Server;

  constructor(frontend: Frontend, counters: FrontendCounters, services: ListenerServices) {
    this.#frontend = frontend;
    this.#counters = counters;
    this.#services = services;
    this.#server = createServer(
      { allowHalfOpen: true, pauseOnConnect: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: tcpKeepAliveMs },
      (client) => void this.#accept(client),
    );
  }

  async open(): Promise<void> {
    const { address, port } = this.#frontend;
    this.#server.listen({ host: address, port, ipv6Only: true, backlog: listenBacklog });
    await once(this.#server, "listening");
    // accept(2) fails when the process has no file descriptor left: that client is lost, the listener is not.
    this.#server.on("error", () => {
      this.#counters.refused += 1;
    });
  }

  update(frontend: Frontend): void {
    this.#frontend = frontend;
  }

  close(): void {
    this.#isClosed = true;
    this.#server.close();
  }

  async #accept(client: Socket): Promise<void> {
    client.on("error", ignoreReset);
    const source = sourceOf(client);
    if (source === undefined || this.#held >= this.#services.limits.connectionsPerFrontend || !this.#services.connections.tryTake()) {
      this.#refuse(client);
      return;
    }
    this.#held += 1;
    const end = (): void => breakOff(client);
    this.#services.open.add(end);
    try {
      await this.#serve(client, source);
    } finally {
      this.#services.open.delete(end);
      this.#services.connections.give();
      this.#held -= 1;
    }
  }

  async #serve(client: Socket, source: ClientSource): Promise<void> {
    const upstream = await this.#dialOne(client, source);
    if (upstream === undefined) {
      this.#refuse(client);
      return;
    }
    this.#counters.begin(client);
    const header = this.#proxyHeader(client, source);
    if (header.length > 0) upstream.socket.write(header);
    await splice(client, upstream);
    this.#counters.end(client);
  }

  /** The first endpoint that takes the connection, each asked once. undefined: none did, or the client or the frontend is gone. */
  async #dialOne(client: Socket, source: ClientSource): Promise<Upstream | undefined> {
    const { router, sockets, clock } = this.#services;
    const outcome = router.outcome(this.#frontend, source);
    if (outcome.type !== "balance") return undefined;
    const giveUpAtMs = clock.now() + failoverMs;
    let dials = 0;
    for (const endpoint of router.attempts(this.#frontend, source.address, outcome.endpoints)) {
      if (this.#isClosed || client.destroyed || clock.now() >= giveUpAtMs) return undefined;
      // Another table may have come while the endpoint before was asked.
      if (!router.mayDial(this.#frontend, source, endpoint)) continue;
      if (dials > 0) this.#counters.failovers += 1;
      dials += 1;
      const result = await sockets.dial(endpoint);
      if (result.type === "connected") return this.#taken(client, result.upstream, source, endpoint);
    }
    return undefined;
  }

  #taken(client: Socket, upstream: Upstream, source: ClientSource, endpoint: Endpoint): Upstream | undefined {
    if (this.#isClosed || client.destroyed) {
      upstream.socket.resetAndDestroy();
      return undefined;
    }
    this.#services.router.remember(this.#frontend, source.address, endpoint);
    return upstream;
  }

  #proxyHeader(client: Socket, source: ClientSource): Buffer {
    const { servicePort, port } = this.#frontend;
    return encodeProxyHeader(servicePort.proxyProtocol, {
      family: servicePort.family,
      clientAddress: source.address,
      clientPort: client.remotePort ?? 0,
      frontendAddress: source.frontendAddress,
      frontendPort: port,
    });
  }

  /** A reset, so that the client sees at once what a refused connection would have told it. */
  #refuse(client: Socket): void {
    this.#counters.refused += 1;
    client.resetAndDestroy();
  }
}

/** undefined: the client was gone before it was accepted. */
function sourceOf({ remoteAddress, localAddress }: Socket): ClientSource | undefined {
  if (remoteAddress === undefined || localAddress === undefined) return undefined;
  return { address: withoutZone(remoteAddress), frontendAddress: withoutZone(localAddress) };
}

/** A connection that breaks is told by its close; the other end is broken in the same way there. */
function ignoreReset(): void {}
