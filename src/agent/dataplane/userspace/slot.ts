/** One frontend of the table and the socket that stands for it: opens it, closes it, and remembers why it is not open. */
import type { Outcome } from "#agent/dataplane/dataplane.ts";
import { explainBindFailure } from "./bind-failure.ts";
import type { Frontend } from "./frontends.ts";
import { FrontendCounters, type Listener, type ListenerServices } from "./listener.ts";
import { TcpListener } from "./tcp-listener.ts";
import { UdpListener } from "./udp-listener.ts";

/**
 * What a frontend does. `closed`: the table lets nobody in, and the kernel refuses clients itself: a reset for TCP, an ICMP message for UDP.
 * That is what kube-proxy does where no endpoint exists. Where the traffic policy drops, kube-proxy says nothing at all; a program cannot
 * keep the kernel from answering TCP at an address that is the machine's own, and refuses that too. Of UDP it drops in silence.
 */
export type FrontendState =
  | { readonly type: "listening" }
  | { readonly type: "closed"; readonly outcome: "drop" | "reject" }
  | { readonly type: "failed"; readonly reason: string };

export class FrontendSlot {
  readonly #services: ListenerServices;
  readonly counters = new FrontendCounters();
  #frontend: Frontend;
  #listener: Listener | undefined;
  #failure: string | undefined;

  constructor(frontend: Frontend, services: ListenerServices) {
    this.#frontend = frontend;
    this.#services = services;
  }

  get frontend(): Frontend {
    return this.#frontend;
  }

  get isListening(): boolean {
    return this.#listener !== undefined;
  }

  /** Whether it should listen and does not. */
  get isWaiting(): boolean {
    return this.#listener === undefined && takesClients(this.#frontend);
  }

  /** Whether it could not be opened as the frontend is now. */
  get hasFailed(): boolean {
    return this.#failure !== undefined;
  }

  get state(): FrontendState {
    if (this.#listener !== undefined) return { type: "listening" };
    if (this.#failure !== undefined) return { type: "failed", reason: this.#failure };
    return { type: "closed", outcome: outcomes(this.#frontend).some(({ type }) => type === "drop") ? "drop" : "reject" };
  }

  /** Takes the frontend as another table has it. What `open` has to do then is done there. */
  update(frontend: Frontend): void {
    this.#frontend = frontend;
    this.#failure = undefined;
    if (!takesClients(frontend)) this.close();
    else this.#listener?.update(frontend);
  }

  /** Listens if it should and does not; a failure is kept as the slot's state. */
  async open(serviceCidrs: readonly string[]): Promise<void> {
    if (!this.isWaiting) return;
    const listener = this.#create();
    try {
      await listener.open();
    } catch (error) {
      listener.close();
      this.#failure = explainBindFailure(error, this.#frontend, serviceCidrs);
      return;
    }
    this.#listener = listener;
    this.#failure = undefined;
  }

  close(): void {
    this.#listener?.close();
    this.#listener = undefined;
  }

  #create(): Listener {
    switch (this.#frontend.protocol) {
      case "TCP":
        return new TcpListener(this.#frontend, this.counters, this.#services);
      case "UDP":
        return new UdpListener(this.#frontend, this.counters, this.#services);
    }
  }
}

/** Whether any client could get in; of UDP also whether any is to hear nothing, which takes a socket that stays silent. */
function takesClients(frontend: Frontend): boolean {
  return outcomes(frontend).some(({ type }) => type === "balance" || (type === "drop" && frontend.protocol === "UDP"));
}

function outcomes({ kind, servicePort }: Frontend): readonly Outcome[] {
  return kind === "clusterIp" ? [servicePort.internal] : [servicePort.external, servicePort.externalFromInside];
}
