/**
 * The entry of the exec credential plugin, `sallyport credential`: kubectl starts it again and again, so it loads Node's own
 * modules and session/ only. It is the composition root of `runCredential`; main.ts starts it before it loads anything else.
 */
import { spawn } from "node:child_process";
import { homedir } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { runCredential } from "./session/credential-run.ts";
import { trustAuthorities, useEnvironmentProxy } from "./session/network-trust.ts";
import { resolvePaths } from "./session/paths.ts";
import { createTokenStore } from "./session/token-store.ts";
import type { SessionKey } from "./session/token-store.ts";

const mainEntry = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./main.ts" : "./sallyport.js", import.meta.url));

await useEnvironmentProxy(process.env);
process.exitCode = await runCredential({
  args: process.argv.slice(process.argv[2] === "credential" ? 3 : 2),
  env: process.env,
  store: createTokenStore(resolvePaths(process.env, homedir()).state, process.platform),
  parent: process.ppid,
  hasErrorTerminal: process.stderr.isTTY,
  hasOutputTerminal: process.stdout.isTTY,
  time: { now: Date.now, wait: (durationMs) => wait(durationMs) },
  fetch: globalThis.fetch,
  trust: trustAuthorities,
  login: runLogin,
  writeOutput: (text) => void process.stdout.write(text),
  writeError: (text) => void process.stderr.write(text),
});

/** The login talks on standard error: standard output belongs to the credential. */
async function runLogin(key: SessionKey): Promise<boolean> {
  const cluster = key.cluster === undefined ? [] : ["--cluster", key.cluster];
  const child = spawn(process.execPath, [mainEntry, "login", "--gateway", key.gateway, ...cluster], { stdio: ["inherit", 2, 2] });
  return new Promise((resolve) => {
    child.on("error", () => resolve(false));
    child.on("exit", (code) => resolve(code === 0));
  });
}
