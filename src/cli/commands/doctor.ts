/** `sallyport doctor`: every check between this machine and a cluster, each with its fix. */
import { buildCommand } from "@stricli/core";
import type { ClusterSummary, LoginConfiguration } from "#core/gateway-api.ts";
import { print, say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { renderFinding, failed, passed, skipped } from "#cli/doctor/check.ts";
import type { CheckResult, Finding } from "#cli/doctor/check.ts";
import { checkKubeconfig, checkPluginPolicy } from "#cli/doctor/client.ts";
import { checkAgent, checkIdentity, checkWebSocket } from "#cli/doctor/cluster.ts";
import { askGateway, checkClock, checkGateway, checkName, checkProxy, checkTls, proxyVariables } from "#cli/doctor/network.ts";
import { checkIssuer, checkToken } from "#cli/doctor/token.ts";
import { listClusters, readLoginConfiguration } from "#cli/gateway/client.ts";
import { chooseGateway, publicClient, recallClusterNames } from "#cli/gateway/connection.ts";
import type { ChosenGateway, GatewayFlags } from "#cli/gateway/connection.ts";
import { CommandError } from "#cli/output/failure.ts";
import { renderJson } from "#cli/output/format.ts";
import { toPlainValue } from "#cli/output/plain-text.ts";
import { wantsColor } from "#cli/output/style.ts";
import { loginCommand, obtainToken } from "#cli/session/obtain-token.ts";
import type { TokenOutcome } from "#cli/session/obtain-token.ts";
import { replaceFile } from "#cli/session/private-file.ts";
import { listSessions } from "#cli/session/token-store.ts";
import type { SessionKey } from "#cli/session/token-store.ts";
import { version } from "#cli/version.ts";
import { gatewayFlagParameters, outputAliases, toText } from "./flags.ts";

interface DoctorFlags extends GatewayFlags {
  readonly cluster?: string;
  readonly bundle?: string;
  readonly output: "text" | "json";
}

export const command = buildCommand<DoctorFlags, [], CliContext>({
  func: doctor,
  parameters: {
    flags: {
      ...gatewayFlagParameters,
      cluster: {
        kind: "parsed",
        parse: toText,
        brief: "Check the way to this cluster too",
        placeholder: "NAME",
        optional: true,
        async proposeCompletions() {
          return recallClusterNames(this);
        },
      },
      bundle: {
        kind: "parsed",
        parse: toText,
        brief: "Write the findings, without secrets, to this file",
        placeholder: "FILE",
        optional: true,
      },
      output: { kind: "enum", values: ["text", "json"], brief: "Output format", default: "text" },
    },
    aliases: outputAliases,
  },
  docs: {
    brief: "Find out what does not work, and how to fix it",
    customUsage: ["", "--cluster prod", "--cluster prod --bundle findings.json"],
  },
});

async function doctor(this: CliContext, flags: DoctorFlags): Promise<void> {
  const gateway = await chooseGateway(this, flags);
  const key: SessionKey = { gateway: gateway.url, cluster: flags.cluster };
  const findings: Finding[] = [];
  const hasColor = wantsColor(this.env, this.terminal.output);
  for await (const finding of examine(this, gateway, key)) {
    findings.push(finding);
    if (flags.output === "text") print(this, renderFinding(finding, hasColor));
  }
  const document = toDocument(this, key, findings);
  if (flags.output === "json") print(this, renderJson(document));
  if (flags.bundle !== undefined) {
    await replaceFile(flags.bundle, renderJson(document));
    say(this, `Wrote ${flags.bundle}; it holds no token.`);
  }
  const failures = findings.flatMap(({ name, result }) => (result.type === "failed" ? [{ name, result }] : []));
  const [first] = failures;
  if (first === undefined) return;
  throw new CommandError({
    code: first.result.code,
    title: `${failures.length} of ${findings.length} checks failed, first: ${first.name}`,
    cause: first.result.detail,
    next: [first.result.fix],
  });
}

async function* examine(context: CliContext, gateway: ChosenGateway, key: SessionKey): AsyncGenerator<Finding> {
  const url = new URL(gateway.url);
  const isProxied = proxyVariables(context.env).some((name) => name.toLowerCase() === "https_proxy");
  yield { name: "proxy", result: checkProxy(context.env) };
  yield { name: "name", result: await checkName(url, isProxied) };
  yield { name: "TLS", result: await checkTls(url, isProxied, context.time.now()) };
  const answer = await askGateway(url, context.fetch, context.time.now);
  const reached = checkGateway(answer);
  yield { name: "gateway", result: reached };
  yield { name: "clock", result: checkClock(answer, context.time.now()) };
  yield { name: "kubeconfig", result: await checkKubeconfig(context, key.gateway, key.cluster) };
  yield { name: "plugin", result: await checkPluginPolicy(context) };
  if (reached.type !== "failed") yield* examineSignIn(context, gateway, key);
}

async function* examineSignIn(context: CliContext, gateway: ChosenGateway, key: SessionKey): AsyncGenerator<Finding> {
  const login = await tryTo(() => readLoginConfiguration(publicClient(context, gateway), key.cluster));
  if (login.type === "failed") return void (yield { name: "login", result: login.result });
  yield { name: "login", result: await checkIssuer(login.value, context.fetch) };
  const outcome = await obtainToken(
    { ...context, login: async () => false },
    { key, audience: context.env["SALLYPORT_AUDIENCE"], isInteractive: false },
  );
  const others = key.cluster === undefined && outcome.type === "failed" ? await clustersSignedInTo(context, key.gateway) : [];
  if (others[0] !== undefined)
    return void (yield {
      name: "session",
      result: skipped(`none as an admin; \`sallyport doctor --cluster ${others[0]}\` checks the way to a cluster`),
    });
  yield { name: "session", result: checkSession(outcome) };
  if (outcome.type === "failed") return;
  const token = checkToken({ token: outcome.token, login: login.value, signInCommand: loginCommand(key), nowMs: context.time.now() });
  yield { name: "token", result: token };
  if (token.type !== "failed" && key.cluster !== undefined) yield* examineCluster(context, { key, token: outcome.token });
}

async function clustersSignedInTo(context: CliContext, gateway: string): Promise<readonly string[]> {
  const sessions = await listSessions(context.store, gateway);
  return sessions.flatMap(({ key }) => key.cluster ?? []).toSorted();
}

function checkSession(outcome: TokenOutcome): CheckResult {
  if (outcome.type === "failed") return failed(outcome.failure.code, outcome.failure.message, outcome.failure.next);
  return passed("a token is there");
}

interface Visit {
  readonly key: SessionKey;
  readonly token: string;
}

async function* examineCluster(context: CliContext, { key, token }: Visit): AsyncGenerator<Finding> {
  const clusters = await tryTo(() => listClusters({ gateway: key.gateway, token, fetch: context.fetch }));
  if (clusters.type === "failed") return void (yield { name: "cluster", result: clusters.result });
  const cluster = clusters.value.find((item) => item.name === key.cluster);
  if (cluster === undefined)
    return void (yield {
      name: "cluster",
      result: failed("CLUSTER_UNKNOWN", "the gateway does not show it to you", "Check the name; ask the gateway's admin."),
    });
  const agent = checkAgent(cluster);
  yield { name: "agent", result: agent };
  if (agent.type === "failed") return;
  const identity = await checkIdentity(cluster.url, token, context.fetch);
  yield { name: "whoami", result: identity };
  yield {
    name: "WebSocket",
    result: identity.type === "failed" ? skipped("nobody to try it as") : await checkWebSocket(cluster.url, token),
  };
}

type Attempt<Value> = { readonly type: "done"; readonly value: Value } | { readonly type: "failed"; readonly result: CheckResult };

/** A call whose failure is a finding. */
async function tryTo<Value extends LoginConfiguration | undefined | readonly ClusterSummary[]>(
  call: () => Promise<Value>,
): Promise<Attempt<Value>> {
  try {
    return { type: "done", value: await call() };
  } catch (thrown) {
    if (!(thrown instanceof CommandError)) throw thrown;
    const { code, title, cause, next } = thrown.failure;
    return { type: "failed", result: failed(code, cause === undefined ? title : `${title}: ${cause}`, next?.[0] ?? "sallyport status") };
  }
}

function toDocument(context: CliContext, key: SessionKey, findings: readonly Finding[]): unknown {
  return toPlainValue({
    version,
    node: process.versions.node,
    platform: context.platform,
    gateway: key.gateway,
    cluster: key.cluster,
    proxyVariables: proxyVariables(context.env),
    findings: findings.map(({ name, result }) => ({ name, ...result })),
  });
}
