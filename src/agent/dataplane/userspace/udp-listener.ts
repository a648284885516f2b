/**
 * UDP at one frontend. A client's address and port are a flow, which keeps its endpoint as a conntrack entry does: until it is silent
 * too long, or its endpoint serves no more. Answers leave from the frontend's own socket, so that they come from the address that was asked.
 */
import { once } from "node:events";
import type { RemoteInfo, Socket } from "node:dgram";
import { endpointKey } from "./affinity.ts";
import type { Frontend } from "./frontends.ts";
import type { FrontendCounters, Listener, ListenerServices } from "./listener.ts";
import { ignoreLoss, UdpFlow } from "./udp-flow.ts";

export class UdpListener implements Listener {
  readonly #services: ListenerServices;
  readonly #counters: FrontendCounters;
  #frontend: Frontend;
  readonly #socket: Socket;
  /** By the client's address and port. */
  readonly #flows = new Map<string, UdpFlow>();
  /** Flows that may be over after a question and its answer, the oldest first: they make room when there is none. */
  readonly #brief = new Set<UdpFlow>();

  constructor(frontend: Frontend, counters: FrontendCounters, services: ListenerServices) {
    this.#frontend = frontend;
    this.#counters = counters;
    this.#services = services;
    this.#socket = services.sockets.datagram(frontend.servicePort.family);
  }

  async open(): Promise<void> {
    const { address, port } = this.#frontend;
    this.#socket.on("message", (datagram, client) => this.#receive(datagram, client));
    const listening = once(this.#socket, "listening");
    this.#socket.bind({ address, port, exclusive: true });
    await listening;
    this.#socket.on("error", ignoreLoss);
  }

  /** Flows whose endpoint serves no more end; their clients' next datagrams choose anew. */
  update(frontend: Frontend): void {
    this.#frontend = frontend;
    const serving = new Set(frontend.servicePort.serving.map(endpointKey));
    for (const flow of [...this.#flows.values()]) if (!serving.has(endpointKey(flow.endpoint))) flow.end();
  }

  close(): void {
    for (const flow of [...this.#flows.values()]) flow.end();
    this.#socket.close();
  }

  #receive(datagram: Buffer, client: RemoteInfo): void {
    const flow = this.#flows.get(clientKey(client)) ?? this.#begin(client);
    if (flow?.send(datagram) !== true) this.#counters.refused += 1;
  }

  /** undefined: the policy drops it, or there is no room. */
  #begin(client: RemoteInfo): UdpFlow | undefined {
    const { router } = this.#services;
    const source = { address: client.address, frontendAddress: this.#frontend.address };
    const outcome = router.outcome(this.#frontend, source);
    if (outcome.type !== "balance") return undefined;
    for (const endpoint of router.attempts(this.#frontend, client.address, outcome.endpoints)) {
      if (!router.mayDial(this.#frontend, source, endpoint)) continue;
      if (!this.#makeRoom()) return undefined;
      router.remember(this.#frontend, client.address, endpoint);
      return this.#track(client, endpoint);
    }
    return undefined;
  }

  #track(client: RemoteInfo, endpoint: UdpFlow["endpoint"]): UdpFlow {
    const { clock, sockets, limits, router, flows } = this.#services;
    const { queuedDatagrams, sendQueueBytes } = limits;
    const key = clientKey(client);
    const flow = new UdpFlow({
      endpoint,
      socket: sockets.datagram(this.#frontend.servicePort.family),
      clock,
      queuedDatagrams,
      sendQueueBytes,
      answer: (datagram) => this.#answer(datagram, client),
      onStream: () => this.#brief.delete(flow),
      onEnd: (reason) => {
        this.#flows.delete(key);
        this.#brief.delete(flow);
        flows.give();
        this.#counters.end(flow);
        if (reason === "refused") router.forget(this.#frontend, client.address);
      },
    });
    this.#flows.set(key, flow);
    this.#brief.add(flow);
    this.#counters.begin(flow);
    flow.start();
    return flow;
  }

  #answer(datagram: Buffer, client: RemoteInfo): boolean {
    if (this.#socket.getSendQueueSize() + datagram.length > this.#services.limits.sendQueueBytes) return false;
    this.#socket.send(datagram, client.port, client.address, ignoreLoss);
    return true;
  }

  /** Takes a place for a flow; the oldest flow of a single question gives up its own, as the kernel does it (early drop). */
  #makeRoom(): boolean {
    const { flows, limits } = this.#services;
    if (this.#flows.size < limits.flowsPerFrontend && flows.tryTake()) return true;
    const [oldest] = this.#brief;
    if (oldest === undefined) return false;
    oldest.end();
    return flows.tryTake();
  }
}

function clientKey({ address, port }: RemoteInfo): string {
  return `${address} ${port}`;
}
