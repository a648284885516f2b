/** Who a session's person is for one cluster. */
import type { KnownCluster } from "#workers/auth/cluster-book.ts";
import type { Session } from "#workers/session/sign-in.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";

/**
 * The person as the cluster's door sees them, by the first of the session's ID tokens that it takes. The gateway's own tokens do not
 * count: one of them must never make another, or a token of eight hours would have no end.
 */
export async function verifyAtCluster(cluster: KnownCluster, session: Session, ownIssuer: string): Promise<VerifiedToken | undefined> {
  for (const { idToken } of session.signIns) {
    const verdict = await cluster.door.verify(idToken);
    if (verdict.type === "verified" && verdict.issuer !== ownIssuer) return verdict;
  }
  return undefined;
}
