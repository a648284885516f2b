/** From flags, environment and stored sessions to a gateway that can be called. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { ClusterSummary } from "#core/gateway-api.ts";
import { say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { CommandError, credentialError, usageError } from "#cli/output/failure.ts";
import { parseGatewayUrl } from "#cli/session/gateway-url.ts";
import { obtainToken } from "#cli/session/obtain-token.ts";
import { readPrivateJson, writePrivateJson } from "#cli/session/private-file.ts";
import { listSessions } from "#cli/session/token-store.ts";
import type { SessionKey } from "#cli/session/token-store.ts";
import { listClusters } from "./client.ts";
import type { GatewayClient } from "./client.ts";

/** The flags that every command with a gateway has. */
export interface GatewayFlags {
  readonly gateway?: string;
  /** A PEM file with the gateway's own authority. */
  readonly gatewayCa?: string;
}

/** A gateway, and the authorities to trust for it. */
export interface ChosenGateway {
  readonly url: string;
  readonly authorities: string | undefined;
}

/** Chooses the gateway by flag, SALLYPORT_GATEWAY or the last login, and trusts its authority (flag, SALLYPORT_GATEWAY_CA, or the session's). */
export async function chooseGateway(context: CliContext, flags: GatewayFlags): Promise<ChosenGateway> {
  const text = flags.gateway ?? nonEmpty(context.env["SALLYPORT_GATEWAY"]) ?? (await readPreferredGateway(context));
  if (text === undefined)
    throw usageError("No gateway is chosen", "Give --gateway URL, or set SALLYPORT_GATEWAY, or run `sallyport login --gateway URL` once.");
  const parsed = parseGatewayUrl(text);
  if (parsed.type === "invalid") throw usageError(`The gateway "${text}" ${parsed.problem}`);
  const authorities = await readAuthorities(context, flags, parsed.url);
  if (authorities !== undefined) await context.trust(authorities);
  return { url: parsed.url, authorities };
}

/** The gateway that the last login named. */
export async function readPreferredGateway(context: CliContext): Promise<string | undefined> {
  const gateway = (await readPrivateJson(configFile(context)))?.["gateway"];
  return typeof gateway === "string" ? gateway : undefined;
}

export async function writePreferredGateway(context: CliContext, gateway: string): Promise<void> {
  await writePrivateJson(configFile(context), { ...(await readPrivateJson(configFile(context))), gateway });
}

/** A client without a token, for the public parts of the API. */
export function publicClient(context: CliContext, gateway: ChosenGateway): GatewayClient {
  return { gateway: gateway.url, token: undefined, fetch: context.fetch };
}

/** A client with the token of a session; without one the failure says how to sign in. */
export async function signedInClient(context: CliContext, key: SessionKey): Promise<GatewayClient> {
  const outcome = await obtainToken(
    { ...context, login: async () => false },
    { key, audience: context.env["SALLYPORT_AUDIENCE"], isInteractive: false },
  );
  if (outcome.type === "failed") throw credentialError(outcome.failure);
  return { gateway: key.gateway, token: outcome.token, fetch: context.fetch };
}

/**
 * The clusters that the person's tokens show: all of them to an admin of the gateway, otherwise each cluster with a sign-in.
 * A session that fails is told on standard error; only when all fail does the command.
 */
export async function listReachableClusters(context: CliContext, gateway: ChosenGateway): Promise<readonly ClusterSummary[]> {
  const found = new Map<string, ClusterSummary>();
  const failures: unknown[] = [];
  const keys = await keysToTry(context, gateway.url);
  for (const key of keys) {
    try {
      for (const cluster of await listClusters(await signedInClient(context, key))) found.set(cluster.name, cluster);
    } catch (thrown) {
      failures.push(thrown);
    }
  }
  if (failures.length === keys.length) throw failures[0];
  for (const failure of failures) if (failure instanceof CommandError) say(context, `Left out: ${failure.failure.title}`);
  const clusters = [...found.values()].toSorted((left, right) => (left.name < right.name ? -1 : 1));
  await rememberClusterNames(context, gateway.url, clusters);
  return clusters;
}

/** Cluster names for completion, as last seen; they may be old. */
export async function recallClusterNames(context: CliContext): Promise<readonly string[]> {
  const byGateway = Object.values((await readPrivateJson(cacheFile(context))) ?? {});
  return [...new Set(byGateway.flat().filter((name) => typeof name === "string"))].toSorted();
}

async function rememberClusterNames(context: CliContext, gateway: string, clusters: readonly ClusterSummary[]): Promise<void> {
  const before = await readPrivateJson(cacheFile(context));
  await writePrivateJson(cacheFile(context), { ...before, [gateway]: clusters.map((cluster) => cluster.name) });
}

/** A token of the environment stands for itself; else the gateway's session, then each cluster's. */
async function keysToTry(context: CliContext, gateway: string): Promise<readonly SessionKey[]> {
  const isGiven = ["SALLYPORT_TOKEN", "SALLYPORT_ID_TOKEN_FILE"].some((name) => nonEmpty(context.env[name]) !== undefined);
  const sessions = isGiven ? [] : await listSessions(context.store, gateway);
  const keys = sessions.map((session) => session.key).toSorted((left, right) => (left.cluster ?? "").localeCompare(right.cluster ?? ""));
  return keys.length === 0 ? [{ gateway, cluster: undefined }] : keys;
}

async function readAuthorities(context: CliContext, flags: GatewayFlags, gateway: string): Promise<string | undefined> {
  const path = flags.gatewayCa ?? nonEmpty(context.env["SALLYPORT_GATEWAY_CA"]);
  if (path !== undefined) {
    const text = await readFile(path, "utf8");
    if (!text.includes("-----BEGIN CERTIFICATE-----")) throw usageError(`${path} holds no PEM certificate`);
    return text;
  }
  return (await listSessions(context.store, gateway)).find((session) => session.authorities !== undefined)?.authorities;
}

function configFile(context: CliContext): string {
  return join(context.paths.config, "config.json");
}

function cacheFile(context: CliContext): string {
  return join(context.paths.cache, "clusters.json");
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
