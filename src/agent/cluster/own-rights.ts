/**
 * The agent's look at its own rights. Impersonation is all it may do in its own name, beside reading where targets are: a request that slips through without identity headers
 * would otherwise run with whatever else it was given (security: an empty Impersonate-User runs as the caller). More than that is
 * a mistake in somebody's RBAC, and the agent does not serve until it is mended.
 */
import { GatewayError } from "#core/errors.ts";
import { isObject, listField, objectField, textsField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { ClusterApi } from "./api.ts";

/** A rule that the agent is known to need. */
export interface NeededRule {
  readonly verbs: readonly string[];
  readonly apiGroups: readonly string[];
  /** Plural names; `userextras/*` stands for every sub-resource. */
  readonly resources: readonly string[];
  /** Only these objects; undefined for any. */
  readonly resourceNames?: readonly string[];
}

/** What impersonation takes, and what every authenticated user may do (the ClusterRole system:basic-user). */
export const impersonatorRules: readonly NeededRule[] = [
  { verbs: ["impersonate"], apiGroups: [""], resources: ["users", "groups", "serviceaccounts"] },
  { verbs: ["impersonate"], apiGroups: ["authentication.k8s.io"], resources: ["userextras", "userextras/*", "uids"] },
  { verbs: ["create"], apiGroups: ["authorization.k8s.io"], resources: ["subjectaccessreviews"] },
  { verbs: ["create"], apiGroups: ["authorization.k8s.io"], resources: ["selfsubjectaccessreviews", "selfsubjectrulesreviews"] },
  { verbs: ["create"], apiGroups: ["authentication.k8s.io"], resources: ["selfsubjectreviews"] },
];

/** What finding the targets of forwards takes; an agent without these refuses forwards. */
export const forwardRules: readonly NeededRule[] = [
  { verbs: ["get", "list"], apiGroups: [""], resources: ["pods"] },
  { verbs: ["get"], apiGroups: [""], resources: ["services", "nodes"] },
  { verbs: ["get"], apiGroups: ["apps"], resources: ["deployments"] },
  { verbs: ["list"], apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"] },
];

/** Paths that every authenticated user may read (system:discovery, system:public-info-viewer, system:service-account-issuer-discovery). */
const commonPaths: ReadonlySet<string> = new Set([
  "/api",
  "/api/*",
  "/apis",
  "/apis/*",
  "/healthz",
  "/livez",
  "/openapi",
  "/openapi/*",
  "/readyz",
  "/version",
  "/version/",
  "/.well-known/openid-configuration",
  "/.well-known/openid-configuration/",
  "/openid/v1/jwks",
  "/openid/v1/jwks/",
]);

const target = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";

/**
 * The rights that the agent has beyond what it needs, one text for each; empty when there are none. Rules are those of the given namespaces and
 * the cluster-wide ones; authorizers other than RBAC may not list theirs (SelfSubjectRulesReview, `incomplete`).
 */
export async function findExcessRights(
  api: ClusterApi,
  namespaces: readonly string[],
  needed: readonly NeededRule[],
): Promise<readonly string[]> {
  const excess = new Set<string>();
  for (const namespace of namespaces) {
    const review = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectRulesReview", spec: { namespace } };
    const answer = await api.create(target, review);
    if (answer.type === "refused") {
      throw new GatewayError(
        "AGENT_CREDENTIAL",
        `the apiserver refused the agent's look at its own rights with ${answer.status} ${answer.reason}`,
      );
    }
    for (const text of excessRules(objectField(answer.object, "status"), needed)) excess.add(text);
  }
  return [...excess];
}

/** The rules of a SelfSubjectRulesReview's status that go beyond the needed ones. */
export function excessRules(status: JsonObject, needed: readonly NeededRule[]): readonly string[] {
  const resourceRules = listField(status, "resourceRules")
    .filter(isObject)
    .flatMap((rule) => excessOfRule(rule, needed));
  const pathRules = listField(status, "nonResourceRules").filter(isObject).flatMap(excessOfPaths);
  return [...resourceRules, ...pathRules];
}

function excessOfRule(rule: JsonObject, needed: readonly NeededRule[]): readonly string[] {
  const names = textsField(rule, "resourceNames");
  const excess = textsField(rule, "verbs").flatMap((verb) =>
    textsField(rule, "apiGroups").flatMap((group) =>
      textsField(rule, "resources")
        .filter((resource) => !needed.some((need) => covers(need, { verb, group, resource, names })))
        .map((resource) => describe(verb, group === "" ? resource : `${resource}.${group}`, names)),
    ),
  );
  return excess;
}

interface Right {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly names: readonly string[];
}

function covers(need: NeededRule, right: Right): boolean {
  if (!need.verbs.includes(right.verb) || !need.apiGroups.includes(right.group)) return false;
  const parent = `${right.resource.split("/", 1)[0] ?? ""}/*`;
  if (!need.resources.includes(right.resource) && !(right.resource.includes("/") && need.resources.includes(parent))) return false;
  const { resourceNames } = need;
  return resourceNames === undefined || (right.names.length > 0 && right.names.every((name) => resourceNames.includes(name)));
}

function excessOfPaths(rule: JsonObject): readonly string[] {
  const paths = textsField(rule, "nonResourceURLs");
  return textsField(rule, "verbs").flatMap((verb) =>
    paths.filter((path) => (verb !== "get" && verb !== "head") || !commonPaths.has(path)).map((path) => describe(verb, path, [])),
  );
}

function describe(verb: string, what: string, names: readonly string[]): string {
  return names.length === 0 ? `${verb} ${what}` : `${verb} ${what} (${names.join(", ")})`;
}
