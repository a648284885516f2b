import fc from "fast-check";
import type { Socket } from "node:net";
import { setImmediate } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import { maxConnections, maxFlows } from "#agent/dataplane/userspace/limits.ts";
import { Budget } from "#agent/dataplane/userspace/listener.ts";
import { Cleanup, createDataplane, freePort, openClient, startTcpEndpoint } from "./fixture.ts";
import { endpoint, nodeAddress, servicePort, serviceTable } from "./tables.ts";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** What either side does once it is connected. */
const acts = ["end", "reset", "destroy", "write and end", "write and reset", "end and reset"] as const;
type Act = (typeof acts)[number];

function perform(act: Act, socket: Socket): void {
  socket.on("error", () => undefined);
  socket.resume();
  switch (act) {
    case "end":
      socket.end();
      return;
    case "reset":
      socket.resetAndDestroy();
      return;
    case "destroy":
      socket.destroy();
      return;
    case "write and end":
      socket.end(Buffer.alloc(100_000));
      return;
    case "write and reset":
      socket.write(Buffer.alloc(100_000));
      socket.resetAndDestroy();
      return;
    case "end and reset":
      socket.end("x", () => socket.resetAndDestroy());
      return;
  }
}

/** A side that has done its part closes its own half when the other has closed its. */
function closeWhenEnded(socket: Socket): void {
  socket.on("end", () => {
    if (!socket.writableEnded) socket.end();
  });
}

test("connections leave nothing behind, however their two ends end", async () => {
  let endpointActs: Act[] = [];
  const server = await startTcpEndpoint(cleanup, (socket) => {
    closeWhenEnded(socket);
    perform(endpointActs.shift() ?? "end", socket);
  });
  const budgets = { connections: new Budget(maxConnections), flows: new Budget(maxFlows) };
  const dataplane = createDataplane(cleanup, { budgets });
  const nodePort = await freePort();
  const addresses = { nodePortAddresses: { type: "only", addresses: [nodeAddress] } } as const;
  await dataplane.apply(serviceTable([servicePort({ nodePort, endpoints: [endpoint(server.port)] })], addresses));
  const pair = fc.tuple(fc.constantFrom(...acts), fc.constantFrom(...acts));
  await fc.assert(
    fc.asyncProperty(fc.array(pair, { minLength: 1, maxLength: 12 }), async (pairs) => {
      endpointActs = pairs.map(([, act]) => act);
      const clients = await Promise.all(pairs.map(() => openClient(cleanup, { port: nodePort })));
      for (const _ of pairs) await server.next();
      for (const [index, client] of clients.entries()) {
        closeWhenEnded(client);
        perform(pairs[index]?.[0] ?? "end", client);
      }
      // A connection that kept its place would keep this waiting.
      while (budgets.connections.used > 0) await setImmediate();
      expect(dataplane.frontends().map(({ counts }) => counts?.active)).toEqual([0, 0]);
    }),
    { numRuns: 60 },
  );
});
