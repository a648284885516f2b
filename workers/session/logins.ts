/** The sign-ins that a gateway offers to browsers: those of its clusters, and its admins'. */
import type { LoginConfiguration } from "#core/gateway-api.ts";
import type { ClusterRecord } from "#workers/hub/registry.ts";
import { sessionLimits } from "./limits.ts";
import { isSameLogin } from "./sign-in.ts";

/** Each client of each issuer once: the clusters' by the clusters' names, then the admins'. Only issuers at https are used. */
export function listLogins(records: readonly ClusterRecord[], admin: LoginConfiguration | undefined): readonly LoginConfiguration[] {
  const all = [...records.map((record) => record.registration.login), admin].filter((login) => login !== undefined);
  return all.filter((login, index) => isUsable(login) && all.findIndex((other) => isSameLogin(login, other)) === index);
}

/** The issuers of logins, each once. */
export function listIssuers(logins: readonly LoginConfiguration[]): readonly string[] {
  return [...new Set(logins.map(({ issuer }) => issuer))].toSorted();
}

/** Other clients of the same issuer, which may know the person without a question once one of them does. */
export function listSiblings(logins: readonly LoginConfiguration[], first: LoginConfiguration): readonly LoginConfiguration[] {
  return logins.filter((login) => login.issuer === first.issuer && !isSameLogin(login, first)).slice(0, sessionLimits.maxSilent);
}

export function isUsable(login: LoginConfiguration): boolean {
  return URL.parse(login.issuer)?.protocol === "https:";
}
