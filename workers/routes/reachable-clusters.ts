/** Which clusters a session may reach: those whose own door takes one of its ID tokens, as it would take it from kubectl. */
import type { Gateway } from "#workers/gateway.ts";
import { clusterUrl } from "#workers/gateway.ts";
import { hubOf, registryOf } from "#workers/hub/stubs.ts";
import type { ClusterRecord } from "#workers/hub/registry.ts";
import type { ReachableCluster } from "#workers/pages/home-page.ts";
import type { Session } from "#workers/session/sign-in.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";

export async function listReachable(gateway: Gateway, session: Session): Promise<readonly ReachableCluster[]> {
  const records = await registryOf(gateway.env).list();
  const clusters = await Promise.all(records.map((record) => describe(gateway, record, session)));
  return clusters.filter((cluster) => cluster !== undefined);
}

async function describe(gateway: Gateway, record: ClusterRecord, session: Session): Promise<ReachableCluster | undefined> {
  const { name } = record.registration;
  const verified = await verifyAtCluster(gateway, record, session);
  if (verified === undefined) return undefined;
  const agents = await hubOf(gateway.env, name).agents();
  const { username, groups } = verified.identity;
  return { name, url: clusterUrl(gateway.env, name), username, groups, agents: agents.length };
}

/** The person as the cluster's door sees them, by the first of the session's tokens that it takes. */
async function verifyAtCluster(gateway: Gateway, record: ClusterRecord, session: Session): Promise<VerifiedToken | undefined> {
  const cluster = await gateway.clusters.find(registryOf(gateway.env), record.registration.name);
  if (cluster === undefined) return undefined;
  for (const { idToken } of session.signIns) {
    const verdict = await cluster.door.verify(idToken);
    if (verdict.type === "verified") return verdict;
  }
  return undefined;
}
