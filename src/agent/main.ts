/**
 * The agent: one small program in the cluster, outbound connections only. This file builds its parts, wires them and stops them.
 */
import { randomBytes, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { errorTable, GatewayError, toGatewayError } from "#core/errors.ts";
import { createTokenDoor } from "#identity/token-door.ts";
import { createApiserverPool } from "./apiserver/pool.ts";
import type { ApiserverAddress } from "./apiserver/upstream.ts";
import { systemClock } from "./clock.ts";
import { ClusterApi } from "./cluster/api.ts";
import { createInClusterCredentials, createKubeconfigCredentials, serviceAccountDirectory } from "./cluster/credentials.ts";
import type { AgentCredentials } from "./cluster/credentials.ts";
import { ApiserverDiscovery, explicitAddresses, inClusterServerName, inClusterServiceAddress } from "./cluster/endpoints.ts";
import { openFileKeyPair, openSecretKeyPair } from "./cluster/key-pair.ts";
import { findExcessRights, impersonatorRules } from "./cluster/own-rights.ts";
import type { NeededRule } from "./cluster/own-rights.ts";
import { AccessReviews } from "./cluster/reviews.ts";
import { agentUsage, readConfig } from "./config.ts";
import type { AgentConfig } from "./config.ts";
import { IssuerKeys } from "./issuers/issuer-keys.ts";
import { handleStream } from "./requests/handler.ts";
import { RequestRecorder } from "./requests/record.ts";
import { Sessions } from "./requests/sessions.ts";
import { Tunnel } from "./tunnel/tunnel.ts";
import { createWebSocketPeer } from "./websocket/peer.ts";

/** This build, as the gateway shows it. */
const build = "0.1.0";

/** How often the agent tells the gateway how it is when that has changed, and looks whether its own rights have grown. */
const reportMs = 30_000;
const rightsMs = 600_000;

/** How long a stopping agent lets streams run: shorter than the Deployment's grace period. */
const drainMs = 50_000;

const result = readConfig(process.argv.slice(2), process.env, () => randomUUID());
switch (result.type) {
  case "help":
    process.stdout.write(agentUsage);
    break;
  case "invalid":
    for (const problem of result.problems) process.stderr.write(`sallyport agent: ${problem}\n`);
    process.exitCode = 2;
    break;
  case "config":
    await run(result.config).catch((thrown: unknown) => {
      const error = toGatewayError(thrown);
      const cause = error.code === "INTERNAL" ? `: ${String(error.cause)}` : "";
      process.stderr.write(`sallyport agent: ${error.code}: ${error.message}${cause}\n  ${errorTable[error.code].hint}\n`);
      process.exit(errorTable[error.code].exit);
    });
    break;
}

async function run(config: AgentConfig): Promise<void> {
  const { credentials, servers, isInCluster } = openCluster(config);
  const pool = createApiserverPool({
    servers,
    tls: () => credentials.tls(),
    authorization: () => credentials.authorization(),
    clock: systemClock,
    random: Math.random,
    nonce: () => randomBytes(16),
  });
  await credentials.authorization();
  pool.start();
  const api = new ClusterApi({ requester: pool, credential: credentials, clock: systemClock });
  if (isInCluster) await assertOwnRights(api, config);
  const discovery = isInCluster && config.apiservers.length === 0 ? startDiscovery(api, (found) => pool.setServers(found)) : undefined;
  const key =
    config.key.type === "file"
      ? await openFileKeyPair(config.key.path)
      : await openSecretKeyPair(api, config.key.namespace, config.key.name);
  const issuers = new IssuerKeys({ configuration: config.authentication, files: config.issuerKeys, clock: Date.now });
  const recorder = new RequestRecorder({ write: (text, done) => void process.stdout.write(text, () => done()) }, Date.now);
  const sessions = new Sessions(Date.now);
  const counts = { droppedGroups: 0 };
  const handler = {
    cluster: config.cluster,
    door: createTokenDoor({ configuration: config.authentication, keysFor: issuers.keysFor, clock: Date.now }),
    allowedGroups: config.allowedGroups,
    apiservers: pool,
    reviews: new AccessReviews(api, systemClock),
    authorization: () => credentials.authorization(),
    sessions,
    recorder,
    createWebSocket: (socket: import("node:stream").Duplex, head: Uint8Array, protocol: string | undefined) =>
      createWebSocketPeer({ socket, head, protocol, clock: systemClock, mask: "random" }),
    onDroppedGroups: (count: number) => {
      counts.droppedGroups += count;
    },
  };
  const describe = async () => ({
    roles: {
      tunnel: {
        apiservers: pool
          .state()
          .servers.map(({ url, health, lastFailure }) => ({ url, health, ...(lastFailure !== undefined && { lastFailure }) })),
        streams: sessions.streamCount,
        droppedGroups: counts.droppedGroups,
        droppedAuditEvents: recorder.dropped,
        key: key.thumbprint,
      },
    },
    issuerKeys: await issuers.report(),
  });
  let told = "";
  const tell = async () => {
    const state = await describe();
    const text = JSON.stringify(state);
    if (text === told) return; // what has not changed would wake a sleeping hub for nothing
    told = text;
    tunnel.report(state);
  };
  let wasReady = false;
  const tunnel: Tunnel = new Tunnel({
    target: {
      url: `wss://${config.gateway.host}/tunnel/${config.cluster}`,
      certificateAuthority: config.gatewayCa,
      joinToken: async () => (await readFile(config.joinTokenFile, "utf8")).trim(),
    },
    identity: {
      cluster: config.cluster,
      replica: config.replica,
      node: config.node,
      build,
      publicKey: key.publicJwk.x,
      sign: (statement) => key.sign(statement),
    },
    onStream: (open, stream) => void handleStream(handler, open, stream),
    onChange: (state) => {
      const isReady = state.lanes.interactive === "joined" && state.lanes.bulk === "joined";
      if (isReady !== wasReady || !isReady)
        process.stderr.write(`${JSON.stringify({ event: isReady ? "ready" : "connecting", ...state })}\n`);
      wasReady = isReady;
      told = "";
      if (isReady) void tell();
    },
    random: Math.random,
  });
  tunnel.start();
  const reporting = setInterval(() => void tell(), reportMs);
  const watching = isInCluster
    ? setInterval(() => void assertOwnRights(api, config).catch((thrown: unknown) => stop(1, toGatewayError(thrown).message)), rightsMs)
    : undefined;
  const stop = (code: number, reason: string) => {
    process.stderr.write(`${JSON.stringify({ event: "stopping", reason })}\n`);
    clearInterval(reporting);
    clearInterval(watching);
    discovery?.stop();
    setTimeout(() => tunnel.stop(), drainMs).unref();
    void tunnel.drain().then(async () => {
      await pool.close();
      process.exit(code);
    });
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop(0, signal));
}

function openCluster(config: AgentConfig): {
  readonly credentials: AgentCredentials;
  readonly servers: readonly ApiserverAddress[];
  readonly isInCluster: boolean;
} {
  if (config.kubeconfig !== undefined) {
    const opened = createKubeconfigCredentials({ ...config.kubeconfig, environment: process.env, clock: systemClock });
    const urls = config.apiservers.length === 0 ? [opened.server] : config.apiservers;
    return { credentials: opened.credentials, servers: explicitAddresses(urls, undefined), isInCluster: false };
  }
  const credentials = createInClusterCredentials({ directory: serviceAccountDirectory, clock: systemClock });
  const given = explicitAddresses(config.apiservers, inClusterServerName);
  return { credentials, servers: given.length > 0 ? given : [inClusterServiceAddress(process.env)], isInCluster: true };
}

function startDiscovery(api: ClusterApi, onChange: (servers: readonly ApiserverAddress[]) => void): ApiserverDiscovery {
  const service = inClusterServiceAddress(process.env);
  const discovery = new ApiserverDiscovery({ api, service, clock: systemClock, random: Math.random, onChange });
  void discovery.start();
  return discovery;
}

/** An agent that could do more than impersonate would be worth stealing: it does not start with such rights. */
async function assertOwnRights(api: ClusterApi, config: AgentConfig): Promise<void> {
  const secret: NeededRule | undefined =
    config.key.type === "secret"
      ? { verbs: ["get", "update"], apiGroups: [""], resources: ["secrets"], resourceNames: [config.key.name] }
      : undefined;
  const slices: NeededRule = { verbs: ["get", "list", "watch"], apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"] };
  const namespaces = ["default", ...(config.key.type === "secret" ? [config.key.namespace] : [])];
  const excess = await findExcessRights(api, namespaces, [...impersonatorRules, slices, ...(secret === undefined ? [] : [secret])]);
  if (excess.length > 0)
    throw new GatewayError("AGENT_CREDENTIAL", `the agent's ServiceAccount may do more than it needs: ${excess.join("; ")}`);
}
