/** Everything that is not a resource: health, version, discovery, OpenAPI, and the issuer's documents. */
import type { ApiRequest, Cluster } from "#sandbox/cluster.ts";
import { clusterIssuer } from "#sandbox/identity/service-account-issuer.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import {
  aggregatedDiscovery,
  aggregatedMediaType,
  aggregatedVersion,
  entityTag,
  legacyGroup,
  legacyGroups,
  legacyResources,
  legacyVersions,
  version,
} from "./discovery.ts";
import { openApiDocument, openApiIndex } from "./openapi.ts";
import { failureReply, json } from "./reply.ts";
import type { Reply } from "./reply.ts";
import type { PathRequest } from "./request.ts";
import { methodNotAllowed, pathNotFound } from "./status.ts";

const rootPaths = [
  "/.well-known/openid-configuration",
  "/api",
  "/apis",
  "/healthz",
  "/livez",
  "/openapi/v3",
  "/openid/v1/jwks",
  "/readyz",
  "/version",
];

/** Answers a path. */
export function answerPath(cluster: Cluster, request: ApiRequest, info: PathRequest): Reply {
  if (info.verb !== "get" && info.verb !== "head") return failureReply(methodNotAllowed());
  const path = info.path.length > 1 ? info.path.replace(/\/$/, "") : info.path;
  switch (path) {
    case "/":
      return json({ paths: rootPaths });
    case "/healthz":
    case "/livez":
    case "/readyz":
      return { type: "text", code: 200, body: "ok" };
    case "/version":
      return json(version);
    case "/api":
    case "/apis":
      return discovery(cluster, request, path === "/api" ? "api" : "apis");
    case "/openapi/v3":
      return json(openApiIndex());
    case "/openid/v1/jwks":
      return jsonAs("application/jwk-set+json", cluster.issuer.jwks);
    case "/.well-known/openid-configuration":
      return json(openIdConfiguration(cluster.address));
    default:
      return document(path) ?? failureReply(pathNotFound);
  }
}

function document(path: string): Reply | undefined {
  const [, openApiName] = /^\/openapi\/v3\/(.+)$/.exec(path) ?? [];
  if (openApiName !== undefined) return optionalJson(openApiDocument(openApiName));
  if (path === "/api/v1") return optionalJson(legacyResources(""));
  const [, group, version1] = /^\/apis\/([^/]+)(\/v1)?$/.exec(path) ?? [];
  if (group === undefined) return undefined;
  return optionalJson(version1 === undefined ? legacyGroup(group) : legacyResources(group));
}

function discovery(cluster: Cluster, request: ApiRequest, root: "api" | "apis"): Reply {
  const wanted = aggregatedVersion(request.header("accept"));
  if (wanted === undefined) return json(root === "api" ? legacyVersions(cluster.address) : legacyGroups());
  const body = aggregatedDiscovery(root, wanted);
  const tag = entityTag(JSON.stringify(body));
  const headers = { "Content-Type": aggregatedMediaType(wanted), ETag: tag, Vary: "Accept" };
  if (request.header("if-none-match") === tag) return { type: "empty", code: 304, headers: { ETag: tag, Vary: "Accept" } };
  return { type: "json", code: 200, body, headers };
}

/** The issuer's discovery document; its keys are at the address that clients reach. */
function openIdConfiguration(address: string): JsonObject {
  return {
    issuer: clusterIssuer,
    jwks_uri: `https://${address}/openid/v1/jwks`,
    response_types_supported: ["id_token"],
    subject_types_supported: ["public"],
    id_token_signing_alg_values_supported: ["RS256"],
  };
}

function optionalJson(body: JsonObject | undefined): Reply {
  return body === undefined ? failureReply(pathNotFound) : json(body);
}

function jsonAs(contentType: string, body: JsonObject): Reply {
  return { type: "json", code: 200, body, headers: { "Content-Type": contentType } };
}
