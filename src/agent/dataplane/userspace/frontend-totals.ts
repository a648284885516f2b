/**
 * Sums of what frontends did, by their kind. A frontend that leaves the table takes nothing out of them: its connections may go on, and a
 * counter that shrinks would read as a start anew.
 */
import type { FrontendCounts, FrontendGroup, IpFamily, ServiceProtocol, SocketKind } from "#agent/dataplane/dataplane.ts";
import type { Frontend, RefusedFrontend } from "./frontends.ts";
import type { FrontendCounters } from "./listener.ts";
import type { FrontendSlot } from "./slot.ts";

const noCounts: FrontendCounts = { connections: 0, active: 0, bytesFromClients: 0, bytesToClients: 0, refused: 0, failovers: 0 };

interface GroupName {
  readonly kind: SocketKind;
  readonly protocol: ServiceProtocol;
}

/** What is over, of one group. */
interface Past extends GroupName {
  readonly counts: FrontendCounts;
  readonly bindFailures: number;
}

interface Leaving {
  readonly name: GroupName;
  readonly counters: FrontendCounters;
}

export class FrontendTotals {
  readonly #past = new Map<string, Past>();
  /** Of frontends that are gone, whose connections go on. */
  #leaving: Leaving[] = [];

  /** A frontend leaves the table. */
  leave(frontend: Frontend, counters: FrontendCounters): void {
    this.#leaving.push({ name: groupOf(frontend), counters });
  }

  bindFailed(frontend: Frontend): void {
    const past = this.#pastOf(groupOf(frontend));
    this.#past.set(keyOf(past), { ...past, bindFailures: past.bindFailures + 1 });
  }

  /** Adds what is over to the past. To be called after each table, so that what is kept is no more than what goes on. */
  settle(): void {
    const going: Leaving[] = [];
    for (const left of this.#leaving) {
      const counts = left.counters.counts();
      if (counts.active > 0) going.push(left);
      else this.#add(this.#past, left.name, counts);
    }
    this.#leaving = going;
  }

  /** The groups of one family as they are now. */
  groups(family: IpFamily, slots: Iterable<FrontendSlot>, refused: readonly RefusedFrontend[]): readonly FrontendGroup[] {
    this.settle();
    const sums = new Map(this.#past);
    const states = new Map<string, Record<"listening" | "closed" | "failed", number>>();
    const count = (name: GroupName, state: "listening" | "closed" | "failed"): void => {
      const own = states.get(keyOf(name)) ?? { listening: 0, closed: 0, failed: 0 };
      own[state] += 1;
      states.set(keyOf(name), own);
    };
    for (const { name, counters } of this.#leaving) this.#add(sums, name, counters.counts());
    for (const { frontend, counters, state } of slots) {
      this.#add(sums, groupOf(frontend), counters.counts());
      count(groupOf(frontend), state.type);
    }
    for (const frontend of refused) {
      this.#add(sums, groupOf(frontend), noCounts);
      count(groupOf(frontend), "failed");
    }
    return [...sums].map(([key, { kind, protocol, counts, bindFailures }]) => ({
      family,
      kind,
      protocol,
      states: states.get(key) ?? { listening: 0, closed: 0, failed: 0 },
      bindFailures,
      counts,
    }));
  }

  #add(sums: Map<string, Past>, name: GroupName, counts: FrontendCounts): void {
    const before = sums.get(keyOf(name)) ?? this.#pastOf(name);
    sums.set(keyOf(name), { ...before, counts: addCounts(before.counts, counts) });
  }

  #pastOf(name: GroupName): Past {
    return this.#past.get(keyOf(name)) ?? { ...name, counts: noCounts, bindFailures: 0 };
  }
}

/** What a frontend is counted as. */
export function groupOf({ kind, address, servicePort }: Omit<RefusedFrontend, "reason">): GroupName {
  const isLocalhost = kind === "nodePort" && (address === "127.0.0.1" || address === "::1");
  return { kind: isLocalhost ? "localhostNodePort" : kind, protocol: servicePort.protocol };
}

function keyOf({ kind, protocol }: GroupName): string {
  return `${kind} ${protocol}`;
}

function addCounts(one: FrontendCounts, other: FrontendCounts): FrontendCounts {
  return {
    connections: one.connections + other.connections,
    active: one.active + other.active,
    bytesFromClients: one.bytesFromClients + other.bytesFromClients,
    bytesToClients: one.bytesToClients + other.bytesToClients,
    refused: one.refused + other.refused,
    failovers: one.failovers + other.failovers,
  };
}
