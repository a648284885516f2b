/** How an agent reaches its cluster, whatever its role. */

export interface ClusterConnection {
  /** undefined: the in-cluster ServiceAccount. */
  readonly kubeconfig: { readonly path: string; readonly context: string | undefined } | undefined;
  /** Empty: found in the cluster. */
  readonly apiservers: readonly string[];
}

export const clusterConnectionFlags = {
  kubeconfig: { type: "string" },
  context: { type: "string" },
  apiserver: { type: "string", multiple: true },
} as const;

interface ClusterConnectionValues {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly apiserver?: string[] | undefined;
}

/** An apiserver's address that is none is a problem, and left out. */
export function readClusterConnection({ kubeconfig, context, apiserver }: ClusterConnectionValues, problems: string[]): ClusterConnection {
  return {
    kubeconfig: kubeconfig === undefined ? undefined : { path: kubeconfig, context },
    apiservers: (apiserver ?? []).filter((text) => isApiserver(text, problems)),
  };
}

function isApiserver(text: string, problems: string[]): boolean {
  const url = URL.parse(text);
  if (url !== null && url.protocol === "https:" && text.replace(/\/$/, "") === url.origin) return true;
  problems.push(`--apiserver ${text}: give an apiserver's address as https://HOST:PORT`);
  return false;
}
