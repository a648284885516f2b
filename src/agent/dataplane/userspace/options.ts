/** What a userspace dataplane is made of. */
import type { Clock } from "#agent/clock.ts";
import type { Sockets } from "./dial.ts";
import type { FrontendScope, MachineInterfaces } from "./frontends.ts";
import { maxConnections, maxFlows, type UserspaceLimits } from "./limits.ts";
import { Budget } from "./listener.ts";
import type { OrdinaryAddress } from "#agent/dataplane/ordinary-address.ts";

export interface UserspaceOptions {
  readonly scope: FrontendScope;
  readonly clock: Clock;
  /** 0 to 1, 1 excluded. */
  readonly random: () => number;
  readonly sockets: Sockets;
  /** Which addresses Services and endpoints may have: `createOrdinaryAddress()`, except in tests, whose machine is loopback. */
  readonly isOrdinary: OrdinaryAddress;
  /** `os.networkInterfaces`. */
  readonly interfaces: () => MachineInterfaces;
  readonly limits: UserspaceLimits;
  /** What the dataplanes of one process share. */
  readonly budgets: ProcessBudgets;
}

/** Connections and flows that all dataplanes of a process may hold together. */
export interface ProcessBudgets {
  readonly connections: Budget;
  readonly flows: Budget;
}

export function createProcessBudgets(): ProcessBudgets {
  return { connections: new Budget(maxConnections), flows: new Budget(maxFlows) };
}
