/** Reviews: questions about identity and rights that are answered and stored nowhere (authentication and authorization.k8s.io/v1). */
import type { ApiRequest, Cluster } from "#sandbox/cluster.ts";
import type { Attributes } from "#sandbox/identity/authorizer.ts";
import { clusterIssuer } from "#sandbox/identity/service-account-issuer.ts";
import { toUserInfo } from "#sandbox/identity/user.ts";
import type { User } from "#sandbox/identity/user.ts";
import { isObject, objectAt, textAt, textListAt, textsAt } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import type { Review } from "#sandbox/objects/resources.ts";
import { failureReply, json } from "./reply.ts";
import type { Reply } from "./reply.ts";
import type { ResourceRequest } from "./request.ts";
import { badRequest, methodNotAllowed } from "./status.ts";
import { objectBody } from "./write.ts";

/** Answers a review. */
export async function answerReview(
  cluster: Cluster,
  review: Review,
  { request, info }: { readonly request: ApiRequest; readonly info: ResourceRequest },
): Promise<Reply> {
  if (info.verb !== "create") return failureReply(methodNotAllowed());
  const body = await objectBody(request);
  if (body.type === "failure") return failureReply(body.status);
  const spec = objectAt(body.value, "spec");
  const status = statusOf(cluster, review.kind, { spec, request, namespace: info.namespace });
  if (typeof status === "string") return failureReply(badRequest(status));
  const apiVersion = `${review.group}/v1`;
  return json(
    { ...body.value, kind: review.kind, apiVersion, metadata: { creationTimestamp: null, ...objectAt(body.value, "metadata") }, status },
    201,
  );
}

interface Question {
  readonly spec: JsonObject;
  readonly request: ApiRequest;
  readonly namespace: string;
}

/** The status of the answer, or a sentence about what is wrong with the question. */
function statusOf(cluster: Cluster, kind: string, question: Question): JsonObject | string {
  const { spec, request } = question;
  switch (kind) {
    case "SelfSubjectReview":
      return { userInfo: toUserInfo(request.user) };
    case "TokenReview":
      return tokenStatus(cluster, spec);
    case "SelfSubjectAccessReview":
      return accessStatus(cluster, request.user, spec);
    case "SubjectAccessReview":
    case "LocalSubjectAccessReview": {
      const isLocal = kind === "LocalSubjectAccessReview";
      if (isLocal && textAt(spec, "resourceAttributes", "namespace") !== question.namespace)
        return "spec.resourceAttributes.namespace must be the namespace of the request";
      const user = reviewedUser(spec);
      return user === undefined ? "spec.user or spec.groups is required" : accessStatus(cluster, user, spec);
    }
    case "SelfSubjectRulesReview":
      return rulesStatus(cluster, request.user, textAt(spec, "namespace"));
    default:
      return `no answer to ${kind}`;
  }
}

function reviewedUser(spec: JsonObject): User | undefined {
  const name = textAt(spec, "user");
  const groups = textListAt(spec, "groups");
  if (name === "" && groups.length === 0) return undefined;
  const extra = Object.entries(objectAt(spec, "extra")).map(([key, value]) => [key.toLowerCase(), textListAt(value ?? null)] as const);
  return { name, uid: textAt(spec, "uid"), groups, extra: Object.fromEntries(extra) };
}

function accessStatus(cluster: Cluster, user: User, spec: JsonObject): JsonObject | string {
  const attributes = attributesIn(spec);
  if (attributes === undefined) return "exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be given";
  const { allowed, reason } = cluster.authorizer.authorize(user, attributes);
  return { allowed, ...(reason === "" ? {} : { reason }) };
}

function attributesIn(spec: JsonObject): Attributes | undefined {
  const { resourceAttributes: resource, nonResourceAttributes: other } = spec;
  if (isObject(resource) === isObject(other)) return undefined;
  if (isObject(other)) return { type: "path", verb: textAt(other, "verb"), path: textAt(other, "path") };
  const texts = textsAt(resource);
  const { verb = "", group = "", resource: plural = "", subresource = "", namespace = "", name = "" } = texts;
  return { type: "resource", verb, group, plural, subresource, namespace, name };
}

function rulesStatus(cluster: Cluster, user: User, namespace: string): JsonObject | string {
  if (namespace === "") return "no namespace on request";
  const rules: Json[] = [...cluster.authorizer.rulesFor(user, namespace)].map(({ rule }) => rule);
  const all = user.groups.includes("system:masters") ? [...rules, everything] : rules;
  const isPath = (rule: Json): boolean => textListAt(rule, "nonResourceURLs").length > 0;
  return { resourceRules: all.filter((rule) => !isPath(rule)), nonResourceRules: all.filter(isPath), incomplete: false };
}

const everything: JsonObject = { verbs: ["*"], apiGroups: ["*"], resources: ["*"] };

function tokenStatus(cluster: Cluster, spec: JsonObject): JsonObject {
  const wanted = textListAt(spec, "audiences");
  const audiences = wanted.length === 0 ? [clusterIssuer] : wanted;
  const token = textAt(spec, "token");
  const matched = audiences.filter((audience) => cluster.authenticator.userOf(token, [audience]) !== undefined);
  const user = matched.length === 0 ? undefined : cluster.authenticator.userOf(token, matched);
  return user === undefined
    ? { authenticated: false, user: {}, error: "invalid bearer token" }
    : { authenticated: true, user: toUserInfo(user), audiences: matched };
}
