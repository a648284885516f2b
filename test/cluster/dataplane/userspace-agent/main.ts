/** A userspace dataplane as a process without any privilege. Each line of input is a table; each line of output tells what became of it. */
import { networkInterfaces } from "node:os";
import { createInterface } from "node:readline";
import { systemClock } from "#agent/clock.ts";
import type { ServiceTable } from "#agent/dataplane/dataplane.ts";
import { createSockets } from "#agent/dataplane/userspace/dial.ts";
import { userspaceLimits } from "#agent/dataplane/userspace/limits.ts";
import { createOrdinaryAddress } from "#agent/dataplane/ordinary-address.ts";
import { createProcessBudgets } from "#agent/dataplane/userspace/options.ts";
import { UserspaceDataplane } from "#agent/dataplane/userspace/userspace.ts";

/** The frontends after a table: `TCP 10.96.0.1 443` and their state, with the reason where it failed. */
export interface AgentReport {
  readonly number: number;
  readonly frontends: Readonly<Record<string, string>>;
}

const nobody = 65_534;
process.setgroups?.([]);
process.setgid?.(nobody);
// Leaving user 0 takes every capability away.
process.setuid?.(nobody);

const dataplane = new UserspaceDataplane({
  scope: "everything",
  clock: systemClock,
  random: Math.random,
  sockets: createSockets(systemClock),
  isOrdinary: createOrdinaryAddress(),
  interfaces: networkInterfaces,
  limits: userspaceLimits,
  budgets: createProcessBudgets(),
});

let number = 0;
for await (const line of createInterface({ input: process.stdin })) {
  // The test writes these lines.
  await dataplane.verify(JSON.parse(line) as ServiceTable);
  number += 1;
  const frontends = dataplane
    .frontends()
    .map(({ address, port, servicePort, state }) => [
      `${servicePort.protocol} ${address} ${port}`,
      state.type === "failed" ? state.reason : state.type,
    ]);
  process.stdout.write(`${JSON.stringify({ number, frontends: Object.fromEntries(frontends) } satisfies AgentReport)}\n`);
}
await dataplane.close();
