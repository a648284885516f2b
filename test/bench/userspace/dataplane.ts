/** The userspace dataplane with one Service, whose only endpoint is the bench's. */
import { createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setFlagsFromString } from "node:v8";
import { systemClock } from "#agent/clock.ts";
import { createSockets } from "#agent/dataplane/userspace/dial.ts";
import { userspaceLimits } from "#agent/dataplane/userspace/limits.ts";
import { createProcessBudgets } from "#agent/dataplane/userspace/options.ts";
import { UserspaceDataplane } from "#agent/dataplane/userspace/userspace.ts";
import { servicePort, serviceTable } from "#test/agent/dataplane/userspace/tables.ts";

/** Serves an endpoint of loopback at another port there, and returns that. */
export async function serveTable(endpointPort: number): Promise<number> {
  // As the agent does it.
  setFlagsFromString("--external-memory-accounted-in-global-limit");
  const port = await freePort();
  const dataplane = new UserspaceDataplane({
    scope: "everything",
    clock: systemClock,
    random: Math.random,
    sockets: createSockets(systemClock),
    isOrdinary: () => true,
    interfaces: () => ({}),
    limits: userspaceLimits,
    budgets: createProcessBudgets(),
  });
  const endpoint = { address: "127.0.0.1", port: endpointPort, isLocal: true };
  const bench = servicePort({ namespace: "bench", name: "bench", clusterIp: "127.0.0.1", port, endpoints: [endpoint] });
  await dataplane.apply(serviceTable([bench], { serviceCidrs: [] }));
  const [frontend] = dataplane.frontends();
  if (frontend?.state.type !== "listening") throw new Error(`the dataplane does not listen: ${JSON.stringify(frontend?.state)}`);
  return port;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server has an address of this kind.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
