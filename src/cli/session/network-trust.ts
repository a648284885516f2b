/** What the process trusts and goes through when it dials: private authorities and the environment's proxy. */
import type { Environment } from "./paths.ts";

/** Trusts the PEM certificates beside the built-in ones, for every connection that this process opens from now on. */
export async function trustAuthorities(authorities: string): Promise<void> {
  const tls = await import("node:tls");
  if (typeof tls.setDefaultCACertificates !== "function")
    throw new Error("this Node cannot add a certificate authority while it runs: use Node 22.19 or later, or set NODE_EXTRA_CA_CERTS");
  tls.setDefaultCACertificates([...tls.getCACertificates("default"), authorities]);
}

/** Honours HTTP_PROXY, HTTPS_PROXY and NO_PROXY where this Node can (24.14 and later; earlier ones need NODE_USE_ENV_PROXY=1). */
export async function useEnvironmentProxy(env: Environment): Promise<void> {
  if (!["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].some((name) => (env[name] ?? "") !== "")) return;
  const http = await import("node:http");
  if (typeof http.setGlobalProxyFromEnv === "function") http.setGlobalProxyFromEnv();
}
