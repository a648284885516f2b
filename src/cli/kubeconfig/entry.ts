/**
 * The kubeconfig: one entry for each cluster, whose user is the exec plugin `sallyport credential`, so that no token stands in it.
 *
 * It is the person's file, shared with kubectl and many other programs. So it is changed in place, with comments and unknown fields
 * kept, under kubectl's own lock file, with a copy of what was there before; what is not ours is never changed, and what
 * cannot be read is left alone.
 */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { execCredentialVersion } from "#cli/session/exec-credential.ts";
import type { Environment } from "#cli/session/paths.ts";

/** How kubectl starts the plugin. */
export interface PluginCommand {
  readonly command: string;
  /** What comes before `credential`. */
  readonly leadingArgs: readonly string[];
}

/** What one cluster needs in a kubeconfig. */
export interface KubeconfigEntry {
  readonly gateway: string;
  readonly cluster: string;
  readonly server: string;
  /** PEM certificates of the gateway's own authority. */
  readonly authorities: string | undefined;
  readonly contextName: string;
  readonly namespace: string | undefined;
  /** The audience that a runner's token must have. */
  readonly audience: string | undefined;
  readonly plugin: PluginCommand;
}

const entryPrefix = "sallyport/";

/** The name of the cluster and user entries; it names gateway and cluster, so two gateways never share one. */
export function entryName(gateway: string, cluster: string): string {
  return `${entryPrefix}${new URL(gateway).host}/${cluster}`;
}

/** The fields of an `exec` block (client.authentication.k8s.io/v1). */
export function execFields(entry: KubeconfigEntry): Readonly<Record<string, unknown>> {
  const audience = entry.audience === undefined ? [] : ["--audience", entry.audience];
  return {
    apiVersion: execCredentialVersion,
    command: entry.plugin.command,
    args: [...entry.plugin.leadingArgs, "credential", "--gateway", entry.gateway, "--cluster", entry.cluster, ...audience],
    interactiveMode: "IfAvailable",
    // The arguments name everything that the plugin needs.
    provideClusterInfo: false,
    installHint: `This cluster is reached through ${entry.gateway}.\nGet the sallyport command from your gateway's admin, then run:\n  sallyport login --gateway ${entry.gateway} --cluster ${entry.cluster}`,
  };
}

/** The context's name from a template with `{cluster}` and `{gateway}`; undefined when it would be empty, or hold white space or a brace. */
export function contextName(template: string, names: { readonly gateway: string; readonly cluster: string }): string | undefined {
  const name = template.replaceAll("{cluster}", names.cluster).replaceAll("{gateway}", new URL(names.gateway).hostname);
  return /^[^\s{}]+$/.test(name) ? name : undefined;
}

export interface PluginSearch {
  readonly env: Environment;
  readonly platform: NodeJS.Platform;
  /** The running Node, and the file that it runs. */
  readonly node: string;
  readonly entryFile: string;
}

/** `sallyport` when it is installed; else the running program by its full path. A folder that npx or npm made for one run does not count. */
export function findPluginCommand(search: PluginSearch): PluginCommand {
  const names = search.platform === "win32" ? ["sallyport.cmd", "sallyport.exe"] : ["sallyport"];
  const folders = (search.env["PATH"] ?? "")
    .split(delimiter)
    .filter((folder) => folder !== "" && !/[\\/](_npx|node_modules)[\\/]/.test(`${folder}/`));
  const isInstalled = folders.some((folder) => names.some((name) => isExecutable(join(folder, name))));
  return isInstalled ? { command: "sallyport", leadingArgs: [] } : { command: search.node, leadingArgs: [search.entryFile] };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false; // not there, or not to be run
  }
}
