/** What the nodes' service proxies say of themselves, read from their Leases, for the agent to report through the tunnel. */
import { serviceProxyNamespace, summarizeNodeStates } from "#core/node-states.ts";
import type { NodeState, NodeStatesReport } from "#core/node-states.ts";
import type { Clock } from "#agent/clock.ts";
import { isObject, listField, objectField, textField } from "#core/json-fields.ts";
import type { ClusterApi } from "./api.ts";
import { absentResourceMs, generationReportMs, listPageSize, maxLeasePages, nodeLeaseSeconds, nodeStatesIntervalMs } from "./limits.ts";
import { nodeLeasesTarget, readNodeLease } from "./node-lease.ts";
import type { ReadLease } from "./node-lease.ts";

export interface NodeStatesOptions {
  readonly api: ClusterApi;
  readonly clock: Clock;
  /** 0 to 1. */
  readonly random: () => number;
  /** Told, in a sentence, when the cluster begins to refuse the Leases. */
  readonly onRefused: (what: string) => void;
}

/** All pages: the Leases, whether there were more than are read, and how many pages it took. */
type Listing =
  | { readonly type: "leases"; readonly leases: readonly ReadLease[]; readonly isCut: boolean; readonly pages: number }
  /** There is no service proxy here, or none that this agent may know of. */
  | { readonly type: "none"; readonly status: number; readonly reason: string }
  | { readonly type: "failed"; readonly what: string };

/** A node's Lease and when it was last seen to be renewed, by our clock: nodes' clocks may be wrong. */
interface Sighting extends ReadLease {
  readonly seenMs: number;
}

export class NodeStates {
  readonly #options: NodeStatesOptions;
  #nodes: ReadonlyMap<string, Sighting> = new Map();
  #problem: string | undefined;
  #isRefused = false;
  #isStopped = false;
  #cancel: () => void = () => undefined;
  #reported: { readonly report: NodeStatesReport; readonly key: string; readonly atMs: number } | undefined;

  constructor(options: NodeStatesOptions) {
    this.#options = options;
  }

  /** Looks once, and then again and again until `stop`. Where there is nothing to see, it looks seldom. */
  async start(): Promise<void> {
    const listing = await this.#list();
    if (this.#isStopped) return;
    this.#take(listing);
    const waitMs = listing.type === "none" ? absentResourceMs : nodeStatesIntervalMs * (listing.type === "leases" ? listing.pages : 1);
    this.#cancel = this.#options.clock.after(waitMs * (0.8 + 0.4 * this.#options.random()), () => void this.start());
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel();
  }

  /** What to report now; undefined where no service proxy is known. Generations alone change a report only now and then. */
  report(): NodeStatesReport | undefined {
    if (this.#nodes.size === 0) return undefined;
    const nowMs = this.#options.clock.now();
    const states = [...this.#nodes.values()].map((sighting) => judge(sighting, nowMs));
    const report = summarizeNodeStates(states, this.#problem);
    const key = JSON.stringify({ ...report, listed: report.listed.map((state) => ({ ...state, generation: 0 })) });
    const before = this.#reported;
    if (before !== undefined && before.key === key && nowMs - before.atMs < generationReportMs) return before.report;
    this.#reported = { report, key, atMs: nowMs };
    return report;
  }

  #take(listing: Listing): void {
    const wasRefused = this.#isRefused;
    this.#isRefused = listing.type === "none";
    switch (listing.type) {
      case "leases":
        this.#nodes = this.#sight(listing.leases);
        this.#problem = listing.isCut ? `only the first ${listing.leases.length} nodes are read` : undefined;
        return;
      case "none":
        this.#nodes = new Map();
        if (wasRefused) return;
        this.#options.onRefused(
          `no Leases in the namespace ${serviceProxyNamespace} (${listing.status} ${listing.reason}), so nodes' service proxies are not ` +
            "reported; where there are any, apply infra/rbac/service-proxy.yaml",
        );
        return;
      case "failed":
        this.#problem = listing.what;
    }
  }

  #sight(leases: readonly ReadLease[]): ReadonlyMap<string, Sighting> {
    const nowMs = this.#options.clock.now();
    return new Map(
      leases.map((lease) => {
        const { node } = lease.state;
        const before = this.#nodes.get(node);
        // One that is new to us may have been silent for long. One that changes lives, whatever moment it names.
        const seenMs =
          before === undefined ? Math.min(nowMs, lease.renewedMs) : before.renewedMs === lease.renewedMs ? before.seenMs : nowMs;
        return [node, { ...lease, seenMs }];
      }),
    );
  }

  async #list(): Promise<Listing> {
    const leases: ReadLease[] = [];
    let next = "";
    for (let pages = 1; ; pages += 1) {
      const query = `limit=${listPageSize}${next === "" ? "" : `&continue=${encodeURIComponent(next)}`}`;
      const answer = await this.#options.api
        .get(`${nodeLeasesTarget}?${query}`)
        .catch((thrown: unknown) => (thrown instanceof Error ? thrown : new Error("an unknown failure")));
      if (answer instanceof Error) return { type: "failed", what: `the nodes' Leases cannot be read: ${answer.message}` };
      if (answer.type === "refused") return toRefusal(answer.status, answer.reason);
      for (const item of listField(answer.object, "items").filter(isObject)) {
        const lease = readNodeLease(item);
        if (lease !== undefined) leases.push(lease);
      }
      next = textField(objectField(answer.object, "metadata"), "continue");
      if (next === "" || pages === maxLeasePages) return { type: "leases", leases, isCut: next !== "", pages };
    }
  }
}

function toRefusal(status: number, reason: string): Listing {
  if (status === 403 || status === 404) return { type: "none", status, reason };
  return { type: "failed", what: `the nodes' Leases cannot be read: the apiserver answers ${status} ${reason}` };
}

/** A node that has been silent for too long is unknown, whatever it said before. */
function judge({ state, seenMs, renewedMs }: Sighting, nowMs: number): NodeState {
  if (nowMs - seenMs <= nodeLeaseSeconds * 1000) return state;
  return { ...state, state: "unknown", since: new Date(renewedMs).toISOString() };
}
