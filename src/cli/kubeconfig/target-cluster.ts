/** The cluster to be added, reached by a kubeconfig: the one place of the command line that knows the Kubernetes client. */
import { request } from "node:https";
import type { RequestOptions } from "node:https";
import { KubeConfig } from "@kubernetes/client-node";
import { parsePublicKeySet } from "#core/gateway-api.ts";
import type { PublicKeySet } from "#core/gateway-api.ts";
import { CommandError, usageError } from "#cli/output/failure.ts";
import { networkDetail } from "#cli/session/bounded-fetch.ts";
import { isJsonObject, parseJson } from "#cli/session/private-file.ts";

/** Which cluster: as kubectl's flags of the same names. */
export interface TargetSelection {
  readonly kubeconfig: string | undefined;
  readonly context: string | undefined;
}

/** The issuer of the cluster's ServiceAccount tokens, and its public keys. */
export interface ServiceAccountIssuer {
  readonly issuer: string;
  readonly jwks: PublicKeySet;
}

const requestTimeoutMs = 15_000;

/** Both documents take a few kilobytes. */
const maxDocumentBytes = 256 * 1024;

/**
 * Reads the issuer's discovery document and keys from the apiserver itself (KEP-1393, "ServiceAccount issuer discovery"), since its
 * issuer URL often leads nowhere. The person needs the right to get these two paths, which admins have.
 */
export async function readServiceAccountIssuer(selection: TargetSelection): Promise<ServiceAccountIssuer> {
  const config = loadKubeconfig(selection);
  const discovery = await readDocument(config, "/.well-known/openid-configuration");
  const issuer = isJsonObject(discovery) ? discovery["issuer"] : undefined;
  const keys = parsePublicKeySet(await readDocument(config, "/openid/v1/jwks"));
  if (typeof issuer !== "string" || keys.type === "invalid")
    throw new CommandError({
      code: "UPSTREAM_INVALID",
      title: "The cluster tells no ServiceAccount issuer",
      cause: keys.type === "invalid" ? keys.problems.join("\n") : "",
      next: [offlineHint],
    });
  return { issuer, jwks: keys.value };
}

/** The context that is used, for the commands that are shown. */
export function currentContext(selection: TargetSelection): string {
  return loadKubeconfig(selection).getCurrentContext();
}

/** Sends an object to the cluster with the kubeconfig's own credentials; rejects unless the answer is a success. */
export async function sendToCluster(
  selection: TargetSelection,
  call: { readonly method: "POST" | "DELETE"; readonly path: string; readonly object?: object },
): Promise<void> {
  const config = loadKubeconfig(selection);
  const server = config.getCurrentCluster()?.server ?? "";
  const options: RequestOptions = { method: call.method };
  await config.applyToHTTPSOptions(options);
  const body = call.object === undefined ? undefined : JSON.stringify(call.object);
  const { status, text } = await ask(new URL(`${server.replace(/\/$/, "")}${call.path}`), options, body);
  if (status < 200 || status > 299) throw new Error(`${call.method} ${call.path}: ${status} ${text.slice(0, 300)}`);
}

const offlineHint =
  "Give --join-issuer URL --join-keys FILE, from: kubectl get --raw /.well-known/openid-configuration and kubectl get --raw /openid/v1/jwks";

function loadKubeconfig({ kubeconfig, context }: TargetSelection): KubeConfig {
  const config = new KubeConfig();
  try {
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (thrown) {
    throw usageError("The kubeconfig cannot be read", thrown instanceof Error ? thrown.message : "");
  }
  if (context !== undefined && config.getContextObject(context) === null) throw usageError(`The kubeconfig has no context "${context}"`);
  if (context !== undefined) config.setCurrentContext(context);
  if (config.getCurrentCluster() === null) throw usageError("The kubeconfig names no cluster", "Give --context NAME.");
  return config;
}

async function readDocument(config: KubeConfig, path: string): Promise<unknown> {
  const server = config.getCurrentCluster()?.server ?? "";
  const options: RequestOptions = {};
  try {
    await config.applyToHTTPSOptions(options);
    const { status, text } = await ask(new URL(`${server.replace(/\/$/, "")}${path}`), options);
    if (status === 200) return parseJson(text);
    throw new CommandError({
      code: status === 401 ? "NOT_SIGNED_IN" : "POLICY_DENIED",
      title: `The cluster refuses ${path} with status ${status}`,
      next: ["Use a context with admin rights.", offlineHint],
    });
  } catch (thrown) {
    if (thrown instanceof CommandError) throw thrown;
    throw new CommandError(
      {
        code: "UPSTREAM_UNREACHABLE",
        title: `Can't reach the cluster at ${server}`,
        cause: networkDetail(thrown),
        next: ["kubectl cluster-info", offlineHint],
      },
      { cause: thrown },
    );
  }
}

async function ask(url: URL, options: RequestOptions, body?: string): Promise<{ readonly status: number; readonly text: string }> {
  if (url.protocol !== "https:") throw new Error("the kubeconfig's server is not https");
  return new Promise((resolve, reject) => {
    const call = request(url, options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.byteLength;
        if (size > maxDocumentBytes) call.destroy(new Error("the answer is too long"));
        chunks.push(chunk);
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }));
      response.on("error", reject);
    });
    // The keys are served as nothing but application/jwk-set+json (KEP-1393).
    call.setHeader("accept", "application/json, application/jwk-set+json");
    if (body !== undefined) call.setHeader("content-type", "application/json");
    call.setTimeout(requestTimeoutMs, () => call.destroy(new Error(`no answer within ${requestTimeoutMs / 1000} s`)));
    call.on("error", reject);
    call.end(body);
  });
}
