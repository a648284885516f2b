/** Credential to user: the admin's token, ServiceAccount tokens, or no credential at all. */
import { createHash, timingSafeEqual } from "node:crypto";
import { objectAt, textAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import { failed, failure, ok } from "#sandbox/server/status.ts";
import type { Outcome } from "#sandbox/server/status.ts";
import type { Store } from "#sandbox/store/store.ts";
import { clusterIssuer } from "./service-account-issuer.ts";
import type { ServiceAccountIssuer } from "./service-account-issuer.ts";
import { anonymous, authenticatedGroup, mastersGroup, serviceAccountGroups, serviceAccountUser } from "./user.ts";
import type { User } from "./user.ts";

/** What the authenticator checks credentials against. */
export interface AuthenticatorParts {
  readonly adminToken: string;
  readonly issuer: ServiceAccountIssuer;
  readonly store: Store;
}

/** The admin of the sandbox, who may do everything. */
export const admin: User = { name: "sandbox-admin", uid: "", groups: [mastersGroup, authenticatedGroup], extra: {} };

/** Turns an Authorization header into a user; a wrong credential is 401, a missing one is the anonymous user. */
export class Authenticator {
  readonly #parts: AuthenticatorParts;

  constructor(parts: AuthenticatorParts) {
    this.#parts = parts;
  }

  authenticate(authorization: string | undefined): Outcome<User> {
    if (authorization === undefined) return ok(anonymous);
    const [, token = ""] = /^bearer +([^ ]+) *$/i.exec(authorization) ?? [];
    const user = token === "" ? undefined : this.userOf(token, [clusterIssuer]);
    return user === undefined ? failed(failure(401, "Unauthorized", "Unauthorized")) : ok(user);
  }

  /** The user of a token that is valid for one of the audiences; undefined for any other token. */
  userOf(token: string, audiences: readonly string[]): User | undefined {
    if (isSame(token, this.#parts.adminToken)) return audiences.includes(clusterIssuer) ? admin : undefined;
    const claims = this.#parts.issuer.verify(token, audiences);
    return claims === undefined ? undefined : this.#serviceAccount(claims);
  }

  /** The ServiceAccount of verified claims, if it and the pod that the token is bound to still exist. */
  #serviceAccount(claims: JsonObject): User | undefined {
    const bound = objectAt(claims, "kubernetes.io");
    const namespace = textAt(bound, "namespace");
    const name = textAt(bound, "serviceaccount", "name");
    const account = this.#parts.store.get(resourceOf("ServiceAccount"), { namespace, name });
    if (account === undefined || account.metadata.uid !== textAt(bound, "serviceaccount", "uid")) return undefined;
    const podName = textAt(bound, "pod", "name");
    const podUid = textAt(bound, "pod", "uid");
    if (podName !== "") {
      const pod = this.#parts.store.get(resourceOf("Pod"), { namespace, name: podName });
      if (pod?.metadata.uid !== podUid) return undefined;
    }
    const podExtra = { "authentication.kubernetes.io/pod-name": [podName], "authentication.kubernetes.io/pod-uid": [podUid] };
    const extra = { "authentication.kubernetes.io/credential-id": [`JTI=${textAt(claims, "jti")}`], ...(podName === "" ? {} : podExtra) };
    const groups = [...serviceAccountGroups(namespace), authenticatedGroup];
    return { name: serviceAccountUser(namespace, name), uid: account.metadata.uid, groups, extra };
  }
}

/** Compares secrets in a time that does not depend on where they differ. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
