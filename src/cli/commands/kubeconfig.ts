/** `sallyport kubeconfig`: adds clusters to the kubeconfig, or takes them out again. */
import { fileURLToPath } from "node:url";
import { buildCommand } from "@stricli/core";
import { parseClusterName } from "#core/brand.ts";
import { print, say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { readLoginConfiguration } from "#cli/gateway/client.ts";
import { chooseGateway, listReachableClusters, publicClient, recallClusterNames } from "#cli/gateway/connection.ts";
import type { ChosenGateway, GatewayFlags } from "#cli/gateway/connection.ts";
import { contextName, findPluginCommand } from "#cli/kubeconfig/entry.ts";
import type { KubeconfigEntry, PluginCommand } from "#cli/kubeconfig/entry.ts";
import { changeKubeconfig, findKubeconfig } from "#cli/kubeconfig/file.ts";
import { mergeKubeconfig, removeFromKubeconfig } from "#cli/kubeconfig/merge.ts";
import { CommandError, usageError } from "#cli/output/failure.ts";
import { isSafeForSecrets } from "#cli/session/gateway-url.ts";
import { listSessions } from "#cli/session/token-store.ts";
import { gatewayFlagParameters, toText } from "./flags.ts";

interface KubeconfigFlags extends GatewayFlags {
  readonly cluster?: readonly string[];
  readonly namespace?: string;
  readonly contextName: string;
  readonly audience?: string;
  readonly file?: string;
  readonly print: boolean;
  readonly remove: boolean;
}

/** A cluster and the URL that kubectl reaches it at. */
interface Target {
  readonly name: string;
  readonly url: string;
}

export const command = buildCommand<KubeconfigFlags, [], CliContext>({
  func: kubeconfig,
  parameters: {
    flags: {
      ...gatewayFlagParameters,
      cluster: {
        kind: "parsed",
        parse: toText,
        brief: "Only this cluster; may be repeated",
        placeholder: "NAME",
        variadic: true,
        optional: true,
        async proposeCompletions() {
          return recallClusterNames(this);
        },
      },
      namespace: { kind: "parsed", parse: toText, brief: "Default namespace of the contexts", placeholder: "NS", optional: true },
      contextName: {
        kind: "parsed",
        parse: toText,
        brief: "Name of the contexts; may hold {cluster} and {gateway}",
        placeholder: "TEMPLATE",
        default: "{cluster}",
      },
      audience: { kind: "parsed", parse: toText, brief: "Audience to ask GitHub Actions for, in CI", placeholder: "AUD", optional: true },
      file: {
        kind: "parsed",
        parse: toText,
        brief: "Kubeconfig to change (KUBECONFIG, or ~/.kube/config)",
        placeholder: "FILE",
        optional: true,
      },
      print: { kind: "boolean", brief: "Print a kubeconfig of its own instead", default: false },
      remove: { kind: "boolean", brief: "Take the gateway's entries out again", default: false },
    },
    aliases: { n: "namespace" },
  },
  docs: {
    brief: "Add clusters to the kubeconfig",
    customUsage: [
      "",
      "--cluster prod -n web",
      "--context-name '{gateway}-{cluster}'",
      "--cluster prod --print > prod.kubeconfig",
      "--remove",
    ],
  },
});

async function kubeconfig(this: CliContext, flags: KubeconfigFlags): Promise<void> {
  const names = (flags.cluster ?? []).map(parseName);
  const gateway = await chooseGateway(this, flags);
  if (flags.remove) return remove(this, { flags, gateway, names });
  const targets = await findTargets(this, gateway, names);
  const plugin = findPluginCommand({
    env: this.env,
    platform: this.platform,
    node: process.execPath,
    entryFile: fileURLToPath(this.entryUrl),
  });
  const entries = targets.map((target) => toEntry(target, { flags, gateway, plugin }));
  warn(this, entries);
  return flags.print ? printKubeconfig(this, entries) : write(this, flags, entries);
}

function parseName(text: string): string {
  const name = parseClusterName(text);
  if (name === undefined) throw usageError(`"${text}" is no cluster's name`);
  return name;
}

/** What the gateway lists for the person; a named cluster that it does not list gets the URL that every cluster has. */
async function findTargets(context: CliContext, gateway: ChosenGateway, names: readonly string[]): Promise<readonly Target[]> {
  const listed = await listOrNothing(context, gateway, names.length > 0);
  if (names.length === 0) {
    if (listed.length > 0) return listed;
    throw new CommandError({
      code: "NOT_FOUND",
      title: `There is no cluster for you at ${gateway.url}`,
      next: ["sallyport login --cluster NAME"],
    });
  }
  const targets: Target[] = [];
  for (const name of names) targets.push(listed.find((cluster) => cluster.name === name) ?? (await findUnlisted(context, gateway, name)));
  return targets;
}

async function listOrNothing(context: CliContext, gateway: ChosenGateway, mayFail: boolean): Promise<readonly Target[]> {
  try {
    return await listReachableClusters(context, gateway);
  } catch (thrown) {
    if (mayFail && thrown instanceof CommandError) return [];
    throw thrown;
  }
}

async function findUnlisted(context: CliContext, gateway: ChosenGateway, name: string): Promise<Target> {
  // The public login document answers CLUSTER_UNKNOWN for a name that does not exist.
  await readLoginConfiguration(publicClient(context, gateway), name);
  return { name, url: `${gateway.url}/k/${name}` };
}

interface EntryOptions {
  readonly flags: KubeconfigFlags;
  readonly gateway: ChosenGateway;
  readonly plugin: PluginCommand;
}

function toEntry(target: Target, { flags, gateway, plugin }: EntryOptions): KubeconfigEntry {
  const name = contextName(flags.contextName, { gateway: gateway.url, cluster: target.name });
  if (name === undefined)
    throw usageError(
      `The context name "${flags.contextName}" must not be empty or hold white space, and knows {cluster} and {gateway} only`,
    );
  if (!isSafeForSecrets(target.url))
    throw new CommandError({
      code: "GATEWAY_UNREACHABLE",
      title: `The gateway names an address for "${target.name}" that is not https`,
      next: ["Tell the gateway's admin."],
    });
  return {
    gateway: gateway.url,
    cluster: target.name,
    server: target.url,
    authorities: gateway.authorities,
    contextName: name,
    namespace: flags.namespace,
    audience: flags.audience,
    plugin,
  };
}

function warn(context: CliContext, entries: readonly KubeconfigEntry[]): void {
  const [first] = entries;
  if (first === undefined) return;
  if (first.server.startsWith("http:")) say(context, `Warning: kubectl sends no credentials over http, so ${first.server} will refuse it.`);
  if (first.plugin.command !== "sallyport")
    say(
      context,
      `Note: sallyport is not installed on the PATH, so the kubeconfig names ${first.plugin.leadingArgs.join(" ")}; run this again after moving it.`,
    );
}

function printKubeconfig(context: CliContext, entries: readonly KubeconfigEntry[]): void {
  const change = mergeKubeconfig("", entries);
  if (change.type === "refused") throw usageError("The kubeconfig cannot be printed", change.problems.join("\n"));
  if (change.type === "changed") print(context, change.text);
}

async function write(context: CliContext, flags: KubeconfigFlags, entries: readonly KubeconfigEntry[]): Promise<void> {
  const path = flags.file ?? (await findKubeconfig(context));
  const outcome = await changeKubeconfig(context, path, (text) => mergeKubeconfig(text, entries));
  const contexts = outcome.contexts.join(", ");
  say(context, outcome.type === "unchanged" ? `${path} has these contexts already: ${contexts}` : `Added to ${path}: ${contexts}`);
  if (outcome.type === "written" && outcome.backup !== undefined) say(context, `  The file as it was: ${outcome.backup}`);
  const sessions = await listSessions(context.store, entries[0]?.gateway);
  const isSignedIn = (entry: KubeconfigEntry): boolean => sessions.some((session) => session.key.cluster === entry.cluster);
  for (const entry of entries.filter((item) => !isSignedIn(item)))
    say(context, `  Sign in:  sallyport login --gateway ${entry.gateway} --cluster ${entry.cluster}`);
  say(context, `  Next:  kubectl --context ${entries[0]?.contextName ?? ""} get pods`);
}

interface Removal {
  readonly flags: KubeconfigFlags;
  readonly gateway: ChosenGateway;
  readonly names: readonly string[];
}

async function remove(context: CliContext, { flags, gateway, names }: Removal): Promise<void> {
  const path = flags.file ?? (await findKubeconfig(context));
  const outcome = await changeKubeconfig(context, path, (text) =>
    text === "" ? { type: "unchanged", contexts: [] } : removeFromKubeconfig(text, gateway.url, names),
  );
  if (outcome.type === "unchanged") say(context, `${path} has no entry of ${gateway.url}`);
  else say(context, `Removed from ${path}: ${outcome.contexts.join(", ")}`);
}
