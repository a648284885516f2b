/** An exec credential plugin of a kubeconfig (client.authentication.k8s.io, v1 and v1beta1): run when needed, its answer kept until shortly before it expires. */
import { spawn } from "node:child_process";
import { GatewayError } from "#core/errors.ts";
import { isObject, objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { execRenewalMs, execTimeoutMs, maxExecOutputBytes } from "./limits.ts";
import type { WallClock } from "./refreshed-file.ts";

/** What a kubeconfig says of its plugin. */
export interface ExecPlugin {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Passed in KUBERNETES_EXEC_INFO where the kubeconfig asks for it. */
  readonly cluster: JsonObject | undefined;
  /** Never, IfAvailable, Always; empty where the kubeconfig says nothing, which means IfAvailable. */
  readonly interactiveMode: string;
  /** Shown when the command is not there; may be empty. */
  readonly installHint: string;
}

export interface ExecCredential {
  readonly token: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  /** undefined: until the apiserver refuses it. */
  readonly expiresAtMs: number | undefined;
}

/** Runs a command without a shell and gives its output; rejects when it fails. */
export type RunCommand = (
  command: string,
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  /** Whether it may read the terminal. */
  interactive?: boolean,
) => Promise<string>;

export interface ExecCredentialSourceOptions {
  readonly plugin: ExecPlugin;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: WallClock;
  readonly run: RunCommand;
  /** Whether a person sits at a terminal that the plugin may use. */
  readonly interactive: boolean;
}

/** The plugin's credential; one run serves everybody who waits. */
export class ExecCredentialSource {
  readonly #options: ExecCredentialSourceOptions;
  #running: Promise<ExecCredential> | undefined;
  #credential: ExecCredential | undefined;

  constructor(options: ExecCredentialSourceOptions) {
    this.#options = options;
  }

  /** Rejects with AGENT_CREDENTIAL when the plugin fails. */
  async credential(): Promise<ExecCredential> {
    const kept = this.#credential;
    if (kept !== undefined && !this.#expires(kept)) return kept;
    this.#running ??= this.#run();
    return this.#running;
  }

  invalidate(): void {
    this.#credential = undefined;
  }

  #expires({ expiresAtMs }: ExecCredential): boolean {
    return expiresAtMs !== undefined && this.#options.clock.now() >= expiresAtMs - execRenewalMs;
  }

  async #run(): Promise<ExecCredential> {
    const { plugin, environment, run } = this.#options;
    const interactive = this.#options.interactive && plugin.interactiveMode !== "Never";
    const info = { kind: "ExecCredential", apiVersion: plugin.apiVersion, spec: { interactive, cluster: plugin.cluster } };
    const variables = { ...environment, ...plugin.env, KUBERNETES_EXEC_INFO: JSON.stringify(info) };
    try {
      const output = await run(plugin.command, plugin.args, variables, interactive);
      this.#credential = parseExecCredential(output, plugin.apiVersion);
      return this.#credential;
    } catch (error) {
      if (error instanceof GatewayError) throw error;
      const hint = isMissing(error) && plugin.installHint !== "" ? `: it is not there. ${plugin.installHint}` : "";
      throw new GatewayError("AGENT_CREDENTIAL", `the kubeconfig's exec plugin ${plugin.command} failed${hint}`, { cause: error });
    } finally {
      this.#running = undefined;
    }
  }
}

/** Reads an ExecCredential; throws AGENT_CREDENTIAL, never with a part of it. */
export function parseExecCredential(output: string, apiVersion: string): ExecCredential {
  const object = parseObject(output);
  if (object === undefined || textField(object, "kind") !== "ExecCredential") throw refused("did not print an ExecCredential");
  if (textField(object, "apiVersion") !== apiVersion) throw refused(`printed another apiVersion than ${apiVersion}`);
  const status = objectField(object, "status");
  const token = textField(status, "token");
  const certificate = textField(status, "clientCertificateData");
  const key = textField(status, "clientKeyData");
  if ((certificate === "") !== (key === "")) throw refused("printed a client certificate or its key without the other");
  if (token === "" && certificate === "") throw refused("printed neither a token nor a client certificate");
  const expiry = textField(status, "expirationTimestamp");
  const expiresAtMs = expiry === "" ? undefined : Date.parse(expiry);
  if (Number.isNaN(expiresAtMs)) throw refused("printed an expirationTimestamp that is no time");
  return { token: token || undefined, certificate: certificate || undefined, key: key || undefined, expiresAtMs };
}

/** Runs a command as a child process, within a limit of time and output; its stderr goes to ours. */
export const runCommand: RunCommand = async (command, args, environment, interactive = false) =>
  new Promise((resolve, reject) => {
    const child = spawn(command, [...args], {
      env: { ...environment },
      stdio: [interactive ? "inherit" : "ignore", "pipe", "inherit"],
      timeout: interactive ? 0 : execTimeoutMs,
      shell: false,
    });
    const chunks: Buffer[] = [];
    let bytes = 0;
    child.stdout.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxExecOutputBytes) child.kill();
      else chunks.push(chunk);
    });
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0 && bytes <= maxExecOutputBytes) resolve(Buffer.concat(chunks).toString("utf8"));
      else reject(new Error(`it ended with ${code ?? signal ?? "too much output"}`));
    });
  });

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined; // SyntaxError: not JSON
  }
}

function refused(what: string): GatewayError {
  return new GatewayError("AGENT_CREDENTIAL", `the kubeconfig's exec plugin ${what}`);
}
