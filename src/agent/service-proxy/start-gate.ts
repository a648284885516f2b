/** When the first rules may be made: the whole of the cluster is known, and the node has the addresses that rules are made with. */
import type { Clock } from "#agent/clock.ts";
import type { NodeObject } from "#agent/dataplane/objects.ts";

/** How long the Node's addresses are waited for, as kube-proxy does. Without them node ports are served at all addresses. */
export const nodeAddressMs = 30_000;

/** How long its pod ranges are waited for, where local traffic is known by them. Without them nothing could be told apart. */
export const podCidrMs = 300_000;

export interface StartGateOptions {
  readonly clock: Clock;
  /** Whether rules need the Node's pod ranges (detectLocalMode NodeCIDR). */
  readonly needsPodCidrs: boolean;
  readonly isSynced: () => boolean;
  readonly node: () => NodeObject | undefined;
  /** Called once, when the first rules may be made; `missing` says what they are made without. */
  readonly onOpen: (missing: string | undefined) => void;
  /** Called instead, when they never may. */
  readonly onImpossible: (reason: string) => void;
}

/** Looks again whenever something has changed. */
export class StartGate {
  readonly #options: StartGateOptions;
  #isOver = false;
  #isWaiting = false;
  #hasWaited = false;
  #cancel: () => void = () => undefined;

  constructor(options: StartGateOptions) {
    this.#options = options;
  }

  /** Something has changed. */
  look(): void {
    const { isSynced, node } = this.#options;
    if (this.#isOver || !isSynced()) return;
    const missing = this.#missing(node());
    if (missing === undefined || this.#hasWaited) this.#open(missing);
    else this.#wait(missing);
  }

  close(): void {
    this.#isOver = true;
    this.#cancel();
  }

  #missing(node: NodeObject | undefined): string | undefined {
    if (node === undefined) return "the cluster has no Node of this name";
    if (this.#options.needsPodCidrs && node.podCidrs.length === 0) return "the Node has no spec.podCIDRs";
    return node.internalIps.length === 0 ? "the Node has no addresses" : undefined;
  }

  #open(missing: string | undefined): void {
    this.close();
    this.#options.onOpen(missing);
  }

  #wait(missing: string): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    const { clock, needsPodCidrs, onImpossible, node } = this.#options;
    this.#cancel = clock.after(needsPodCidrs ? podCidrMs : nodeAddressMs, () => {
      this.#hasWaited = true;
      const still = this.#missing(node()) ?? missing;
      if (!needsPodCidrs) return this.look();
      this.close();
      onImpossible(`${still}, and detectLocalMode NodeCIDR needs them`);
    });
  }
}
