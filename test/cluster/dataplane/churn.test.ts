/** Connections to a Service that always has an endpoint, while its endpoints change without end and the agent is killed again and again. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";

import { afterAll, beforeAll, expect, test } from "vitest";

import { exitCodeOf, mustRun, startCommand } from "../harness/command.ts";
import { churnedService } from "./churn/service.ts";
import type { ProbeTarget } from "./peer.ts";
import { addresses, type Place, removeAbandonedWorlds, servicePort, World } from "./world.ts";

const kills = 40;
/** Few enough for the queues of the servers. */
const connectionsAtOnce = 60;

const world = new World("churn");

beforeAll(async () => {
  await removeAbandonedWorlds();
  await world.start();
});

afterAll(async () => {
  await world.stop();
});

test("every connection is answered, whatever changes and whenever the agent dies", async () => {
  const secondSyns = (): Promise<readonly number[]> => Promise.all(world.peers.map((peer) => peer.countSecondSyns()));
  const before = await secondSyns();
  const agents = killAgents();
  const outcomes = new Map<string, number>();
  // The first agent has made the table.
  await agents.first;
  while (!agents.isOver()) {
    for (const outcome of await connectAll()) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  }
  expect(await agents.unexpected).toEqual([]);
  const endpoints = [...addresses.localEndpoints, ...addresses.remoteEndpoints].map(({ IPv4 }) => IPv4);
  expect([...outcomes.keys()].toSorted()).toEqual(endpoints.toSorted());
  const answered = [...outcomes.values()].reduce((sum, count) => sum + count);
  expect(answered).toBeGreaterThan(kills * connectionsAtOnce);
  // A first packet that was lost would have been sent again.
  expect(await secondSyns()).toEqual(before);
});

async function connectAll(): Promise<readonly string[]> {
  const clients: readonly { readonly place: Place; readonly address: string; readonly port: number }[] = [
    { place: "client", address: churnedService.clusterIp, port: servicePort },
    { place: "node", address: churnedService.clusterIp, port: servicePort },
    { place: "outside", address: addresses.node.IPv4, port: churnedService.nodePort },
    { place: "farclient", address: churnedService.loadBalancerIp, port: servicePort },
  ];
  return Promise.all(
    Array.from({ length: connectionsAtOnce }, async (_, index) => {
      const { place, address, port } = clients[index % clients.length] ?? { place: "client" as const, address: "", port: 0 };
      const target: ProbeTarget = { protocol: "TCP", address, port, source: undefined };
      const outcome = await world.peer(place).probe(target);
      return outcome.type === "answered" ? outcome.endpoint : outcome.type;
    }),
  );
}

/** Starts agents one after the other, and kills each at another moment of its work. */
function killAgents() {
  const first = Promise.withResolvers<void>();
  const state = { isOver: false };
  const run = async (): Promise<readonly string[]> => {
    const unexpected: string[] = [];
    for (let number = 0; number < kills; number++) {
      const agent = startCommand(process.execPath, [path.join(import.meta.dirname, "churn", "main.ts"), world.namespace("node")]);
      const changes = await killAfterChanges(agent, 1 + (number % 4));
      unexpected.push(...changes.filter((line) => line !== "applied"));
      first.resolve();
    }
    state.isOver = true;
    return unexpected;
  };
  return { first: first.promise, isOver: () => state.isOver, unexpected: run() };
}

/** The next change has begun when the last is reported, so the end comes in the middle of one. */
async function killAfterChanges(agent: ChildProcess, changes: number): Promise<readonly string[]> {
  if (agent.stdout === null) throw new Error("a child with a pipe has an output");
  const lines: string[] = [];
  const ended = exitCodeOf(agent);
  const output = createInterface({ input: agent.stdout });
  output.on("line", (line) => {
    lines.push(line);
    if (lines.length === changes) agent.kill("SIGKILL");
  });
  await once(output, "close");
  await ended;
  // What the agent had started is the kernel's or nft's to finish or to drop; the table answers to both.
  await mustRun("ip", ["netns", "exec", world.namespace("node"), "nft", "list", "tables"]);
  return lines.slice(0, changes);
}
