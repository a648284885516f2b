/** The exec credential protocol of client-go (client.authentication.k8s.io/v1, "client-go credential plugins" in the API reference). */
import { parseJsonObject, isJsonObject } from "./private-file.ts";

export const execCredentialVersion = "client.authentication.k8s.io/v1";

/** What kubectl tells the plugin in KUBERNETES_EXEC_INFO. */
export type ExecInfo =
  | { readonly type: "parsed"; readonly isInteractive: boolean }
  | { readonly type: "invalid"; readonly problem: string };

/** Parses it; some clients set nothing, and then nobody is there to answer. */
export function parseExecInfo(text: string | undefined): ExecInfo {
  if (text === undefined || text === "") return { type: "parsed", isInteractive: false };
  const info = parseJsonObject(text);
  if (info?.["kind"] !== "ExecCredential") return { type: "invalid", problem: "KUBERNETES_EXEC_INFO is not an ExecCredential" };
  if (info["apiVersion"] !== execCredentialVersion)
    return { type: "invalid", problem: `the kubeconfig's exec block must name apiVersion ${execCredentialVersion}` };
  const spec = info["spec"];
  return { type: "parsed", isInteractive: isJsonObject(spec) && spec["interactive"] === true };
}

/** The answer; client-go asks again once the expiry has passed. */
export function renderExecCredential(token: string, expiresAtMs: number | undefined): string {
  const expiry =
    expiresAtMs === undefined
      ? {}
      : { expirationTimestamp: new Date(Math.floor(expiresAtMs / 1000) * 1000).toISOString().replace(".000Z", "Z") };
  return JSON.stringify({ apiVersion: execCredentialVersion, kind: "ExecCredential", status: { token, ...expiry } });
}
