/** Runs one of the bench's own Workers in workerd, over TLS, as the gateway runs. */
import { spawn } from "node:child_process";
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { CertifiedKey } from "#cli/workerd/certificates.ts";
import { compatibilityDate } from "#cli/workerd/config.ts";
import { exitOf, nextLine } from "./program.ts";
import type { Program } from "./program.ts";

export interface WorkerOptions {
  /** An empty place for its files. */
  readonly folder: string;
  /** The module, in test/bench/workers. */
  readonly script: "relay.js" | "fetch-proxy.js";
  readonly certified: CertifiedKey;
  readonly variables: Readonly<Record<string, string>>;
  /** PEM of authorities that its fetch trusts. */
  readonly trusted: readonly string[];
}

/** Starts it; `port` is where it listens. */
export async function startWorker(options: WorkerOptions): Promise<Program & { readonly port: number }> {
  const { folder, certified } = options;
  await mkdir(folder);
  await copyFile(new URL(`workers/${options.script}`, import.meta.url), join(folder, "worker.js"));
  await writeFile(join(folder, "tls.crt"), certified.certificate);
  await writeFile(join(folder, "tls.key"), certified.key, { mode: 0o600 });
  for (const [index, pem] of options.trusted.entries()) await writeFile(join(folder, `trusted-${index}.crt`), pem);
  const file = join(folder, "worker.capnp");
  await writeFile(file, configuration(options));
  const require = createRequire(import.meta.url);
  const imports = join(require.resolve("workerd/workerd.capnp"), "..");
  const { default: binary }: { readonly default: string } = require("workerd");
  const child = spawn(binary, ["serve", file, "config", "-I", imports, "--control-fd=3"], {
    stdio: ["ignore", "inherit", "inherit", "pipe"],
  });
  const control = child.stdio[3];
  if (control === null || control === undefined || !("setEncoding" in control)) throw new Error("workerd has no control pipe");
  const { port }: { readonly port: number } = JSON.parse(await nextLine(control));
  return { child, port, stop: () => exitOf(child, "SIGTERM") };
}

function configuration({ script, variables, trusted }: WorkerOptions): string {
  const bindings = Object.entries(variables).map(([name, value]) => `(name = ${JSON.stringify(name)}, text = ${JSON.stringify(value)})`);
  const isRelay = script === "relay.js";
  const object = isRelay
    ? `durableObjectNamespaces = [(className = "Relay", uniqueKey = "relay", enableSql = true)],\n  durableObjectStorage = (inMemory = void),`
    : "";
  if (isRelay) bindings.push(`(name = "RELAY", durableObjectNamespace = "Relay")`);
  const certificates = trusted.map((_, index) => `embed "trusted-${index}.crt"`).join(", ");
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustedCertificates = [${certificates}]))),
  ],
  sockets = [(name = "https", address = "127.0.0.1:0", service = "worker", https = (
    options = (),
    tlsOptions = (keypair = (privateKey = embed "tls.key", certificateChain = embed "tls.crt")),
  ))],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "${compatibilityDate}",
  ${object}
  bindings = [${bindings.join(", ")}],
);
`;
}
