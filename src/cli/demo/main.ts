/**
 * `sallyport demo`: the whole system on this machine with embedded defaults, and a tour of its main job. `--once` runs the tour and ends
 * with 0 or 1; otherwise everything stays up until Ctrl-C. Nothing is left behind either way.
 */
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { errorTable } from "#core/errors.ts";
import { paint, wantsColor } from "#cli/output/style.ts";
import { startDemo } from "./demo-system.ts";
import type { DemoSystem } from "./demo-system.ts";
import { runTour } from "./tour.ts";

const usage = `sallyport demo [--once] [--context NAME [--kubeconfig FILE]] [--port N]

  --once         run the tour and end: exit code 0 when everything came out as it should, else 1
  --context      use the cluster of this kubeconfig context instead of the sandbox; two role bindings are added and removed again
  --kubeconfig   the kubeconfig (KUBECONFIG, or ~/.kube/config)
  --port         port of the gateway on 127.0.0.1 [8443; the next free one when it is taken]
`;

/** Arguments that cannot be read. */
class UsageError extends Error {}

const hasColor = wantsColor(process.env, process.stdout.isTTY);
const line = (text: string) => void process.stdout.write(`${text}\n`);
const say = (what: string, detail: string) => line(`${paint("green", "◇", hasColor)} ${what.padEnd(14)} ${detail}`);

await main().catch((error: unknown) => {
  process.stderr.write(`sallyport demo: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = error instanceof UsageError ? errorTable.USAGE.exit : 1;
});

async function main(): Promise<void> {
  const values = parseFlags();
  if (values.help === true) return line(usage);
  const kubeconfig =
    values.context === undefined
      ? undefined
      : { context: values.context, path: values.kubeconfig ?? process.env["KUBECONFIG"] ?? join(homedir(), ".kube", "config") };
  const startedMs = performance.now();
  const system = await startDemo({
    port: values.port === undefined ? await freePort() : parsePort(values.port),
    kubeconfig,
    parts: await findParts(),
    say,
  });
  let stopping: Promise<void> | undefined;
  const stop = () => (stopping ??= system.stop());
  const interrupted = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve());
  });
  try {
    line(`\nReady in ${((performance.now() - startedMs) / 1000).toFixed(1)} s. Who asked what, what came back, and where the time went:\n`);
    const ok = await runTour(system, { line, hasColor });
    process.exitCode = ok ? 0 : 1;
    if (values.once === true) return;
    invite(system);
    await interrupted;
    process.exitCode = 0;
  } finally {
    await stop();
  }
}

function parseFlags() {
  const options = {
    once: { type: "boolean" },
    context: { type: "string" },
    kubeconfig: { type: "string" },
    port: { type: "string" },
    help: { type: "boolean" },
  } as const;
  try {
    return parseArgs({ options }).values;
  } catch (cause) {
    throw new UsageError(`${cause instanceof Error ? cause.message : String(cause)}; --help shows the flags`, { cause });
  }
}

function parsePort(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= 65_535) return Number(text);
  throw new UsageError(`--port ${text}: give a number from 1 to 65535`);
}

function invite(system: DemoSystem): void {
  line(`
Try it with your own kubectl (1.30 or later), as ${system.people.map(({ name }) => name).join(" or ")}:

  export KUBECONFIG=${system.kubeconfig}
  kubectl --context lee get pods
  kubectl --context lee logs -f deploy/clock
  kubectl --context lee exec -it deploy/cart -- sh
  kubectl --context lee port-forward svc/cart 8080:80
  kubectl --context dana get secrets -A

Or with a browser: ${system.gatewayUrl}, as the same people with any password. It warns of the certificate, once for the gateway and once
for the login, because the demo's authority is its own: ${system.caFile}

Ctrl-C stops everything and removes it.`);
}

/** The programs beside this one: as source in the repository, or as the bundles of a release. */
async function findParts(): Promise<Parameters<typeof startDemo>[0]["parts"]> {
  const isSource = import.meta.url.endsWith(".ts");
  const at = (source: string, bundle: string) => new URL(isSource ? source : bundle, import.meta.url);
  const worker = fileURLToPath(at("../../../dist/worker/main.js", "./worker/main.js"));
  if (isSource) await buildWorker();
  if (!existsSync(worker)) throw new Error(`the gateway's bundle ${worker} is missing: run \`npm run build\``);
  return {
    sandbox: at("../../sandbox/main.ts", "./sandbox.js"),
    agent: at("../../agent/main.ts", "./agent.js"),
    issuer: at("./issuer-main.ts", "./demo-issuer.js"),
    worker,
  };
}

/** From source, the Worker is bundled anew, so that the demo shows what the source says. */
async function buildWorker(): Promise<void> {
  const [{ build }, { gateway }] = await Promise.all([
    import("rolldown"),
    import(new URL("../../../rolldown.config.ts", import.meta.url).href),
  ]);
  await build({ ...gateway, logLevel: "warn" });
}

/** The port that the documentation names, or any when it is taken. */
async function freePort(): Promise<number> {
  const { createServer } = await import("node:net");
  for (const port of [8443, 0]) {
    const chosen = await new Promise<number | undefined>((resolve) => {
      const probe = createServer();
      probe.once("error", () => resolve(undefined));
      probe.listen(port, "127.0.0.1", () => {
        const address = probe.address();
        probe.close(() => resolve(typeof address === "object" && address !== null ? address.port : undefined));
      });
    });
    if (chosen !== undefined) return chosen;
  }
  throw new Error("no port is free on 127.0.0.1");
}
