/** One run of the credential plugin: from the environment, the stored session or a renewal to a token, or to one clear failure. */
import { parseArgs } from "node:util";
import { errorTable } from "#core/errors.ts";
import { parseExecInfo, renderExecCredential } from "./exec-credential.ts";
import { withFileLock } from "./file-lock.ts";
import { parseGatewayUrl } from "./gateway-url.ts";
import { obtainToken, renewalLock } from "./obtain-token.ts";
import type { TokenRequest, TokenSources } from "./obtain-token.ts";
import { claimReport } from "./remembered-failure.ts";
import type { CredentialFailure } from "./remembered-failure.ts";
import { sessionFiles } from "./token-store.ts";
import type { SessionKey } from "./token-store.ts";

/** Everything a run touches, so that a test owns all of it. */
export interface CredentialRun extends TokenSources {
  /** The arguments after the command's name. */
  readonly args: readonly string[];
  /** The process that started the plugin: kubectl, k9s, helm. */
  readonly parent: number;
  readonly hasErrorTerminal: boolean;
  readonly hasOutputTerminal: boolean;
  readonly writeOutput: (text: string) => void;
  readonly writeError: (text: string) => void;
}

const usage = `sallyport credential --gateway URL --cluster NAME [--audience AUDIENCE]

kubectl runs this for a token (client.authentication.k8s.io/v1); \`sallyport kubeconfig\` writes the entry that calls it.
It prints an ExecCredential with the stored session's token, and renews it when it can. It opens a browser only on a terminal.

  --gateway    URL of the gateway
  --cluster    name of the cluster
  --audience   audience to ask GitHub Actions for, in CI
`;

/** Runs the plugin and answers its exit code. */
export async function runCredential(run: CredentialRun): Promise<number> {
  if (run.args.includes("--help") || run.args.includes("-h")) {
    run.writeOutput(usage);
    return 0;
  }
  const request = parseRequest(run);
  if (request.type === "invalid") return tell(run, { code: "USAGE", message: request.problem, next: "sallyport kubeconfig" });
  const outcome = await obtainToken(run, request.value);
  if (outcome.type === "failed") return report(run, request.value.key, outcome.failure);
  run.writeOutput(`${renderExecCredential(outcome.token, outcome.expiresAtMs)}\n`);
  return 0;
}

type ParsedRequest = { readonly type: "parsed"; readonly value: TokenRequest } | { readonly type: "invalid"; readonly problem: string };

function parseRequest(run: CredentialRun): ParsedRequest {
  const info = parseExecInfo(run.env["KUBERNETES_EXEC_INFO"]);
  if (info.type === "invalid") return info;
  if (run.hasOutputTerminal && run.env["KUBERNETES_EXEC_INFO"] === undefined)
    return { type: "invalid", problem: "`sallyport credential` is run by kubectl; it does not print a token to a terminal" };
  const flags = parseFlags(run.args);
  if (flags === undefined)
    return { type: "invalid", problem: "the kubeconfig's exec block needs the arguments --gateway URL --cluster NAME" };
  const gateway = parseGatewayUrl(flags.gateway);
  if (gateway.type === "invalid") return { type: "invalid", problem: `--gateway ${gateway.problem}` };
  const audience = flags.audience ?? run.env["SALLYPORT_AUDIENCE"];
  const value = {
    key: { gateway: gateway.url, cluster: flags.cluster },
    audience,
    isInteractive: info.isInteractive && run.hasErrorTerminal,
  };
  return { type: "parsed", value };
}

function parseFlags(args: readonly string[]): { gateway: string; cluster: string; audience: string | undefined } | undefined {
  try {
    const options = { gateway: { type: "string" }, cluster: { type: "string" }, audience: { type: "string" } } as const;
    const { gateway, cluster, audience } = parseArgs({ args: [...args], options }).values;
    return gateway === undefined || cluster === undefined ? undefined : { gateway, cluster, audience };
  } catch {
    return undefined; // an unknown or incomplete flag: the caller tells the usage
  }
}

/** Tells the failure once to each parent process. */
async function report(run: CredentialRun, key: SessionKey, failure: CredentialFailure): Promise<number> {
  const files = sessionFiles(run.store, key);
  const claim = await withFileLock({ path: files.lock, ...renewalLock, time: run.time }, () =>
    claimReport(files.failure, { parent: run.parent, message: failure.message }, run.time.now()),
  );
  const isNew = claim.type === "busy" || claim.value;
  return isNew ? tell(run, failure) : errorTable[failure.code].exit;
}

function tell(run: CredentialRun, failure: CredentialFailure): number {
  run.writeError(`✖ ${failure.message}  ${failure.code}\n  Try:  ${failure.next}\n`);
  return errorTable[failure.code].exit;
}
