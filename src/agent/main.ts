/** The agent: one small program in the cluster. This file reads its configuration, starts its role and stops it. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { setFlagsFromString } from "node:v8";
import { errorTable, toGatewayError } from "#core/errors.ts";
import { runApiserverLb } from "./apiserver-lb-role.ts";
import { openClusterAccess } from "./cluster-access.ts";
import { readConfig } from "./config.ts";
import type { AgentConfig } from "./config.ts";
import type { TunnelConfig } from "./config/tunnel-config.ts";
import { runLoadBalancer } from "./load-balancer-run.ts";
import { runServiceProxy } from "./service-proxy-run.ts";
import type { RoleHost, RunningRole } from "./service-proxy-run.ts";
import { targetSockets } from "./dial/sockets.ts";
import { TunnelRole } from "./tunnel-role.ts";

/** Any time will do. */
const aliveMs = 3_600_000;

const result = readConfig(process.argv.slice(2), { environment: process.env, random: () => randomUUID(), hostname: hostname() });
switch (result.type) {
  case "help":
    process.stdout.write(result.usage);
    break;
  case "invalid":
    for (const problem of result.problems) process.stderr.write(`sallyport agent: ${problem}\n`);
    process.exitCode = 2;
    break;
  case "config":
    await run(result.config).catch((thrown: unknown) => {
      const error = toGatewayError(thrown);
      const cause = error.code === "INTERNAL" ? `: ${String(error.cause)}` : "";
      process.stderr.write(`sallyport agent: ${error.code}: ${error.message}${cause}\n  ${errorTable[error.code].hint}\n`);
      process.exit(errorTable[error.code].exit);
    });
    break;
}

async function run(config: AgentConfig): Promise<void> {
  // The agent's timers keep no process alive: one that only waits for its next attempt would end without a word.
  setInterval(() => undefined, aliveMs);
  const log = (event: object) => void process.stderr.write(`${JSON.stringify(event)}\n`);
  const ended = Promise.withResolvers<{ readonly code: number; readonly reason: string }>();
  const end = (code: number, reason: string) => ended.resolve({ code, reason });
  const role = await startRole(config, { end, log, print: (text) => void process.stdout.write(text) });
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => end(0, signal));
  const { code, reason } = await ended.promise;
  log({ event: "stopping", reason });
  await role.stop();
  process.exit(code);
}

function startRole(config: AgentConfig, host: RoleHost): Promise<RunningRole> {
  switch (config.role) {
    case "tunnel":
      return startTunnel(config, host);
    case "service-proxy":
      return runServiceProxy(config, host);
    case "apiserver-lb":
      return runApiserverLb(config, host);
    case "load-balancer":
      return runLoadBalancer(config, host);
  }
}

async function startTunnel(config: TunnelConfig, host: RoleHost): Promise<RunningRole> {
  // Bytes on their way are memory outside of the JavaScript heap, and V8 begins a full collection for every few tens of MB of it. Counted
  // together with the heap they are collected a third as often: half the CPU time of a bulk stream, for some 50 MB. (Node 24, V8 13.6)
  setFlagsFromString("--external-memory-accounted-in-global-limit");
  const access = await openClusterAccess(config, (reason) => host.end(1, reason));
  const role = new TunnelRole(config, access, targetSockets);
  role.start();
  return {
    stop: async () => {
      await role.stop();
      await access.close();
    },
  };
}
