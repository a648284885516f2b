/**
 * Impersonation (apiserver, endpoints/filters/impersonation.go of 1.34): a caller with the right to `impersonate` each user,
 * group, uid and extra that it names acts as that user. Headers are read as the lines that came in, because two
 * Impersonate-Group lines are two groups and a comma inside of one line belongs to the group's name.
 */
import { failure } from "#sandbox/server/status.ts";
import type { FailureStatus, Outcome } from "#sandbox/server/status.ts";
import { failed, ok } from "#sandbox/server/status.ts";
import type { Authorizer, ResourceAttributes } from "./authorizer.ts";
import { forbiddenStatus } from "./forbidden.ts";
import {
  anonymous,
  authenticatedGroup,
  serviceAccountGroups,
  serviceAccountUser,
  splitServiceAccountUser,
  unauthenticatedGroup,
} from "./user.ts";
import type { User } from "./user.ts";

/** Header lines in the order in which they came; names in any case. */
export type HeaderLines = readonly (readonly [name: string, value: string])[];

interface Wish {
  readonly user: string;
  readonly uid: string;
  readonly groups: readonly string[];
  readonly extra: readonly { readonly key: string; readonly value: string }[];
}

const extraPrefix = "impersonate-extra-";

/** The user that the caller acts as: itself without impersonation headers, else the named one if RBAC lets it. */
export function impersonate(caller: User, lines: HeaderLines, authorizer: Authorizer): Outcome<User> {
  const wish = readWish(lines);
  const wantsMore = wish.uid !== "" || wish.groups.length > 0 || wish.extra.length > 0;
  if (wish.user === "") return wantsMore ? failed(withoutUser(wish)) : ok(caller);
  for (const attributes of checksOf(wish)) {
    if (!authorizer.authorize(caller, attributes).allowed) return failed(forbiddenStatus(caller, attributes));
  }
  return ok({ name: nameOf(wish), uid: wish.uid, groups: groupsOf(wish), extra: extraOf(wish) });
}

function readWish(lines: HeaderLines): Wish {
  const valuesOf = (name: string): readonly string[] => lines.filter(([line]) => line.toLowerCase() === name).map(([, value]) => value);
  const extra = lines
    .filter(([name]) => name.toLowerCase().startsWith(extraPrefix))
    .map(([name, value]) => ({ key: unescapeKey(name.toLowerCase().slice(extraPrefix.length)), value: fromHeader(value) }));
  return {
    user: fromHeader(valuesOf("impersonate-user")[0] ?? ""),
    uid: fromHeader(valuesOf("impersonate-uid")[0] ?? ""),
    groups: valuesOf("impersonate-group").map(fromHeader),
    extra,
  };
}

/** Node gives header bytes as latin1; Kubernetes takes them for UTF-8. */
function fromHeader(value: string): string {
  return Buffer.from(value, "latin1").toString("utf8");
}

/** Percent-decodes an extra's key; one with a broken escape is taken as it stands. */
function unescapeKey(key: string): string {
  try {
    return decodeURIComponent(key);
  } catch {
    return key; // a URIError
  }
}

function withoutUser(wish: Wish): FailureStatus {
  const shown = JSON.stringify({ groups: wish.groups, uid: wish.uid, extra: wish.extra.map(({ key }) => key) });
  return failure(500, "InternalError", `Internal error occurred: requested ${shown} without impersonating a user`);
}

function* checksOf(wish: Wish): Generator<ResourceAttributes> {
  const check = { type: "resource", verb: "impersonate", group: "", subresource: "", namespace: "" } as const;
  const account = splitServiceAccountUser(wish.user);
  if (account === undefined) yield { ...check, plural: "users", name: wish.user };
  else yield { ...check, plural: "serviceaccounts", ...account };
  for (const name of wish.groups) yield { ...check, plural: "groups", name };
  for (const { key, value } of wish.extra) {
    yield { ...check, group: "authentication.k8s.io", plural: "userextras", subresource: key, name: value };
  }
  if (wish.uid !== "") yield { ...check, group: "authentication.k8s.io", plural: "uids", name: wish.uid };
}

function nameOf(wish: Wish): string {
  const account = splitServiceAccountUser(wish.user);
  return account === undefined ? wish.user : serviceAccountUser(account.namespace, account.name);
}

function groupsOf(wish: Wish): readonly string[] {
  const account = splitServiceAccountUser(wish.user);
  const named = wish.groups.length === 0 && account !== undefined ? serviceAccountGroups(account.namespace) : wish.groups;
  if (wish.user === anonymous.name) return named.includes(unauthenticatedGroup) ? named : [...named, unauthenticatedGroup];
  const isComplete = named.includes(authenticatedGroup) || named.includes(unauthenticatedGroup);
  return isComplete ? named : [...named, authenticatedGroup];
}

function extraOf(wish: Wish): Readonly<Record<string, readonly string[]>> {
  const byKey = new Map<string, string[]>();
  for (const { key, value } of wish.extra) byKey.set(key, [...(byKey.get(key) ?? []), value]);
  return Object.fromEntries(byKey);
}
