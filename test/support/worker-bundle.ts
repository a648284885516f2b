/** Before the system tests: makes the gateway's bundle from the sources as they are now, so that no test runs an old one. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** The bundle that workerd runs, relative to the repository. */
export const gatewayBundle = "dist/worker/main.js";

export async function setup(): Promise<void> {
  await promisify(execFile)(process.execPath, [
    "node_modules/rolldown/bin/cli.mjs",
    "--config",
    "rolldown.config.ts",
    "--logLevel",
    "silent",
  ]);
}
