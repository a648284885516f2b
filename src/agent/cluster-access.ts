/** The agent's way into its own cluster: credentials, the pool of apiservers kept up to date, and rights that must not be too many. */
import { randomBytes } from "node:crypto";
import { GatewayError } from "#core/errors.ts";
import { serviceProxyNamespace } from "#core/node-states.ts";
import { createApiserverPool } from "./apiserver/pool.ts";
import type { ApiserverAddress, ApiserverPool } from "./apiserver/upstream.ts";
import { systemClock } from "./clock.ts";
import { ClusterApi } from "./cluster/api.ts";
import { createInClusterCredentials, createKubeconfigCredentials, serviceAccountDirectory } from "./cluster/credentials.ts";
import type { AgentCredentials } from "./cluster/credentials.ts";
import { ApiserverDiscovery, explicitAddresses, inClusterServerName, inClusterServiceAddress } from "./cluster/endpoints.ts";
import { openFileKeyPair, openSecretKeyPair } from "./cluster/key-pair.ts";
import type { ClusterKeyPair } from "./cluster/key-pair.ts";
import { findExcessRights, forwardRules, impersonatorRules } from "./cluster/own-rights.ts";
import type { NeededRule } from "./cluster/own-rights.ts";
import type { ClusterConnection } from "./config/cluster-connection.ts";
import type { TunnelConfig } from "./config/tunnel-config.ts";

/** How often the agent looks whether its own rights have grown. */
const rightsMs = 600_000;

/** Rights too many that are named one by one. */
const maxNamedRights = 12;

/** A way to the apiservers, with the agent's own credential. */
export interface ApiserverAccess {
  readonly credentials: AgentCredentials;
  readonly pool: ApiserverPool;
  readonly api: ClusterApi;
  /** With a pod's ServiceAccount, not a kubeconfig. */
  readonly isInCluster: boolean;
  /** The addresses that the pool began with. */
  readonly servers: readonly ApiserverAddress[];
  close(): Promise<void>;
}

export interface ClusterAccess extends ApiserverAccess {
  /** The key pair that the cluster's agents share. */
  readonly key: ClusterKeyPair;
}

/** Opens the way to the apiservers that are given; nothing is asked yet. @throws GatewayError when the credential cannot be read */
export async function openApiservers(connection: ClusterConnection): Promise<ApiserverAccess> {
  const { credentials, servers, isInCluster } = openCluster(connection);
  const pool = createApiserverPool({
    servers,
    tls: () => credentials.tls(),
    authorization: () => credentials.authorization(),
    clock: systemClock,
    random: Math.random,
    nonce: () => randomBytes(16),
    onUnauthorized: () => credentials.invalidate(),
  });
  await credentials.authorization();
  pool.start();
  const api = new ClusterApi({ requester: pool, credential: credentials, clock: systemClock });
  return { credentials, pool, api, isInCluster, servers, close: () => pool.close() };
}

/**
 * Opens the cluster. @throws GatewayError when it cannot be reached or the agent's ServiceAccount may do more than it needs
 * @param onExcess told when the ServiceAccount gains such rights later, or can no longer be looked at
 */
export async function openClusterAccess(config: TunnelConfig, onExcess: (reason: string) => void): Promise<ClusterAccess> {
  const access = await openApiservers(config.connection);
  const { api, pool, isInCluster } = access;
  if (isInCluster) await assertOwnRights(api, config);
  const mayDiscover = isInCluster && config.connection.apiservers.length === 0;
  const discovery = mayDiscover ? startDiscovery(api, (found) => pool.setServers(found)) : undefined;
  const watching = isInCluster
    ? setInterval(
        () => void assertOwnRights(api, config).catch((thrown: unknown) => onExcess(thrown instanceof Error ? thrown.message : "")),
        rightsMs,
      )
    : undefined;
  return {
    ...access,
    key: await openKey(api, config),
    close: async () => {
      clearInterval(watching);
      discovery?.stop();
      await access.close();
    },
  };
}

function openKey(api: ClusterApi, { key }: TunnelConfig): Promise<ClusterKeyPair> {
  return key.type === "file" ? openFileKeyPair(key.path) : openSecretKeyPair(api, key.namespace, key.name);
}

function openCluster(connection: ClusterConnection): {
  readonly credentials: AgentCredentials;
  readonly servers: readonly ApiserverAddress[];
  readonly isInCluster: boolean;
} {
  if (connection.kubeconfig !== undefined) {
    const opened = createKubeconfigCredentials({ ...connection.kubeconfig, environment: process.env, clock: systemClock });
    const urls = connection.apiservers.length === 0 ? [opened.server] : connection.apiservers;
    return { credentials: opened.credentials, servers: explicitAddresses(urls, undefined), isInCluster: false };
  }
  const credentials = createInClusterCredentials({ directory: serviceAccountDirectory, clock: systemClock });
  const given = explicitAddresses(connection.apiservers, inClusterServerName);
  return { credentials, servers: given.length > 0 ? given : [inClusterServiceAddress(process.env)], isInCluster: true };
}

/** Follows the apiservers behind the Service default/kubernetes, with the address that is known as the last resort. */
export function startDiscovery(
  api: ClusterApi,
  onChange: (servers: readonly ApiserverAddress[]) => void,
  service: ApiserverAddress = inClusterServiceAddress(process.env),
): ApiserverDiscovery {
  const discovery = new ApiserverDiscovery({
    api,
    service,
    clock: systemClock,
    random: Math.random,
    onChange,
    onRefused: (what) => process.stderr.write(`${JSON.stringify({ event: "apiservers-unknown", what })}\n`),
  });
  void discovery.start();
  return discovery;
}

/** The first of a list that may have hundreds: a role like "view" has as many rights, and a pod's status holds 2 KiB of what was said. */
function summarize(rights: readonly string[]): string {
  const named = rights.slice(0, maxNamedRights).join("; ");
  return rights.length <= maxNamedRights ? named : `${named}; and ${rights.length - maxNamedRights} more`;
}

/** An agent that could do more than impersonate would be worth stealing: it does not start with such rights. */
async function assertOwnRights(api: ClusterApi, config: TunnelConfig): Promise<void> {
  const secret: NeededRule | undefined =
    config.key.type === "secret"
      ? { verbs: ["get", "update"], apiGroups: [""], resources: ["secrets"], resourceNames: [config.key.name] }
      : undefined;
  const slices: NeededRule = { verbs: ["get", "list", "watch"], apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"] };
  const leases: NeededRule = { verbs: ["list"], apiGroups: ["coordination.k8s.io"], resources: ["leases"] };
  const namespaces = ["default", ...(config.key.type === "secret" ? [config.key.namespace] : [])];
  const needed = [...impersonatorRules, ...forwardRules, slices, ...(secret === undefined ? [] : [secret])];
  const excess = new Set([
    ...(await findExcessRights(api, namespaces, needed)),
    ...(await findExcessRights(api, [serviceProxyNamespace], [...impersonatorRules, ...forwardRules, leases])),
  ]);
  if (excess.size > 0)
    throw new GatewayError("AGENT_CREDENTIAL", `the agent's ServiceAccount may do more than it needs: ${summarize([...excess])}`);
}
