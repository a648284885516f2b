/** kubectl's own flags that say which cluster and as whom, for commands that speak to a cluster as kubectl does. */
import { CommandError } from "#cli/output/failure.ts";
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

/** kubectl's other global flags, for a command that serves requests as `kubectl proxy` does. */
export const globalFlagParameters = {
  namespace: flag("Taken as kubectl takes it: a proxied request names its own", "NAME"),
  disableCompression: {
    kind: "boolean",
    brief: "Taken as kubectl takes it: nothing is ever asked for compressed here",
    optional: true,
    withNegated: false,
  },
  requestTimeout: {
    kind: "parsed",
    parse: parseRequestTimeout,
    brief: "Taken as kubectl proxy takes it, which limits no proxied request",
    placeholder: "DURATION",
    optional: true,
  },
  v: {
    kind: "parsed",
    parse: parseVerbosity,
    brief: "Level of detail; from 3 on, what the filter decides about each request",
    placeholder: "LEVEL",
    default: "0",
  },
} as const;

export const globalAliases = { n: "namespace", v: "v" } as const;

/** kubectl's own reading: seconds, or a number with its unit (`ParseTimeout`). */
function parseRequestTimeout(text: string): string {
  if (/^(?:\d+|(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)$/.test(text)) return text;
  throw new CommandError({
    code: "USAGE",
    title: `--request-timeout ${text}: give seconds, or a number with its unit, such as 1s, 2m, 3h`,
  });
}

function parseVerbosity(text: string): number {
  if (/^\d{1,2}$/.test(text)) return Number(text);
  throw new CommandError({ code: "USAGE", title: `--v ${text}: give a level from 0 to 99` });
}
