import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import type { Outcome, ServicePort } from "#agent/dataplane/dataplane.ts";
import { Cleanup, createDataplane, failingSockets, freePort, startEcho, startUdpEcho, tryConnect } from "./fixture.ts";
import { endpoint, nodeAddress, servicePort, serviceTable } from "./tables.ts";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const atNode = { nodePortAddresses: { type: "only", addresses: [nodeAddress] } } as const;

/** One Service in one table, as numbers into what the test has: a node port, and which endpoints it balances over or what else it does. */
interface Choice {
  readonly protocol: "TCP" | "UDP";
  readonly nodePort: number;
  readonly outcome: "reject" | "drop" | readonly number[];
}

const choice: fc.Arbitrary<Choice> = fc.record({
  protocol: fc.constantFrom("TCP" as const, "UDP" as const),
  nodePort: fc.nat({ max: 2 }),
  outcome: fc.oneof(
    fc.constantFrom("reject" as const, "drop" as const),
    fc.subarray([0, 1, 2], { minLength: 1 }),
    fc.subarray([0, 1, 2], { minLength: 1 }),
  ),
});

test("after any tables, one after the other, what a client meets is what the last one says", async () => {
  const echoes = [await startEcho(cleanup), await startEcho(cleanup), await startUdpEcho(cleanup)];
  const nodePorts = [await freePort(), await freePort(), await freePort()];
  // The third is of UDP, and whatever has its number in TCP is none of ours.
  const dataplane = createDataplane(cleanup, { sockets: failingSockets((port) => port === echoes[2]?.port) });

  const portOf = ({ protocol, nodePort, outcome }: Choice, index: number): ServicePort => {
    const endpoints = typeof outcome === "string" ? [] : outcome.map((number) => endpoint(echoes[number]?.port ?? 0));
    const meets: Outcome = typeof outcome === "string" ? { type: outcome } : { type: "balance", endpoints };
    const name = `service-${index}`;
    const common = { name, protocol, nodePort: nodePorts[nodePort], clusterIp: `192.0.2.${index + 1}`, serving: endpoints };
    return servicePort({ ...common, internal: meets, external: meets, externalFromInside: meets });
  };

  const wantedOf = (choices: readonly Choice[], nodePort: number): readonly string[] => {
    const holder = choices.find((wanted) => wanted.protocol === "TCP" && wanted.nodePort === nodePort);
    if (holder === undefined || typeof holder.outcome === "string") return ["ECONNREFUSED"];
    // Where the third is chosen a TCP client goes on to the next endpoint, or is reset when there is none.
    const reachable = holder.outcome.filter((number) => number < 2).map((number) => `${echoes[number]?.port};`);
    return reachable.length === 0 ? ["ECONNRESET"] : reachable;
  };

  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(choice, { maxLength: 5 }), { minLength: 1, maxLength: 6 }), async (tables) => {
      for (const choices of tables) {
        expect(await dataplane.apply(serviceTable(choices.map(portOf), atNode))).toMatchObject({ type: "applied" });
        for (const [number, port] of nodePorts.entries()) expect(wantedOf(choices, number)).toContain(await tryConnect(cleanup, { port }));
      }
    }),
    { numRuns: 30 },
  );
});
