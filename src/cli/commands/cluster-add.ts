/** `sallyport cluster add`: checks the cluster's settings, registers it, and leaves one line that installs the agent. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { buildCommand } from "@stricli/core";
import type { ClusterName } from "#core/brand.ts";
import type { ClusterSummary, JoinTrust } from "#core/gateway-api.ts";
import { print, say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { addCluster } from "#cli/gateway/client.ts";
import { chooseGateway, signedInClient } from "#cli/gateway/connection.ts";
import type { ChosenGateway } from "#cli/gateway/connection.ts";
import type { TargetSelection } from "#cli/kubeconfig/target-cluster.ts";
import { agentSubject } from "#cli/manifests/agent-options.ts";
import { usageError } from "#cli/output/failure.ts";
import { renderJson } from "#cli/output/format.ts";
import { paint, wantsColor } from "#cli/output/style.ts";
import { readKeySetFile, readPlan } from "#cli/registration/plan.ts";
import type { Plan } from "#cli/registration/plan.ts";
import { isSystemError, replaceFile } from "#cli/session/private-file.ts";
import { clusterNameParameter, joinAudience, manifestFlagParameters, parseName, renderManifests } from "./cluster-flags.ts";
import type { ManifestFlags } from "./cluster-flags.ts";
import { outputAliases, toText } from "./flags.ts";

interface AddFlags extends ManifestFlags {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly joinIssuer?: string;
  readonly joinKeys?: string;
  readonly allowSharedAudience: boolean;
  readonly manifests?: string;
  readonly overwrite: boolean;
  readonly output: "text" | "json";
}

export const addCommand = buildCommand<AddFlags, [string], CliContext>({
  func: add,
  parameters: {
    flags: {
      ...manifestFlagParameters,
      kubeconfig: {
        kind: "parsed",
        parse: toText,
        brief: "Kubeconfig that reaches the cluster today (KUBECONFIG, or ~/.kube/config)",
        placeholder: "FILE",
        optional: true,
      },
      context: { kind: "parsed", parse: toText, brief: "Its context (the current one)", placeholder: "NAME", optional: true },
      joinIssuer: {
        kind: "parsed",
        parse: toText,
        brief: "Without access to the cluster: its ServiceAccount issuer",
        placeholder: "URL",
        optional: true,
      },
      joinKeys: {
        kind: "parsed",
        parse: toText,
        brief: "Without access to the cluster: its ServiceAccount keys (JWKS)",
        placeholder: "FILE",
        optional: true,
      },
      allowSharedAudience: { kind: "boolean", brief: "Let through an audience that another cluster accepts too", default: false },
      manifests: {
        kind: "parsed",
        parse: toText,
        brief: "Where to write the agent's manifests (sallyport-NAME.yaml); `-` prints them",
        placeholder: "FILE",
        optional: true,
      },
      overwrite: { kind: "boolean", brief: "Replace the manifests' file when it is there already", default: false },
      output: { kind: "enum", values: ["text", "json"], brief: "Output format", default: "text" },
    },
    aliases: outputAliases,
    positional: { kind: "tuple", parameters: [clusterNameParameter] },
  },
  docs: {
    brief: "Register a cluster and make its agent's manifests",
    customUsage: [
      "prod --authentication-config auth.yaml --login-client-id sallyport-prod --allow-group 'oidc:*'",
      "prod --authentication-config auth.yaml --context kind-prod --manifests - | kubectl apply -f -",
      "prod --authentication-config auth.yaml --join-issuer https://kubernetes.default.svc --join-keys jwks.json",
    ],
  },
});

async function add(this: CliContext, flags: AddFlags, nameText: string): Promise<void> {
  const name = parseName(nameText);
  const plan = await readPlan(flags);
  const gateway = await chooseGateway(this, flags);
  const manifests = renderManifests({ name, gateway, flags, plan });
  const path = await choosePath(this, flags, { name, manifests });
  const client = await signedInClient(this, { gateway: gateway.url, cluster: undefined });
  const trust = await readJoin(flags, gateway, name);
  const { authenticationConfiguration, issuerKeys, login } = plan;
  const { allowSharedAudience } = flags;
  const summary = await addCluster(client, {
    name,
    authenticationConfiguration,
    issuerKeys,
    join: trust,
    ...(login === undefined ? {} : { login }),
    allowSharedAudience,
  });
  if (path !== undefined) await replaceFile(path, manifests, manifestMode);
  await report(this, { flags, plan, summary, path, manifests });
}

/** Manifests hold nothing secret, and are there to be reviewed and committed. */
const manifestMode = 0o644;

interface Written {
  readonly name: ClusterName;
  readonly manifests: string;
}

/** The file to write, undefined for standard output. A file that holds something else is not replaced unasked. */
async function choosePath(context: CliContext, flags: AddFlags, { name, manifests }: Written): Promise<string | undefined> {
  if (flags.manifests === "-") {
    if (flags.output === "json") throw usageError("--manifests - and -o json both want standard output");
    return undefined;
  }
  const path = flags.manifests ?? join(context.workingDirectory, `sallyport-${name}.yaml`);
  const existing = await readFile(path, "utf8").catch((thrown: unknown) => {
    if (isSystemError(thrown, "ENOENT")) return undefined;
    throw thrown;
  });
  if (existing !== undefined && existing !== manifests && !flags.overwrite)
    throw usageError(`${path} is there already and holds something else`, "Give --overwrite, or another file with --manifests.");
  return path;
}

async function readJoin(flags: AddFlags, gateway: ChosenGateway, name: ClusterName): Promise<JoinTrust> {
  const common = { audience: joinAudience(gateway, name), subject: agentSubject };
  const { joinIssuer, joinKeys } = flags;
  if (joinIssuer !== undefined && joinKeys !== undefined) return { issuer: joinIssuer, jwks: await readKeySetFile(joinKeys), ...common };
  if (joinIssuer !== undefined || joinKeys !== undefined) throw usageError("--join-issuer and --join-keys belong together");
  const { readServiceAccountIssuer } = await import("#cli/kubeconfig/target-cluster.ts");
  return { ...(await readServiceAccountIssuer(toSelection(flags))), ...common };
}

function toSelection(flags: AddFlags): TargetSelection {
  return { kubeconfig: flags.kubeconfig, context: flags.context };
}

interface Report {
  readonly flags: AddFlags;
  readonly plan: Plan;
  readonly summary: ClusterSummary;
  readonly path: string | undefined;
  readonly manifests: string;
}

/** The one line that is left to do is the data; everything else is talk. */
async function report(context: CliContext, { flags, plan, summary, path, manifests }: Report): Promise<void> {
  const check = paint("green", "✔", wantsColor(context.env, context.terminal.error));
  say(context, `${check} Registered cluster "${summary.name}" at ${summary.url}`);
  if (plan.login === undefined)
    say(context, "  No login was registered, so users bring their own tokens; --login-client-id registers one.");
  if ((flags.allowGroup ?? []).length === 0)
    say(context, "  No group may come in: RBAC sees users only; --allow-group lets groups through.");
  if (path === undefined) return print(context, manifests);
  const command = await applyCommand(flags, path);
  if (flags.output === "json") return print(context, renderJson({ cluster: summary, manifests: path, apply: command }));
  say(context, `  Look at ${path}, then install the agent (and see it come up with \`sallyport status ${summary.name} --watch\`):`);
  return print(context, `${command}\n`);
}

/** Names the context outright, since the current one may have changed when the line is pasted. */
async function applyCommand(flags: AddFlags, path: string): Promise<string> {
  const isOffline = flags.joinIssuer !== undefined;
  const kubeconfig = flags.kubeconfig === undefined ? [] : ["--kubeconfig", flags.kubeconfig];
  const context = isOffline ? flags.context : (await import("#cli/kubeconfig/target-cluster.ts")).currentContext(toSelection(flags));
  return ["kubectl", ...kubeconfig, ...(context === undefined ? [] : ["--context", context]), "apply", "-f", path].map(quote).join(" ");
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
