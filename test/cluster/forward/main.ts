/**
 * The agent's dialer alone, for a network namespace of a test: reads one JSON line for each target with the objects of its cluster, dials with
 * real sockets, and answers one line each: `connected`, or the code of the refusal.
 */
import { networkInterfaces } from "node:os";
import { createInterface } from "node:readline";
import { createAddressProblem } from "#agent/dial/allowed-address.ts";
import { Dialer } from "#agent/dial/dialer.ts";
import { ObjectReader } from "#agent/dial/reader.ts";
import { targetSockets } from "#agent/dial/sockets.ts";
import { toGatewayError } from "#core/errors.ts";
import type { DialOrder } from "./order.ts";

const alice = { username: "alice", uid: "", groups: [], extra: {} };

for await (const line of createInterface({ input: process.stdin })) {
  const order: DialOrder = JSON.parse(line);
  process.stdout.write(`${await dial(order).catch((thrown: unknown) => toGatewayError(thrown).code)}\n`);
}

async function dial({ target, objects }: DialOrder): Promise<string> {
  const dialer = new Dialer({
    reader: new ObjectReader({
      get: async (path) => {
        const object = objects[path.split("?")[0] ?? ""];
        return object === undefined ? { type: "refused", status: 404, reason: "NotFound" } : { type: "object", object };
      },
    }),
    reviews: { isAllowed: async () => true },
    sockets: targetSockets,
    addressProblem: createAddressProblem({
      ownAddresses: () => Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)),
      apiservers: () => ["https://10.99.0.9:6443"],
    }),
    random: Math.random,
  });
  if (target.protocol === "tcp") {
    const { socket } = await dialer.connectTcp(target, alice, new AbortController().signal);
    socket.destroy();
    return "connected";
  }
  const { socket } = await dialer.openUdp(target, alice);
  await new Promise((resolve) => socket.send("x", resolve));
  socket.close();
  return "connected";
}
