/** kubectl's own flags that say which cluster and as whom, for commands that speak to a cluster as kubectl does. */
import { toText } from "./flags.ts";

function flag(brief: string, placeholder: string) {
  return { kind: "parsed", parse: toText, brief, placeholder, optional: true } as const;
}

export const clientFlagParameters = {
  kubeconfig: flag("Kubeconfig to use (KUBECONFIG, or ~/.kube/config)", "FILE"),
  context: flag("The kubeconfig's context", "NAME"),
  cluster: flag("The kubeconfig's cluster", "NAME"),
  user: flag("The kubeconfig's user", "NAME"),
  server: flag("Address and port of the apiserver", "URL"),
  token: flag("Bearer token for the apiserver", "TOKEN"),
  username: flag("Name for basic authentication", "NAME"),
  password: flag("Password for basic authentication", "PASSWORD"),
  as: flag("User to impersonate", "NAME"),
  asUid: flag("UID to impersonate", "UID"),
  asGroup: { ...flag("Group to impersonate; may be repeated", "GROUP"), variadic: true },
  asUserExtra: { ...flag("Extra of the user to impersonate; may be repeated", "KEY=VALUE"), variadic: true },
  clientCertificate: flag("Client certificate", "FILE"),
  clientKey: flag("Key of the client certificate", "FILE"),
  certificateAuthority: flag("Certificate authority of the apiserver", "FILE"),
  insecureSkipTlsVerify: { kind: "boolean", brief: "Do not verify the apiserver: anybody may play it", optional: true, withNegated: false },
  tlsServerName: flag("Name to verify in the apiserver's certificate", "NAME"),
} as const;

export const clientAliases = { s: "server" } as const;
