/** The agent: one small program in the cluster, outbound connections only. This file reads its configuration, starts its role and stops it. */
import { randomUUID } from "node:crypto";
import { setFlagsFromString } from "node:v8";
import { errorTable, toGatewayError } from "#core/errors.ts";
import { openClusterAccess } from "./cluster-access.ts";
import { agentUsage, readConfig } from "./config.ts";
import type { AgentConfig } from "./config.ts";
import { TunnelRole } from "./tunnel-role.ts";

const result = readConfig(process.argv.slice(2), process.env, () => randomUUID());
switch (result.type) {
  case "help":
    process.stdout.write(agentUsage);
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
  // Bytes on their way are memory outside of the JavaScript heap, and V8 begins a full collection for every few tens of MB of it. Counted
  // together with the heap they are collected a third as often: half the CPU time of a bulk stream, for some 50 MB. (Node 24, V8 13.6)
  setFlagsFromString("--external-memory-accounted-in-global-limit");
  const access = await openClusterAccess(config, (reason) => void stop(1, reason));
  const role = new TunnelRole(config, access);
  role.start();
  const stop = async (code: number, reason: string) => {
    process.stderr.write(`${JSON.stringify({ event: "stopping", reason })}\n`);
    await role.stop();
    await access.close();
    process.exit(code);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => void stop(0, signal));
}
