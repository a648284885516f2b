/**
 * The agent as `src/agent/main.ts` composes it, but for one part: what it dials is led to the same port of this machine, because a test
 * without privileges has no other. All that decides what is dialled is real; each dialling is told on standard error.
 */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { openClusterAccess } from "#agent/cluster-access.ts";
import { readConfig } from "#agent/config.ts";
import { targetSockets } from "#agent/dial/sockets.ts";
import type { TargetSockets } from "#agent/dial/sockets.ts";
import { TunnelRole } from "#agent/tunnel-role.ts";

const result = readConfig(process.argv.slice(2), { environment: process.env, random: () => randomUUID(), hostname: hostname() });
if (result.type !== "config" || result.config.role !== "tunnel") throw new Error(JSON.stringify(result));
const { config } = result;

const sockets: TargetSockets = {
  connectTcp: (address, port, signal) => {
    told(address, port);
    return targetSockets.connectTcp("127.0.0.1", port, signal);
  },
  openUdp: (address, port) => {
    told(address, port);
    return targetSockets.openUdp("127.0.0.1", port);
  },
};
setInterval(() => undefined, 3_600_000);
const role = new TunnelRole(config, await openClusterAccess(config, () => process.exit(1)), sockets);
role.start();
process.once("SIGTERM", () => process.exit(0));

function told(address: string, port: number): void {
  process.stderr.write(`${JSON.stringify({ event: "dial", address, port })}\n`);
}
