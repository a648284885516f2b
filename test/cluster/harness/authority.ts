/** The certificates of a test cluster: one authority, and what it signs for the control plane, the nodes and the admin. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";

import { mustRun } from "./command.ts";

export interface CertificateRequest {
  /** File name without ending: `<name>.crt` and `<name>.key` in the authority's folder. */
  readonly name: string;
  /** User name to Kubernetes (X.509 client certificates: the common name). */
  readonly commonName: string;
  /** Groups to Kubernetes (the organizations). */
  readonly organizations?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly addresses?: readonly string[];
}

const validDays = "365";
const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"] as const;

/** A certificate authority that writes what it signs into a folder. */
export class Authority {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Makes a new authority; its certificate is `ca.crt` in the folder. */
  static async create(folder: string, commonName: string): Promise<Authority> {
    mkdirSync(folder, { recursive: true });
    const authority = new Authority(folder);
    await authority.#openssl(
      "req",
      "-x509",
      ...newKey,
      "-keyout",
      "ca.key",
      "-out",
      "ca.crt",
      "-days",
      validDays,
      "-subj",
      `/CN=${commonName}`,
    );
    return authority;
  }

  /** Signs a certificate for servers and clients. */
  async issue({ name, commonName, organizations = [], dnsNames = [], addresses = [] }: CertificateRequest): Promise<void> {
    const subject = [...organizations.map((group) => `/O=${escapeName(group)}`), `/CN=${escapeName(commonName)}`].join("");
    const names = [...dnsNames.map((dns) => `DNS:${dns}`), ...addresses.map((address) => `IP:${address}`)];
    const usage = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=serverAuth,clientAuth"];
    const extensions = [...usage, ...(names.length === 0 ? [] : [`subjectAltName=${names.join(",")}`])];
    const authority = ["-CA", "ca.crt", "-CAkey", "ca.key"] as const;
    const added = extensions.flatMap((extension) => ["-addext", extension]);
    const files = ["-keyout", `${name}.key`, "-out", `${name}.crt`] as const;
    await this.#openssl("req", "-x509", ...authority, ...newKey, ...files, "-days", validDays, "-subj", subject, ...added);
  }

  /** Makes a bare key pair, as ServiceAccount tokens are signed with: `<name>.key` and `<name>.pub`. */
  async writeKeyPair(name: string): Promise<void> {
    await this.#openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", `${name}.key`);
    const publicKey = await this.#openssl("pkey", "-in", `${name}.key`, "-pubout");
    writeFileSync(path.join(this.folder, `${name}.pub`), publicKey);
  }

  #openssl(...args: readonly string[]): Promise<string> {
    return mustRun("openssl", args, { cwd: this.folder });
  }
}

/** openssl's -subj separates parts with slashes. */
function escapeName(value: string): string {
  return value.replaceAll(/[\\/]/g, String.raw`\$&`);
}
