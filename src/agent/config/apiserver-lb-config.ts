/** The configuration of the role `apiserver-lb`: flags only. */
import { isIP } from "node:net";
import { clusterConnectionFlags, readClusterConnection } from "./cluster-connection.ts";
import type { ClusterConnection } from "./cluster-connection.ts";
import { parseFlags } from "./flags.ts";

/** An IP address and a port to listen at. */
export interface ListenPlace {
  readonly host: string;
  readonly port: number;
}

export interface ApiserverLbConfig {
  readonly role: "apiserver-lb";
  readonly connection: ClusterConnection;
  /** Where clients connect. */
  readonly listen: readonly ListenPlace[];
  /** Where /healthz and /metrics are; undefined for nowhere. */
  readonly status: ListenPlace | undefined;
  /** A file with an apiserver's address on each line. */
  readonly serversFile: string | undefined;
  /** How long connections may go on after the role was told to stop. */
  readonly drainMs: number;
}

export type ApiserverLbConfigResult =
  | { readonly type: "config"; readonly config: ApiserverLbConfig }
  | { readonly type: "invalid"; readonly problems: readonly string[] };

const defaultListen = "127.0.0.1:7443";
const defaultStatus = "127.0.0.1:7444";
const defaultDrainSeconds = 30;

export const apiserverLbUsage = `--roles apiserver-lb: passes TCP connections to the apiservers that are ready; TLS stays between client and apiserver

  --listen ADDRESS:PORT         where clients connect; repeatable               [${defaultListen}]
  --status ADDRESS:PORT         /healthz and /metrics; "" for neither           [${defaultStatus}]
  --apiserver URL               an apiserver's address; repeatable              [found in the cluster]
  --servers-file FILE           apiservers' addresses instead, one on a line; read again when it changes
  --kubeconfig FILE             credentials for probes, outside of a pod
  --context NAME                the kubeconfig's context
  --drain-seconds N             how long connections go on after SIGTERM        [${defaultDrainSeconds}]
`;

const flags = {
  ...clusterConnectionFlags,
  listen: { type: "string", multiple: true },
  status: { type: "string" },
  "servers-file": { type: "string" },
  "drain-seconds": { type: "string" },
  roles: { type: "string" },
} as const;

/** Reads the flags. */
export function readApiserverLbConfig(args: readonly string[]): ApiserverLbConfigResult {
  const problems: string[] = [];
  const values = parseFlags(args, flags, problems);
  if (values === undefined) return { type: "invalid", problems };
  const connection = readClusterConnection(values, problems);
  if (values["servers-file"] !== undefined && connection.apiservers.length > 0)
    problems.push("--servers-file and --apiserver: give one of them");
  const status = values.status ?? defaultStatus;
  const config: ApiserverLbConfig = {
    role: "apiserver-lb",
    connection,
    listen: (values.listen ?? [defaultListen]).flatMap((text) => readPlace("--listen", text, problems) ?? []),
    status: status === "" ? undefined : readPlace("--status", status, problems),
    serversFile: values["servers-file"],
    drainMs: readSeconds(values["drain-seconds"], problems) * 1000,
  };
  return problems.length > 0 ? { type: "invalid", problems } : { type: "config", config };
}

function readPlace(flag: string, text: string, problems: string[]): ListenPlace | undefined {
  const [, bracketed, plain, digits = ""] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? "";
  const port = Number(digits);
  if (isIP(host) !== 0 && port >= 1 && port <= 65_535) return { host, port };
  problems.push(`${flag} ${text}: give an IP address and a port, such as 127.0.0.1:7443 or [::1]:7443`);
  return undefined;
}

function readSeconds(text: string | undefined, problems: string[]): number {
  if (text === undefined) return defaultDrainSeconds;
  if (!/^\d{1,5}$/.test(text)) problems.push(`--drain-seconds ${text}: give a number of seconds from 0 to 99999`);
  return Number(text);
}
