/** Runs a gateway in workerd as a child process: writes its configuration to a folder, starts it, and waits until it answers. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";
import { renderWorkerdConfig } from "./config.ts";

export interface GatewayProcessOptions {
  /** An empty folder of its own. */
  readonly folder: string;
  /** The bundle `dist/worker/main.js`. */
  readonly bundle: string;
  readonly host: string;
  readonly port: number;
  /** PEM: the server's certificate chain and key. */
  readonly certificate: string;
  readonly key: string;
  /** PEM of authorities to trust beside the browsers'. */
  readonly trusted: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
  /** Gets each line that workerd prints: audit events and faults. */
  readonly onLine: (line: string) => void;
}

export interface GatewayProcess {
  readonly port: number;
  readonly process: ChildProcess;
  stop(): Promise<void>;
}

/** How long workerd may take to end what it has under way. */
const stopMs = 3_000;

/** Starts workerd; resolves when it listens. @throws Error when it exits instead */
export async function startGatewayProcess(options: GatewayProcessOptions): Promise<GatewayProcess> {
  const { folder } = options;
  await copyFile(options.bundle, join(folder, "main.js"));
  await writeFile(join(folder, "tls.crt"), options.certificate);
  await writeFile(join(folder, "tls.key"), options.key, { mode: 0o600 });
  const trusted = await Promise.all(
    options.trusted.map(async (pem, index) => {
      await writeFile(join(folder, `trusted-${index}.crt`), pem);
      return `trusted-${index}.crt`;
    }),
  );
  const file = join(folder, "gateway.capnp");
  const { host, port, variables } = options;
  const configuration = {
    listen: `${host}:${port}`,
    bundle: "main.js",
    certificate: "tls.crt",
    key: "tls.key",
    trusted,
    storage: folder,
    variables,
  };
  await writeFile(file, renderWorkerdConfig(configuration), { mode: 0o600 });
  return launch(file, options);
}

async function launch(file: string, options: GatewayProcessOptions): Promise<GatewayProcess> {
  const { binary, imports } = findWorkerd();
  const child = spawn(binary, ["serve", file, "config", "-I", imports, "--control-fd=3"], { stdio: ["ignore", "pipe", "pipe", "pipe"] });
  const errors: string[] = [];
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) throw new Error("workerd has no output pipes");
  createInterface({ input: stdout }).on("line", options.onLine);
  createInterface({ input: stderr }).on("line", (line) => {
    errors.push(line);
    errors.splice(0, errors.length - 20);
    options.onLine(line);
  });
  const exited = once(child, "exit").then(() => {
    throw new Error(`workerd stopped:\n${errors.join("\n")}`);
  });
  const port = await Promise.race([listening(child), exited]);
  exited.catch(() => undefined); // a later exit is the owner's to notice
  return {
    port,
    process: child,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      const killer = setTimeout(() => child.kill("SIGKILL"), stopMs); // workerd waits for open WebSockets, however long they last
      await ended;
      clearTimeout(killer);
    },
  };
}

/** workerd tells on its control pipe, as lines of JSON, which port each socket got. */
async function listening(child: ChildProcess): Promise<number> {
  const control = child.stdio[3];
  if (control === null || control === undefined || !("on" in control) || !("readable" in control))
    throw new Error("workerd has no control pipe");
  for await (const line of createInterface({ input: control })) {
    const message: { readonly event?: string; readonly port?: number } = JSON.parse(line);
    if (message.event === "listen" && message.port !== undefined) return message.port;
  }
  throw new Error("workerd closed its control pipe");
}

/** The workerd of this installation: the platform's own package holds the binary, the package `workerd` the schema. */
function findWorkerd(): { readonly binary: string; readonly imports: string } {
  const require = createRequire(import.meta.url);
  const schema = require.resolve("workerd/workerd.capnp");
  const { default: binary }: { readonly default: string } = require("workerd");
  return { binary, imports: join(schema, "..") };
}
