/** What listeners of both protocols have in common: what they are told, what they share, and what they count. */
import type { Clock } from "#agent/clock.ts";
import type { FrontendCounts } from "#agent/dataplane/dataplane.ts";
import type { Sockets } from "./dial.ts";
import type { Frontend } from "./frontends.ts";
import type { UserspaceLimits } from "./limits.ts";
import type { Router } from "./router.ts";

/** What all listeners of a dataplane share. */
export interface ListenerServices {
  readonly clock: Clock;
  readonly sockets: Sockets;
  readonly router: Router;
  readonly limits: UserspaceLimits;
  /** TCP connections of the whole process. */
  readonly connections: Budget;
  /** UDP flows of the whole process. */
  readonly flows: Budget;
  /** TCP connections that are open, by what ends them: they outlive their listeners. */
  readonly open: Set<() => void>;
}

/** A socket at one frontend. */
export interface Listener {
  /** Rejects with the system's error where the socket cannot be bound. */
  open(): Promise<void>;
  /** Another table came: what no longer holds ends. */
  update(frontend: Frontend): void;
  /** Takes nothing more. TCP connections go on until one of their ends closes them. */
  close(): void;
}

/** A number of things that several parts may hold together. */
export class Budget {
  readonly #limit: number;
  #used = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get used(): number {
    return this.#used;
  }

  /** Takes one, unless all are taken. */
  tryTake(): boolean {
    if (this.#used >= this.#limit) return false;
    this.#used += 1;
    return true;
  }

  /** Gives one back. */
  give(): void {
    this.#used -= 1;
  }
}

/** Something whose bytes are counted while it goes on, seen from the client. */
export interface CountedConnection {
  readonly bytesRead: number;
  readonly bytesWritten: number;
}

/** Counts one frontend since it is in the table, and adds up what goes on only when somebody looks. */
export class FrontendCounters {
  readonly #active = new Set<CountedConnection>();
  #connections = 0;
  #bytesFromClients = 0;
  #bytesToClients = 0;
  refused = 0;
  failovers = 0;

  begin(connection: CountedConnection): void {
    this.#connections += 1;
    this.#active.add(connection);
  }

  end(connection: CountedConnection): void {
    this.#active.delete(connection);
    this.#bytesFromClients += connection.bytesRead;
    this.#bytesToClients += connection.bytesWritten;
  }

  counts(): FrontendCounts {
    let bytesFromClients = this.#bytesFromClients;
    let bytesToClients = this.#bytesToClients;
    for (const { bytesRead, bytesWritten } of this.#active) {
      bytesFromClients += bytesRead;
      bytesToClients += bytesWritten;
    }
    const { refused, failovers } = this;
    return { connections: this.#connections, active: this.#active.size, bytesFromClients, bytesToClients, refused, failovers };
  }
}
