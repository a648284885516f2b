/** When a user's stream ends: with the credential that opened it. */
import type { HeadPayload } from "#core/tunnel/payload.ts";
import type { UserStream } from "#workers/hub/user-stream.ts";
import { issuerLimits } from "#workers/issuer/limits.ts";
import { Expiry } from "./expiry.ts";
import type { KubeCall } from "./kube.ts";

/** Ends the stream when the token ends or is revoked, whichever of gateway and agent knows the earlier time. */
export function endWithCredential(call: KubeCall, user: UserStream, head: HeadPayload): Expiry {
  return new Expiry({
    atMs: Math.min(head.expiresAtMs ?? Number.POSITIVE_INFINITY, call.token.expiresAtMs),
    isRevoked: call.isRevoked,
    recheckMs: issuerLimits.recheckMs,
    onExpired: () => user.fail("SESSION_ENDED", "the credential that opened this stream has ended", "EXPIRED"),
  });
}
