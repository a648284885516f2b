/** What every route shares: the environment, this isolate's knowledge of clusters, and where requests come from. */
import { parseClusterName } from "#core/brand.ts";
import type { ClusterName } from "#core/brand.ts";
import type { WindowPool } from "#core/tunnel/window-pool.ts";
import type { UserLimits } from "#core/access/user-limits.ts";
import type { AuditLog } from "./audit.ts";
import type { GatewayConfiguration } from "./configuration.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import type { AdminDoor } from "./auth/admin-door.ts";
import type { ClusterBook } from "./auth/cluster-book.ts";
import type { RevocationBook } from "./issuer/revocation-book.ts";

export interface Gateway {
  readonly env: Env;
  readonly context: ExecutionContext;
  readonly configuration: GatewayConfiguration;
  readonly clusters: ClusterBook;
  readonly admins: AdminDoor;
  readonly auditLog: AuditLog;
  readonly windows: WindowPool;
  readonly limits: UserLimits;
  readonly revocations: RevocationBook;
  /** The platform's fetch, for what signs people in. */
  readonly fetch: (url: string, init: RequestInit) => Promise<Response>;
}

/** A request for a cluster's API: which cluster, and the target that the apiserver is to get. */
export interface ClusterPlace {
  readonly cluster: ClusterName | undefined;
  /** Path and query, as they came behind the prefix. */
  readonly target: string;
  /** What the client calls this API's origin: redirects may name it. */
  readonly origin: string;
  /** What stands before the API's own paths: `/k/<cluster>`, or nothing where the cluster has a host of its own. */
  readonly prefix: string;
}

const prefix = "/k/";

/** Where a URL leads in a cluster: `https://<cluster>.<domain>/…` or `https://<gateway>/k/<cluster>/…`; undefined when it is the gateway's own. */
export function placeOf(url: URL, env: Env): ClusterPlace | undefined {
  const domain = env.CLUSTER_DOMAIN === "" ? undefined : `.${env.CLUSTER_DOMAIN.toLowerCase()}`;
  const host = url.hostname.toLowerCase();
  if (domain !== undefined && host.endsWith(domain)) {
    return { cluster: parseClusterName(host.slice(0, -domain.length)), target: url.pathname + url.search, origin: url.origin, prefix: "" };
  }
  if (!url.pathname.startsWith(prefix)) return undefined;
  const rest = url.pathname.slice(prefix.length);
  const slash = rest.indexOf("/");
  const name = slash === -1 ? rest : rest.slice(0, slash);
  const target = (slash === -1 ? "/" : rest.slice(slash)) + url.search;
  return { cluster: parseClusterName(name), target, origin: url.origin, prefix: `${prefix}${name}` };
}

/** An answer's headers with a redirect to a path of the apiserver made one to the same path behind the cluster's prefix. */
export function withPrefixedLocation(place: ClusterPlace, headers: HeaderPairs): HeaderPairs {
  return headers.map(([name, value]) => {
    const isPath = name.toLowerCase() === "location" && /^\/(?![/\\])/.test(value);
    return isPath ? [name, place.prefix + value] : [name, value];
  });
}

/** The URL of a cluster's API, as kubeconfigs use it. */
export function clusterUrl(env: Env, cluster: ClusterName): string {
  if (env.CLUSTER_DOMAIN === "") return `${env.GATEWAY_URL}${prefix}${cluster}`;
  const gateway = new URL(env.GATEWAY_URL);
  return `https://${cluster}.${env.CLUSTER_DOMAIN}${gateway.port === "" ? "" : `:${gateway.port}`}`;
}

/**
 * The client's address, from the one header that the edge in front writes and clients cannot (CLIENT_ADDRESS_HEADER; Cloudflare's is
 * `cf-connecting-ip`). Bare workerd tells no address: then it is empty rather than what a client claims.
 */
export function clientAddress(env: Env, headers: Headers): string {
  return env.CLIENT_ADDRESS_HEADER === "" ? "" : (headers.get(env.CLIENT_ADDRESS_HEADER) ?? "");
}
