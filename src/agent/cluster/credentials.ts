/**
 * The agent's own credential for its cluster, and how it knows the cluster's apiservers.
 *
 * It is the one identity that may impersonate. It is asked for before each request, read again when it changes on disk or expires, and
 * never kept longer than that; it goes into the Authorization header of requests and nowhere else.
 */
import { join } from "node:path";
import type { Clock } from "#agent/clock.ts";
import { ExecCredentialSource, runCommand } from "#kubeconfig/exec-plugin.ts";
import type { RunCommand } from "#kubeconfig/exec-plugin.ts";
import { bearerValue, RefreshedFile } from "#kubeconfig/refreshed-file.ts";
import { inClusterServerName } from "./endpoints.ts";
import { readKubeconfig } from "./kubeconfig.ts";
import type { KubeconfigContext } from "./kubeconfig.ts";

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
    return bearerValue(this.#token.text);
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
      source.type === "exec"
        ? new ExecCredentialSource({ plugin: source.plugin, environment, clock, run: run ?? runCommand, interactive: false })
        : undefined;
  }

  async authorization(): Promise<string | undefined> {
    const source = this.#context.bearer;
    switch (source.type) {
      case "none":
        return undefined;
      case "token":
        return bearerValue(source.token);
      case "tokenFile":
        await this.#file?.refresh();
        return bearerValue(this.#file?.text ?? "");
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
    return credential?.token === undefined ? undefined : bearerValue(credential.token);
  }
}

function inClusterTls(ca: string): AgentTls {
  return { ca, certificate: undefined, key: undefined, serverName: inClusterServerName, insecure: false };
}
