/** Kubeconfig files for the tests' users and for the cluster's own programs. */
import { writeFileSync } from "node:fs";

/** How the user of a kubeconfig proves who it is. */
export type Credential =
  | { readonly type: "certificate"; readonly certificateFile: string; readonly keyFile: string }
  | { readonly type: "token"; readonly token: string }
  | { readonly type: "exec"; readonly command: string; readonly args: readonly string[]; readonly env?: Readonly<Record<string, string>> };

export interface KubeconfigOptions {
  readonly server: string;
  /** A file with the authority's certificate; none for the system's own. */
  readonly caFile?: string;
  readonly credential: Credential;
  readonly namespace?: string;
}

/** Writes a kubeconfig with one cluster, one user and one context. */
export function writeKubeconfig(file: string, options: KubeconfigOptions): string {
  const cluster = { server: options.server, ...(options.caFile === undefined ? {} : { "certificate-authority": options.caFile }) };
  const context = { cluster: "cluster", user: "user", ...(options.namespace === undefined ? {} : { namespace: options.namespace }) };
  const document = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "cluster", cluster }],
    users: [{ name: "user", user: userOf(options.credential) }],
    contexts: [{ name: "context", context }],
    "current-context": "context",
  };
  // JSON is YAML. The file may hold a token, so only its owner reads it.
  writeFileSync(file, JSON.stringify(document, null, 2), { mode: 0o600 });
  return file;
}

function userOf(credential: Credential): Readonly<Record<string, unknown>> {
  switch (credential.type) {
    case "certificate":
      return { "client-certificate": credential.certificateFile, "client-key": credential.keyFile };
    case "token":
      return { token: credential.token };
    case "exec":
      return {
        exec: {
          apiVersion: "client.authentication.k8s.io/v1",
          command: credential.command,
          args: credential.args,
          env: Object.entries(credential.env ?? {}).map(([name, value]) => ({ name, value })),
          interactiveMode: "Never",
        },
      };
  }
}
