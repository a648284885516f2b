/**
 * Who asks. The sandbox knows two kinds of callers by themselves, its admin and ServiceAccounts; everybody else comes as an
 * impersonated user through the agent, which is what the sandbox is there to show. What must stay true: a user is what a
 * verified credential or a permitted impersonation says, and an unknown credential is 401, never an anonymous user.
 */
import type { JsonObject } from "#sandbox/objects/json.ts";

/** A caller (user.Info of Kubernetes). */
export interface User {
  readonly name: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: Readonly<Record<string, readonly string[]>>;
}

/** Group of everybody who proved who they are. */
export const authenticatedGroup = "system:authenticated";

/** Group of callers without a credential. */
export const unauthenticatedGroup = "system:unauthenticated";

/** Group that may do everything, whatever RBAC says. */
export const mastersGroup = "system:masters";

/** A caller without a credential. */
export const anonymous: User = { name: "system:anonymous", uid: "", groups: [unauthenticatedGroup], extra: {} };

/** The user name of a ServiceAccount. */
export function serviceAccountUser(namespace: string, name: string): string {
  return `system:serviceaccount:${namespace}:${name}`;
}

/** The groups that every ServiceAccount of a namespace is in. */
export function serviceAccountGroups(namespace: string): readonly string[] {
  return ["system:serviceaccounts", `system:serviceaccounts:${namespace}`];
}

/** Namespace and name of a ServiceAccount's user name; undefined for other users (serviceaccount.SplitUsername). */
export function splitServiceAccountUser(user: string): { readonly namespace: string; readonly name: string } | undefined {
  const label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
  const pattern = new RegExp(`^system:serviceaccount:(${label}):(${label}(\\.${label})*)$`);
  const [, namespace, , name] = pattern.exec(user) ?? [];
  return namespace === undefined || name === undefined ? undefined : { namespace, name };
}

/** The userInfo of authentication.k8s.io/v1; empty fields are left out, as Go's JSON does. */
export function toUserInfo(user: User): JsonObject {
  return {
    username: user.name,
    ...(user.uid === "" ? {} : { uid: user.uid }),
    ...(user.groups.length === 0 ? {} : { groups: user.groups }),
    ...(Object.keys(user.extra).length === 0 ? {} : { extra: user.extra }),
  };
}
