/**
 * The sandbox as a process of its own: `node src/sandbox/main.ts [flags]`. It prints one JSON line with its addresses when it is ready,
 * and ends at SIGTERM, SIGINT, or when its standard input ends, which happens when the process that started it is gone.
 */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { systemClock } from "./clock.ts";
import { startSandbox } from "./sandbox.ts";
import type { Sandbox } from "./sandbox.ts";

const { values } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "0" },
    "sample-data": { type: "string", default: "workloads" },
    "agent-token-file": { type: "string" },
    "agent-audience": { type: "string" },
    "log-requests": { type: "boolean", default: false },
  },
});

const sandbox = await startSandbox({
  host: values.host,
  port: Number(values.port),
  sampleData: values["sample-data"] === "none" ? "none" : "workloads",
  log: (record) => (values["log-requests"] ? process.stderr.write(`${JSON.stringify(record)}\n`) : undefined),
});
const tokenFile = values["agent-token-file"];
const audience = values["agent-audience"];
if (tokenFile !== undefined && audience !== undefined) await keepTokenFile(sandbox, tokenFile, audience);

const { url, caPem, adminToken, joinIssuer, jwks } = sandbox;
process.stdout.write(`${JSON.stringify({ url, caPem, adminToken, joinIssuer, jwks })}\n`);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void stop());
process.stdin.once("end", () => void stop());
process.stdin.once("error", () => void stop());
process.stdin.resume();

async function stop(): Promise<void> {
  await sandbox.stop();
  process.exit(0);
}

/** Keeps a file with a fresh token, as a kubelet does for a projected one: a new one after 80 % of its hour. */
async function keepTokenFile(running: Sandbox, file: string, wanted: string): Promise<void> {
  await writeFile(file, running.agentToken(wanted), { mode: 0o600 });
  systemClock.after(48 * 60_000, () => void keepTokenFile(running, file, wanted));
}
