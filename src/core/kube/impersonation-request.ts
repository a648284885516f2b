/**
 * `kubectl --as`: a client asks to act as somebody else. The gateway honours that only after the true user has passed a
 * SubjectAccessReview for each thing that is asked for, as the apiserver itself does for impersonation (Kubernetes
 * authentication reference, "User impersonation"); here is what is asked, and what must be reviewed.
 */
import { decodeHeaderText, headerValues } from "./headers.ts";
import type { HeaderPairs } from "./headers.ts";
import { isExactText, userLimits } from "./user-info.ts";
import type { UserInfo } from "./user-info.ts";

/** Most reviews that one request may cost: each is a call to the apiserver. */
export const maximumImpersonationChecks = 64;

/** What a client asks for. */
export type ImpersonationRequest =
  | { readonly type: "none" }
  | { readonly type: "requested"; readonly identity: UserInfo }
  | { readonly type: "invalid"; readonly message: string };

/** The attributes of a SubjectAccessReview (authorization.k8s.io/v1 ResourceAttributes). */
export interface ImpersonationCheck {
  readonly verb: "impersonate";
  readonly group: "" | "authentication.k8s.io";
  readonly version: "" | "v1";
  readonly resource: "users" | "groups" | "serviceaccounts" | "uids" | "userextras";
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
}

const extraPrefix = "impersonate-extra-";

/**
 * Reads `Impersonate-User`, `-Group`, `-Uid` and `-Extra-*`; other `Impersonate-*` names mean nothing, as in the apiserver.
 * Runtimes of the edge join repeated lines with `, `, so a group or extra value is split there: that can only add reviews that
 * the true user must pass, never a right.
 */
export function parseImpersonation(clientHeaders: HeaderPairs): ImpersonationRequest {
  const names = clientHeaders.map(([name]) => name.toLowerCase()).filter((name) => name.startsWith("impersonate-"));
  const extraNames = [...new Set(names.filter((name) => name.startsWith(extraPrefix)))];
  const isAsked = extraNames.length > 0 || ["user", "group", "uid"].some((kind) => names.includes(`impersonate-${kind}`));
  if (!isAsked) return { type: "none" };
  const users = decodeAll(headerValues(clientHeaders, "impersonate-user"));
  const uids = decodeAll(headerValues(clientHeaders, "impersonate-uid"));
  const groups = decodeAll(headerValues(clientHeaders, "impersonate-group").flatMap((value) => value.split(", ")));
  const extra: [string, readonly string[]][] = [];
  for (const name of extraNames) {
    const values = decodeAll(headerValues(clientHeaders, name).flatMap((value) => value.split(", ")));
    const key = unescapeKey(name.slice(extraPrefix.length));
    if (values === undefined || !isExtraKey(key)) return invalid("an Impersonate-Extra header is malformed or reserved");
    extra.push([key, values]);
  }
  if (users === undefined || uids === undefined || groups === undefined) return invalid("an Impersonate header is not UTF-8 or too long");
  return checkRequested({ users, uids, groups, extra });
}

/** The reviews that the true user must pass, all of them, before a request may run as `requested`. */
export function impersonationChecks(requested: UserInfo): readonly ImpersonationCheck[] {
  const core = { verb: "impersonate", group: "", version: "", subresource: "", namespace: "" } as const;
  const authentication = { verb: "impersonate", group: "authentication.k8s.io", version: "v1", namespace: "" } as const;
  const account = /^system:serviceaccount:(?<namespace>[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?):(?<name>[-a-z0-9.]{1,253})$/.exec(
    requested.username,
  );
  const user: ImpersonationCheck = isServiceAccount(account?.groups?.["name"])
    ? { ...core, resource: "serviceaccounts", namespace: account?.groups?.["namespace"] ?? "", name: account?.groups?.["name"] ?? "" }
    : { ...core, resource: "users", name: requested.username };
  const groups = requested.groups.map((name): ImpersonationCheck => ({ ...core, resource: "groups", name }));
  const extra = Object.entries(requested.extra).flatMap(([subresource, values]) =>
    values.map((name): ImpersonationCheck => ({ ...authentication, resource: "userextras", subresource, name })),
  );
  const uid: ImpersonationCheck = { ...authentication, resource: "uids", subresource: "", name: requested.uid };
  return [user, ...groups, ...extra, ...(requested.uid === "" ? [] : [uid])];
}

interface RequestedParts {
  readonly users: readonly string[];
  readonly uids: readonly string[];
  readonly groups: readonly string[];
  readonly extra: readonly (readonly [string, readonly string[]])[];
}

function checkRequested({ users, uids, groups, extra }: RequestedParts): ImpersonationRequest {
  const [username, ...moreUsers] = users;
  if (username === undefined) return invalid("Impersonate headers without Impersonate-User");
  if (moreUsers.length > 0 || uids.length > 1) return invalid("Impersonate-User and Impersonate-Uid may stand once");
  if (username === "" || uids[0] === "" || groups.includes("")) return invalid("an Impersonate header is empty");
  const identity: UserInfo = { username, uid: uids[0] ?? "", groups, extra: Object.fromEntries(extra) };
  if (impersonationChecks(identity).length <= maximumImpersonationChecks) return { type: "requested", identity };
  return invalid(`Impersonate headers ask for more than ${maximumImpersonationChecks} things`);
}

/** The values as text; undefined when one of them is not UTF-8, not clean, or too long to be a name. */
function decodeAll(values: readonly string[]): readonly string[] | undefined {
  const texts: string[] = [];
  for (const value of values) {
    const text = decodeHeaderText(value);
    if (text === undefined || (text !== "" && !isExactText(text, userLimits.maxNameBytes))) return undefined;
    texts.push(text);
  }
  return texts;
}

/** The apiserver takes a key with a broken escape literally. */
function unescapeKey(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded; // URIError: a broken escape, or bytes that are not UTF-8
  }
}

/** Keys of ours say what the gateway knows, so nobody may ask for them. */
function isExtraKey(key: string): boolean {
  const isClean = isExactText(key, userLimits.maxNameBytes) && !/[A-Z]/.test(key);
  return isClean && !/^(?:[^/]*\.)?sallyport\.dev(?:\/|$)/.test(key);
}

/** A service account's name is a DNS subdomain; any other text after the prefix makes it a user's name. */
function isServiceAccount(name: string | undefined): boolean {
  return name !== undefined && name.split(".").every((label) => /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/.test(label));
}

function invalid(message: string): ImpersonationRequest {
  return { type: "invalid", message };
}
