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

/** Whether text is an apiserver's address: `https://HOST:PORT` and nothing behind it. */
export function isApiserverUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && url.protocol === "https:" && text.replace(/\/$/, "") === url.origin;
}

function isApiserver(text: string, problems: string[]): boolean {
  if (isApiserverUrl(text)) return true;
  problems.push(`--apiserver ${text}: give an apiserver's address as https://HOST:PORT`);
  return false;
}
