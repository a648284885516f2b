/**
 * Where agents come in: `GET /tunnel/<cluster>` with a WebSocket upgrade and the pod's projected ServiceAccount token. The token is
 * verified here, against the keys that were registered with the cluster, before its hub hears of it; the hub then checks the cluster's key.
 */
import { GatewayError } from "#core/errors.ts";
import { parseClusterName } from "#core/brand.ts";
import { createLocalJWKSet, jwtVerify } from "jose";
import type { JWTPayload } from "jose";
import type { JoinTrust } from "#core/gateway-api.ts";
import type { JoinClaims } from "#workers/hub/hub.ts";
import { hubOf, registryOf } from "#workers/hub/stubs.ts";

/** Longest life of a join token: the apiserver gives projected tokens at most a day by default. */
const maxJoinTokenAge = "25h";

const joinAlgorithms = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"];

export async function handleTunnel(request: Request, env: Env): Promise<Response> {
  const name = parseClusterName(new URL(request.url).pathname.slice("/tunnel/".length));
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") throw new GatewayError("REQUEST_INVALID", "the tunnel is a WebSocket");
  const record = name === undefined ? undefined : await registryOf(env).get(name);
  if (name === undefined || record === undefined)
    throw new GatewayError("CLUSTER_UNKNOWN", "no such cluster is registered for an agent to join");
  const claims = await verifyJoinToken(request.headers.get("authorization"), record.registration.join);
  const join: JoinClaims = { cluster: name, podUid: podUidOf(claims), subject: claims.sub ?? "" };
  return hubOf(env, name).fetch("https://hub/lane", {
    headers: {
      upgrade: "websocket",
      "sec-websocket-protocol": request.headers.get("sec-websocket-protocol") ?? "",
      "x-sallyport-join": JSON.stringify(join),
    },
  });
}

/** The token's claims. @throws GatewayError AGENT_REFUSED when it is not one of this cluster's agent */
async function verifyJoinToken(authorization: string | null, trust: JoinTrust): Promise<JWTPayload> {
  const token = /^Bearer ([\w.-]{1,16384})$/i.exec(authorization ?? "")?.[1];
  if (token === undefined) throw new GatewayError("AGENT_REFUSED", "the agent sent no ServiceAccount token");
  try {
    const keys = createLocalJWKSet({ keys: [...trust.jwks.keys] });
    const { payload } = await jwtVerify(token, keys, {
      issuer: trust.issuer,
      audience: trust.audience,
      subject: trust.subject,
      algorithms: joinAlgorithms,
      maxTokenAge: maxJoinTokenAge,
      requiredClaims: ["exp", "iat", "sub"],
    });
    return payload;
  } catch (cause) {
    throw new GatewayError("AGENT_REFUSED", "the agent's ServiceAccount token is not one that was registered for this cluster", { cause });
  }
}

/** The pod that a ServiceAccount token is bound to (`kubernetes.io` claim of projected tokens). */
function podUidOf(claims: JWTPayload): string | undefined {
  const bound = claims["kubernetes.io"];
  if (typeof bound !== "object" || bound === null || !("pod" in bound)) return undefined;
  const { pod } = bound;
  return typeof pod === "object" && pod !== null && "uid" in pod && typeof pod.uid === "string" ? pod.uid : undefined;
}
