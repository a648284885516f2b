/** Nobody can give rights that they do not have (kubernetes, registry/rbac: escalation check), unless they may `escalate` or `bind`. */
import { listAt, textAt, textListAt, valueAt } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import { forbidden } from "#sandbox/server/status.ts";
import type { FailureStatus } from "#sandbox/server/status.ts";
import type { Attributes, Authorizer } from "./authorizer.ts";
import type { User } from "./user.ts";

/** A write of a role or binding by a user. */
export interface RoleWrite {
  readonly user: User;
  readonly resource: Resource;
  readonly namespace: string;
  readonly object: JsonObject;
}

/** The 403 of a write that would give more than the writer has; undefined when it would not, or the kind gives no rights. */
export function escalationProblem(authorizer: Authorizer, write: RoleWrite): FailureStatus | undefined {
  switch (write.resource.kind) {
    case "Role":
    case "ClusterRole":
      return problem(authorizer, write, {
        rules: listAt(write.object, "rules"),
        right: "escalate",
        role: write.resource.plural,
        name: textAt(write.object, "metadata", "name"),
      });
    case "RoleBinding":
    case "ClusterRoleBinding": {
      const roleRef = valueAt(write.object, "roleRef");
      const rules = authorizer.rulesOfRole(roleRef, write.namespace);
      const role = textAt(roleRef, "kind") === "Role" ? "roles" : "clusterroles";
      return problem(authorizer, write, { rules, right: "bind", role, name: textAt(roleRef, "name") });
    }
    default:
      return undefined;
  }
}

interface Grant {
  readonly rules: readonly Json[];
  /** The verb on the role that lifts the check. */
  readonly right: "bind" | "escalate";
  readonly role: string;
  readonly name: string;
}

function problem(authorizer: Authorizer, write: RoleWrite, grant: Grant): FailureStatus | undefined {
  const { user, namespace } = write;
  const lift: Attributes = {
    type: "resource",
    verb: grant.right,
    group: write.resource.group,
    plural: grant.role,
    subresource: "",
    namespace,
    name: grant.name,
  };
  if (authorizer.authorize(user, lift).allowed) return undefined;
  for (const rule of grant.rules) {
    for (const attributes of atomsOf(rule, namespace)) {
      if (authorizer.authorize(user, attributes).allowed) continue;
      const who = `user ${JSON.stringify(user.name)} (groups=${JSON.stringify(user.groups)})`;
      const why = `${who} is attempting to grant RBAC permissions not currently held:\n${JSON.stringify(rule)}`;
      return forbidden({ ...write.resource, name: textAt(write.object, "metadata", "name") }, why);
    }
  }
  return undefined;
}

/** Each single right that a rule gives. A `*` stays a `*`, which only another `*` covers. */
function* atomsOf(rule: Json, namespace: string): Generator<Attributes> {
  const names = textListAt(rule, "resourceNames");
  for (const verb of textListAt(rule, "verbs")) {
    for (const path of textListAt(rule, "nonResourceURLs")) yield { type: "path", verb, path };
    for (const group of textListAt(rule, "apiGroups")) {
      for (const resource of textListAt(rule, "resources")) {
        const [plural = "", subresource = ""] = resource.split("/");
        for (const name of names.length === 0 ? [""] : names) yield { type: "resource", verb, group, plural, subresource, namespace, name };
      }
    }
  }
}
