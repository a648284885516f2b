/** Who the proxy is to the apiserver: asked for before each request, read again when files change, made again when it expires or is refused. */
import { ExecCredentialSource, runCommand } from "#kubeconfig/exec-plugin.ts";
import type { ExecCredential } from "#kubeconfig/exec-plugin.ts";
import type { ClientCertificate, ServerTrust } from "#kubeconfig/entries.ts";
import { fileRefreshMs } from "#kubeconfig/limits.ts";
import { bearerValue, RefreshedFile } from "#kubeconfig/refreshed-file.ts";
import type { WallClock } from "#kubeconfig/refreshed-file.ts";
import type { ClientConfig } from "#cli/kubeconfig/client-config.ts";
import type { Environment } from "#cli/session/paths.ts";

/** The client's side of TLS. The same object comes back until something in it changes. */
export type ClientTls = ServerTrust & ClientCertificate;

/** A credential as one request needs it. */
export interface Credential {
  /** The Authorization header's value; undefined when there is none, or a client certificate is the identity. */
  readonly authorization: string | undefined;
  readonly tls: ClientTls;
}

export interface CredentialSourceOptions {
  readonly config: ClientConfig;
  readonly environment: Environment;
  readonly clock: WallClock;
  /** Whether an exec plugin may use the terminal. */
  readonly interactive: boolean;
}

/** The kubeconfig's credential. */
export class CredentialSource {
  readonly #options: CredentialSourceOptions;
  readonly #file: RefreshedFile | undefined;
  readonly #exec: ExecCredentialSource | undefined;
  #files: ClientTls;
  #filesReadAtMs: number;
  #tls: ClientTls;

  /** Throws CONFIGURATION_INVALID when a file of the credential cannot be read. */
  constructor(options: CredentialSourceOptions) {
    const { config, environment, clock, interactive } = options;
    this.#options = options;
    this.#files = config.readTls();
    this.#filesReadAtMs = clock.now();
    this.#tls = this.#files;
    this.#file = config.bearer.type === "tokenFile" ? new RefreshedFile(config.bearer.path, clock) : undefined;
    this.#exec =
      config.bearer.type === "exec" && this.#files.certificate === undefined
        ? new ExecCredentialSource({ plugin: config.bearer.plugin, environment, clock, run: runCommand, interactive })
        : undefined;
  }

  /** Rejects with AGENT_CREDENTIAL when there is none. */
  async current(): Promise<Credential> {
    this.#refreshFiles();
    const exec = await this.#exec?.credential();
    this.#setTls(exec);
    return { authorization: await this.#authorization(exec), tls: this.#tls };
  }

  /** The apiserver refused the credential: the next one is read or made anew. */
  refused(): void {
    this.#file?.expire();
    this.#exec?.invalidate();
  }

  async #authorization(exec: ExecCredential | undefined): Promise<string | undefined> {
    const { bearer } = this.#options.config;
    switch (bearer.type) {
      case "none":
        return undefined;
      case "token":
        return bearerValue(bearer.token);
      case "tokenFile":
        await this.#file?.refresh();
        return bearerValue(this.#file?.text ?? "");
      case "exec":
        return exec?.token === undefined ? undefined : bearerValue(exec.token);
      case "basic":
        return `Basic ${Buffer.from(`${bearer.username}:${bearer.password}`, "utf8").toString("base64")}`;
    }
  }

  /** Certificates and keys are replaced on disk, by a kubelet or by cert-manager. */
  #refreshFiles(): void {
    const nowMs = this.#options.clock.now();
    if (nowMs - this.#filesReadAtMs < fileRefreshMs) return;
    this.#filesReadAtMs = nowMs;
    try {
      const read = this.#options.config.readTls();
      if (!isSame(read, this.#files)) this.#files = read;
    } catch {
      // CONFIGURATION_INVALID: somebody is just exchanging the files; what was read before holds.
    }
  }

  #setTls(exec: ExecCredential | undefined): void {
    const tls = exec?.certificate === undefined ? this.#files : { ...this.#files, certificate: exec.certificate, key: exec.key };
    if (!isSame(tls, this.#tls)) this.#tls = tls;
  }
}

function isSame(left: ClientTls, right: ClientTls): boolean {
  return (
    left.ca === right.ca &&
    left.certificate === right.certificate &&
    left.key === right.key &&
    left.serverName === right.serverName &&
    left.insecure === right.insecure
  );
}
