/** Which clusters a session may reach: those whose own door takes one of its ID tokens, as it would take it from kubectl. */
import type { Gateway } from "#workers/gateway.ts";
import { clusterUrl } from "#workers/gateway.ts";
import { hubOf, registryOf } from "#workers/hub/stubs.ts";
import type { ClusterRecord } from "#workers/hub/registry.ts";
import { issuerUrlOf } from "#workers/issuer/issued-token.ts";
import type { ReachableCluster } from "#workers/pages/home-page.ts";
import type { Session } from "#workers/session/sign-in.ts";
import { ownAudience } from "./kubeconfigs.ts";
import { verifyAtCluster } from "./verify-person.ts";

export async function listReachable(gateway: Gateway, session: Session): Promise<readonly ReachableCluster[]> {
  const records = await registryOf(gateway.env).list();
  const clusters = await Promise.all(records.map((record) => describe(gateway, record, session)));
  return clusters.filter((cluster) => cluster !== undefined);
}

async function describe(gateway: Gateway, record: ClusterRecord, session: Session): Promise<ReachableCluster | undefined> {
  const { env } = gateway;
  const { name } = record.registration;
  const cluster = await gateway.clusters.find(registryOf(env), name);
  const verified = cluster === undefined ? undefined : await verifyAtCluster(cluster, session, issuerUrlOf(env));
  if (cluster === undefined || verified === undefined) return undefined;
  const agents = await hubOf(env, name).agents();
  const { username, groups } = verified.identity;
  const takesGatewayTokens = ownAudience(env, cluster) !== undefined;
  return { name, url: clusterUrl(env, name), username, groups, agents: agents.length, takesGatewayTokens };
}
