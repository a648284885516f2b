/** `sallyport proxy`: everything `kubectl proxy` does, with its flags, its defaults, its line of output and its exit codes. */
import { stat } from "node:fs/promises";
import { buildCommand } from "@stricli/core";
import type { CliContext } from "#cli/context.ts";
import { print, say } from "#cli/context.ts";
import { loadClientConfig } from "#cli/kubeconfig/client-config.ts";
import type { ClientConfig, ClientFlags } from "#cli/kubeconfig/client-config.ts";
import { CommandError, usageError } from "#cli/output/failure.ts";
import { toPlainLine } from "#cli/output/plain-text.ts";
import { CredentialSource } from "#cli/proxy/credentials.ts";
import { defaultFilter, parseFilter } from "#cli/proxy/filter.ts";
import type { FilterLists, RequestFilter } from "#cli/proxy/filter.ts";
import { defaultKeepAliveMs } from "#cli/proxy/limits.ts";
import { listen } from "#cli/proxy/listen.ts";
import { impersonationHeaders } from "#cli/proxy/request-headers.ts";
import { createProxyServer } from "#cli/proxy/server.ts";
import { Upstream } from "#cli/proxy/upstream.ts";
import { clientAliases, clientFlagParameters, globalAliases, globalFlagParameters } from "./client-flags.ts";
import { toText } from "./flags.ts";

interface ProxyFlags extends ClientFlags, FilterLists {
  readonly port: number;
  readonly address: string;
  readonly unixSocket: string;
  readonly apiPrefix: string;
  readonly www: string;
  readonly wwwPrefix: string;
  readonly disableFilter: boolean;
  readonly keepalive: number;
  readonly v: number;
  /** These three change nothing, as with kubectl proxy. */
  readonly namespace?: string;
  readonly disableCompression?: boolean;
  readonly requestTimeout?: string;
  readonly appendServerPath: boolean;
}

const kubectlPort = 8001;

/** A flag with text and a default. */
function textFlag(brief: string, placeholder: string, fallback: string) {
  return { kind: "parsed", parse: toText, brief, placeholder, default: fallback } as const;
}

export const command = buildCommand<ProxyFlags, [], CliContext>({
  func: proxy,
  parameters: {
    flags: {
      ...clientFlagParameters,
      ...globalFlagParameters,
      port: {
        kind: "parsed",
        parse: parsePort,
        brief: "Port to serve on; 0 takes a free one",
        placeholder: "PORT",
        default: String(kubectlPort),
      },
      address: textFlag("IP address to serve on", "ADDRESS", "127.0.0.1"),
      unixSocket: textFlag("Unix socket to serve on instead, for its owner alone", "PATH", ""),
      apiPrefix: textFlag("Prefix under which the API is served", "PREFIX", "/"),
      www: textFlag("Directory of files to serve too", "DIRECTORY", ""),
      wwwPrefix: textFlag("Prefix under which the files are served", "PREFIX", "/static/"),
      acceptHosts: textFlag("Expressions (RE2, comma-separated) of hosts that are accepted", "LIST", defaultFilter.acceptHosts),
      acceptPaths: textFlag("Expressions of paths that are accepted", "LIST", defaultFilter.acceptPaths),
      rejectPaths: textFlag("Expressions of paths that are rejected, even if accepted", "LIST", defaultFilter.rejectPaths),
      rejectMethods: textFlag("Expressions of methods that are rejected", "LIST", defaultFilter.rejectMethods),
      disableFilter: { kind: "boolean", brief: "Accept everything: any web page may then use it", default: false, withNegated: false },
      keepalive: {
        kind: "parsed",
        parse: parseDuration,
        brief: "Period of TCP keep-alives of upgraded connections",
        placeholder: "DURATION",
        default: "0s",
      },
      appendServerPath: {
        kind: "boolean",
        brief: "Put the path of the kubeconfig's server before every path",
        default: false,
        withNegated: false,
      },
    },
    aliases: { ...clientAliases, ...globalAliases, p: "port", u: "unixSocket", w: "www", P: "wwwPrefix" },
  },
  docs: {
    brief: "Serve a cluster's API on this machine, with your credential (as kubectl proxy)",
    customUsage: ["", "--port 0 --context NAME", "--unix-socket /tmp/kube.sock"],
  },
});

async function proxy(this: CliContext, flags: ProxyFlags): Promise<void> {
  const filter = compileFilter(this, flags);
  if (filter === "invalid") return;
  if (flags.port !== kubectlPort && flags.unixSocket !== "") {
    tellError(this, "cannot set --unix-socket and --port at the same time");
    return;
  }
  const config = await loadClientConfig({
    flags,
    env: this.env,
    homeDirectory: this.homeDirectory,
    workingDirectory: this.workingDirectory,
    serviceAccountDirectory,
  });
  await warn(this, flags, config);
  const upstream = new Upstream({ server: config.server, proxy: config.proxy, environment: this.env });
  const server = createProxyServer({
    routes: { ...readPrefixes(flags), filter },
    files: flags.www === "" ? undefined : flags.www,
    upstream,
    credentials: new CredentialSource({
      config,
      environment: this.env,
      clock: this.time,
      interactive: this.terminal.input && this.terminal.error,
    }),
    impersonation: impersonationHeaders(config.impersonation),
    serverPath: appendsServerPath(flags, config) ? config.server.pathname.replace(/\/$/, "") : "",
    keepAliveMs: flags.keepalive === 0 ? defaultKeepAliveMs : flags.keepalive,
    behindGateway: config.behindGateway,
    onLost: (reason) => say(this, `An upgraded connection ended: ${reason}`),
  });
  const place = flags.unixSocket === "" ? { address: flags.address, port: flags.port } : { path: flags.unixSocket };
  const result = await listen(server, place);
  if (result.type === "failed") {
    tellError(this, result.message);
    return;
  }
  print(this, `Starting to serve on ${result.address}\n`);
  await untilAborted(this.signal);
  server.close();
  server.closeAllConnections();
  upstream.close();
}

/** Where Kubernetes mounts a pod's ServiceAccount. */
const serviceAccountDirectory = "/var/run/secrets/kubernetes.io/serviceaccount";

/** As kubectl tells its errors, with its exit code. */
function tellError(context: CliContext, message: string, exitCode = 1): void {
  say(context, `error: ${message}`);
  context.process.exitCode = exitCode;
}

/** kubectl's exit code for an expression that does not compile (klog's Fatal). */
const fatalExitCode = 255;

function compileFilter(context: CliContext, flags: ProxyFlags): RequestFilter | undefined | "invalid" {
  if (flags.disableFilter) return undefined;
  const result = parseFilter(flags);
  if (result.type === "filter") return flags.v < filterVerbosity ? result.accepts : telling(context, result.accepts);
  tellError(context, `Error compiling re: ${result.flag}: ${JSON.stringify(result.expression)}: ${result.message}`, fatalExitCode);
  return "invalid";
}

/** From this level on kubectl proxy tells what its filter decides (kubectl `pkg/proxy/proxy_server.go`). */
const filterVerbosity = 3;

function telling(context: CliContext, accepts: RequestFilter): RequestFilter {
  return (method, target) => {
    const isAccepted = accepts(method, target);
    say(context, toPlainLine(`Filter ${isAccepted ? "accepting" : "rejecting"} ${method} ${target.decoded} ${target.host}`));
    return isAccepted;
  };
}

function readPrefixes({ apiPrefix, www, wwwPrefix }: ProxyFlags): { readonly apiPrefix: string; readonly filesPrefix: string | undefined } {
  const api = closeSlash("--api-prefix", apiPrefix);
  const files = www === "" ? undefined : closeSlash("--www-prefix", wwwPrefix);
  if (api === files) throw usageError("--api-prefix and --www-prefix are the same", "Give one of them another prefix.");
  return { apiPrefix: api, filesPrefix: files };
}

/** kubectl takes a prefix without a slash at its start for a host, and then answers 404 to everything. */
function closeSlash(flag: string, prefix: string): string {
  if (!prefix.startsWith("/")) throw usageError(`${flag} ${prefix} does not begin with /`);
  return prefix.endsWith("/") ? prefix : `${prefix}/`;
}

/** Behind the gateway the path is the cluster's name, without which there is no cluster. */
function appendsServerPath(flags: ProxyFlags, config: ClientConfig): boolean {
  return flags.appendServerPath || config.behindGateway;
}

async function warn(context: CliContext, flags: ProxyFlags, config: ClientConfig): Promise<void> {
  const path = config.server.pathname;
  if (!appendsServerPath(flags, config) && path !== "/")
    say(
      context,
      `Warning: Your kube context contains a server path ${path}, use --append-server-path to automatically append the path to each request`,
    );
  if (flags.disableFilter && flags.unixSocket === "")
    say(context, "Warning: Request filter disabled, your proxy is vulnerable to XSRF attacks, please be cautious");
  if (flags.www === "") return;
  const kind = await stat(flags.www).then(
    (entry) => (entry.isDirectory() ? "directory" : "other"),
    () => "missing",
  );
  if (kind === "missing") say(context, `Warning: Failed to stat static file directory ${flags.www}`);
  if (kind === "other") say(context, `Warning: Static file directory ${flags.www} is not a directory`);
}

function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port <= 65_535) return port;
  throw new CommandError({ code: "USAGE", title: `--port ${text}: give a number from 0 to 65535` });
}

const unitsMs: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A duration of Go, such as 1m30s, in milliseconds. */
function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)];
  if (text === "0") return 0;
  if (parts.length === 0 || parts.map(([part]) => part).join("") !== text)
    throw new CommandError({ code: "USAGE", title: `--keepalive ${text}: give a duration such as 30s or 1m30s` });
  return Math.round(parts.reduce((sum, [, count, unit]) => sum + Number(count) * (unitsMs[unit ?? ""] ?? 0), 0));
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
