/**
 * The gateway: a Worker that gives each cluster one HTTPS URL. The first file to read here.
 *
 *     https://<cluster>.<domain>/…       the Kubernetes API of a cluster
 *     https://<gateway>/k/<cluster>/…    the same, where there is no wildcard DNS
 *     https://<gateway>/tunnel/<cluster> where the cluster's agents come in
 *     https://<gateway>/gateway/v1/…     the gateway's own API
 *     https://<gateway>/healthz          whether the Worker runs
 *     https://<gateway>/issuer/…         the gateway as an issuer: discovery and keys
 *     https://<gateway>/, /sign-in, …    pages for browsers
 */
import { Hono } from "hono";
import { GatewayError } from "#core/errors.ts";
import { gatewayAllowance, UserLimits } from "#core/access/user-limits.ts";
import { sharedWindowBytes } from "#core/tunnel/limits.ts";
import { WindowPool } from "#core/tunnel/window-pool.ts";
import { AuditLog } from "./audit.ts";
import { AdminDoor } from "./auth/admin-door.ts";
import { ClusterBook } from "./auth/cluster-book.ts";
import { parseConfiguration } from "./configuration.ts";
import { placeOf } from "./gateway.ts";
import type { Gateway } from "./gateway.ts";
import { browserRoutes, isForBrowser } from "./routes/browser.ts";
import { clusterRoutes } from "./routes/clusters.ts";
import { failureResponse, tell, unkept } from "./routes/failure.ts";
import { issuerUrlOf } from "./issuer/issued-token.ts";
import { RevocationBook } from "./issuer/revocation-book.ts";
import { issuerDocument } from "./routes/issuer.ts";
import { handleKube } from "./routes/kube.ts";
import { peopleRoutes } from "./routes/people.ts";
import { handleTunnel } from "./routes/tunnel.ts";

export { ClusterHub } from "./hub/hub.ts";
export { Registry } from "./hub/registry.ts";
export { TokenIssuer } from "./issuer/token-issuer.ts";
export { Sessions } from "./session/sessions.ts";

const app = new Hono<{ readonly Bindings: { gateway: Gateway } }>()
  // With a credential it is no probe of the gateway but kubectl's `get --raw /healthz`, which lost its cluster.
  .get("/healthz", unkept, async (context, next) => (context.req.header("authorization") === undefined ? context.text("ok") : next()))
  .get("/tunnel/:cluster", (context) => handleTunnel(context.req.raw, context.env.gateway.env))
  .get("/issuer/*", (context) => issuerDocument(context.env.gateway.env, context.req.path))
  .route("/gateway/v1", clusterRoutes)
  .route("/gateway/v1", peopleRoutes)
  .notFound((context) => failureResponse(new GatewayError("NOT_FOUND", lostMessage(context.req.path))))
  .onError((error) => tell(error));

/** What this isolate keeps between requests, made with its first one because it needs the environment. */
let isolate: Isolate | undefined;

type Isolate =
  | { readonly type: "ready"; readonly parts: Omit<Gateway, "env" | "context"> }
  | { readonly type: "broken"; readonly problems: readonly string[] };

export default {
  async fetch(request, env, context) {
    isolate ??= openIsolate(env);
    try {
      if (isolate.type === "broken") throw new GatewayError("CONFIGURATION_INVALID", isolate.problems.join("; "));
      const gateway: Gateway = { env, context, ...isolate.parts };
      const url = URL.parse(request.url);
      if (url === null) throw new GatewayError("REQUEST_INVALID", "the request's Host or target is no URL");
      const place = placeOf(url, env);
      if (place !== undefined) return await handleKube(request, gateway, place);
      if (isForBrowser(request, url)) return await browserRoutes.fetch(request, { gateway });
      return await app.fetch(request, { gateway });
    } catch (thrown) {
      return tell(thrown);
    }
  },
} satisfies ExportedHandler<Env>;

function openIsolate(env: Env): Isolate {
  const parsed = parseConfiguration(env);
  if (parsed.type === "invalid") {
    console.error(JSON.stringify({ event: "configuration-invalid", problems: parsed.problems }));
    return { type: "broken", problems: parsed.problems };
  }
  const configuration = parsed.value;
  const parts = {
    configuration,
    clusters: new ClusterBook({ url: issuerUrlOf(env), fetch: (url) => issuerDocument(env, new URL(url).pathname) }),
    admins: new AdminDoor(env),
    auditLog: new AuditLog(),
    windows: new WindowPool(sharedWindowBytes),
    revocations: new RevocationBook(),
    fetch: (url: string, init: RequestInit) => fetch(url, init),
    limits: new UserLimits(gatewayAllowance(configuration.streamsPerUser), () => Date.now()),
  };
  return { type: "ready", parts };
}

/** kubectl before 1.33 drops the path of its server's URL in `get --raw`, so that an API path comes here without its cluster. */
function lostMessage(path: string): string {
  return /^\/(?:apis?|openapi|version|healthz|livez|readyz|metrics)(?:\/|$)/.test(path)
    ? "this path names no cluster: it must begin with /k/<cluster>, which kubectl before 1.33 leaves out in `get --raw`"
    : "nothing is here; clusters are at /k/<cluster>";
}
