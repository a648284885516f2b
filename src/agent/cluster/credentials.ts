/**
 * The agent's own credential for its cluster, and how it knows the cluster's apiservers.
 *
 * It is the one identity that may impersonate. It is asked for before each request, read again when it changes on disk or expires, and
 * never kept longer than that; it goes into the Authorization header of requests and nowhere else.
 */
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { GatewayError } from "#core/errors.ts";
import type { Clock } from "#agent/clock.ts";
import { inClusterServerName } from "./endpoints.ts";
import { ExecCredentialSource, runCommand } from "./exec-plugin.ts";
import type { RunCommand } from "./exec-plugin.ts";
import { readKubeconfig } from "./kubeconfig.ts";
import type { KubeconfigContext } from "./kubeconfig.ts";
import { fileRefreshMs } from "./limits.ts";

/** The agent's side of TLS. The same object comes back until something in it changes. */
export interface AgentTls {
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  readonly serverName: string | undefined;
  readonly insecure: boolean;
}

export interface AgentCredentials {
  /** The Authorization header's value; undefined when a client certificate is the identity. Rejects with AGENT_CREDENTIAL. */
  authorization(): Promise<string | undefined>;
  /** As of the last `authorization()`. */
  tls(): AgentTls;
  /** The apiserver refused the credential: the next call makes or reads a new one. */
  invalidate(): void;
}

export interface InClusterOptions {
  /** Where the ServiceAccount's token and ca.crt are mounted. */
  readonly directory: string;
  readonly clock: Clock;
}

/** Where Kubernetes mounts a pod's ServiceAccount. */
export const serviceAccountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

/** The pod's ServiceAccount; throws CONFIGURATION_INVALID when its files are not there. */
export function createInClusterCredentials(options: InClusterOptions): AgentCredentials {
  return new InClusterCredentials(options);
}

export interface KubeconfigOptions {
  readonly path: string;
  /** undefined: the file's current-context. */
  readonly context: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  /** How exec plugins run. */
  readonly run?: RunCommand;
}

/** A kubeconfig's apiserver and credential; throws CONFIGURATION_INVALID with all problems of the file. */
export function createKubeconfigCredentials(options: KubeconfigOptions): {
  readonly credentials: AgentCredentials;
  readonly server: string;
} {
  const context = readKubeconfig(options.path, options.context);
  return { credentials: new KubeconfigCredentials(context, options), server: context.server };
}

/** A text file that is read again at most every few seconds; what was read before holds while it cannot be read. */
class RefreshedFile {
  readonly #path: string;
  readonly #clock: Clock;
  #text: string;
  #readAtMs: number;
  #reading: Promise<void> | undefined;

  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
    this.#text = readOrRefuse(path);
    this.#readAtMs = clock.now();
  }

  get text(): string {
    return this.#text;
  }

  async refresh(): Promise<void> {
    if (this.#clock.now() - this.#readAtMs < fileRefreshMs) return;
    this.#reading ??= this.#read();
    await this.#reading;
  }

  expire(): void {
    this.#readAtMs = Number.NEGATIVE_INFINITY;
  }

  async #read(): Promise<void> {
    const text = await readFile(this.#path, "utf8").catch(() => ""); // the kubelet is just exchanging it
    if (text !== "") this.#text = text;
    this.#readAtMs = this.#clock.now();
    this.#reading = undefined;
  }
}

class InClusterCredentials implements AgentCredentials {
  readonly #token: RefreshedFile;
  readonly #ca: RefreshedFile;
  #tls: AgentTls;

  constructor({ directory, clock }: InClusterOptions) {
    this.#token = new RefreshedFile(join(directory, "token"), clock);
    this.#ca = new RefreshedFile(join(directory, "ca.crt"), clock);
    this.#tls = inClusterTls(this.#ca.text);
  }

  async authorization(): Promise<string> {
    await this.#token.refresh();
    await this.#ca.refresh();
    if (this.#tls.ca !== this.#ca.text) this.#tls = inClusterTls(this.#ca.text);
    return bearer(this.#token.text);
  }

  tls(): AgentTls {
    return this.#tls;
  }

  invalidate(): void {
    this.#token.expire();
  }
}

class KubeconfigCredentials implements AgentCredentials {
  readonly #context: KubeconfigContext;
  readonly #file: RefreshedFile | undefined;
  readonly #exec: ExecCredentialSource | undefined;
  #tls: AgentTls;

  constructor(context: KubeconfigContext, { environment, clock, run }: KubeconfigOptions) {
    const { ca, certificate, key, serverName, insecure, bearer: source } = context;
    this.#context = context;
    this.#tls = { ca, certificate, key, serverName, insecure };
    this.#file = source.type === "tokenFile" ? new RefreshedFile(source.path, clock) : undefined;
    this.#exec =
      source.type === "exec" ? new ExecCredentialSource({ plugin: source.plugin, environment, clock, run: run ?? runCommand }) : undefined;
  }

  async authorization(): Promise<string | undefined> {
    const source = this.#context.bearer;
    switch (source.type) {
      case "none":
        return undefined;
      case "token":
        return bearer(source.token);
      case "tokenFile":
        await this.#file?.refresh();
        return bearer(this.#file?.text ?? "");
      case "exec":
        return this.#fromExec();
    }
  }

  tls(): AgentTls {
    return this.#tls;
  }

  invalidate(): void {
    this.#file?.expire();
    this.#exec?.invalidate();
  }

  async #fromExec(): Promise<string | undefined> {
    const credential = await this.#exec?.credential();
    if (credential?.certificate !== undefined && credential.certificate !== this.#tls.certificate) {
      this.#tls = { ...this.#tls, certificate: credential.certificate, key: credential.key };
    }
    return credential?.token === undefined ? undefined : bearer(credential.token);
  }
}

function inClusterTls(ca: string): AgentTls {
  return { ca, certificate: undefined, key: undefined, serverName: inClusterServerName, insecure: false };
}

/** A token as a header value; what is not one visible word is no token, and could be another header line. */
function bearer(text: string): string {
  const token = text.trim();
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new GatewayError("AGENT_CREDENTIAL", "the agent's own token is empty or holds a blank or control character");
  return `Bearer ${token}`;
}

function readOrRefuse(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new GatewayError("CONFIGURATION_INVALID", `${path}: the agent's own credential cannot be read`, { cause: error });
  }
}
