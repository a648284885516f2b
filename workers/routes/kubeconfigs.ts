/**
 * Kubeconfigs from the browser: a token of the gateway for one cluster, in a file that stock kubectl uses as it is. Made only for somebody
 * whom the cluster's own door has let in by the token of another issuer, with the name and groups that the door read from it.
 */
import { GatewayError } from "#core/errors.ts";
import { parseClusterName } from "#core/brand.ts";
import type { ClusterName } from "#core/brand.ts";
import { issuerUrlOf, tokenIssuerOf } from "#workers/issuer/issued-token.ts";
import type { IssuedToken, TokenOwner } from "#workers/issuer/issued-token.ts";
import type { KnownCluster } from "#workers/auth/cluster-book.ts";
import { clusterUrl } from "#workers/gateway.ts";
import type { Gateway } from "#workers/gateway.ts";
import { registryOf } from "#workers/hub/stubs.ts";
import { peopleOf } from "#workers/session/sign-in.ts";
import type { Session } from "#workers/session/sign-in.ts";
import { verifyAtCluster } from "./verify-person.ts";

/** The audience that a cluster wants in tokens of the gateway; undefined when its AuthenticationConfiguration leaves the gateway out. */
export function ownAudience(env: Env, cluster: KnownCluster): string | undefined {
  return cluster.configuration.authenticators.find(({ issuer }) => issuer.url === issuerUrlOf(env))?.issuer.audiences[0];
}

/** Makes a kubeconfig for one cluster. @throws GatewayError CLUSTER_UNKNOWN, POLICY_DENIED, KUBECONFIG_UNAVAILABLE, RATE_LIMITED */
export async function downloadKubeconfig(gateway: Gateway, session: Session, clusterText: string): Promise<Response> {
  const { env } = gateway;
  const name = parseClusterName(clusterText);
  const cluster = name === undefined ? undefined : await gateway.clusters.find(registryOf(env), name);
  const person = cluster === undefined ? undefined : await verifyAtCluster(cluster, session, issuerUrlOf(env));
  if (name === undefined || cluster === undefined || person === undefined)
    throw new GatewayError("POLICY_DENIED", "no cluster of this name takes your sign-in");
  const audience = await assertOneCluster(gateway, name, cluster);
  const owner = { issuer: person.issuer, subject: person.subject };
  const { username, uid, groups } = person.identity;
  const issuance = await tokenIssuerOf(env).issue({ issuer: issuerUrlOf(env), cluster: name, audience, owner, username, uid, groups });
  if (issuance.type === "too-many")
    throw new GatewayError(
      "RATE_LIMITED",
      "you have as many live kubeconfigs for this cluster as one may have: revoke one that you do not use",
    );
  note("kubeconfig-issued", issuance.issued, owner);
  return new Response(renderKubeconfig(env, name, issuance.token), {
    headers: {
      "content-type": "application/yaml",
      "content-disposition": `attachment; filename="${name}.kubeconfig"`,
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    },
  });
}

/** The live tokens of a session's people. */
export async function listKubeconfigs(gateway: Gateway, session: Session): Promise<readonly IssuedToken[]> {
  return tokenIssuerOf(gateway.env).list(peopleOf(session));
}

/** Ends all tokens of a session's people. */
export async function revokeAllKubeconfigs(gateway: Gateway, session: Session): Promise<void> {
  for (const { id } of await listKubeconfigs(gateway, session)) await revokeKubeconfig(gateway, session, id);
}

/** Ends a token of the session's own people. @throws GatewayError NOT_FOUND */
export async function revokeKubeconfig(gateway: Gateway, session: Session, id: string): Promise<void> {
  const cluster = await tokenIssuerOf(gateway.env).revoke(id, peopleOf(session));
  if (cluster === undefined) throw new GatewayError("NOT_FOUND", "you have no such kubeconfig");
  gateway.revocations.forget(cluster);
  console.log(JSON.stringify({ event: "kubeconfig-revoked", id, cluster }));
}

/** The audience that is this cluster's alone. A token that opened two clusters would be worth more than it says. */
async function assertOneCluster(gateway: Gateway, name: ClusterName, cluster: KnownCluster): Promise<string> {
  const audience = ownAudience(gateway.env, cluster);
  if (audience === undefined)
    throw new GatewayError("KUBECONFIG_UNAVAILABLE", `the AuthenticationConfiguration of ${name} does not name this gateway as an issuer`);
  const records = await registryOf(gateway.env).list();
  const other = records.find((record) => record.registration.name !== name && record.audiences.includes(audience));
  if (other !== undefined)
    throw new GatewayError(
      "KUBECONFIG_UNAVAILABLE",
      `the audience ${audience} is not the cluster's alone, so a token for it would open another`,
    );
  return audience;
}

function note(event: string, issued: IssuedToken, owner: TokenOwner): void {
  const { id, cluster, username, expiresAtMs } = issued;
  console.log(JSON.stringify({ event, id, cluster, username, ...owner, expiresAt: new Date(expiresAtMs).toISOString() }));
}

/** JSON is YAML, and kubectl takes it. */
function renderKubeconfig(env: Env, name: ClusterName, token: string): string {
  const authority = env.GATEWAY_AUTHORITY ?? "";
  const cluster = { server: clusterUrl(env, name), ...(authority !== "" && { "certificate-authority-data": btoa(authority) }) };
  const user = `${name}-browser`;
  const document = {
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name, cluster }],
    users: [{ name: user, user: { token } }],
    contexts: [{ name, context: { cluster: name, user } }],
    "current-context": name,
  };
  return `${JSON.stringify(document, undefined, 2)}\n`;
}
