/** Whether browsers can sign in here: what that needs is not needed by anybody else, so a fault in it stops only the pages. */
import { GatewayError } from "#core/errors.ts";
import { readClientSecrets } from "./client-secrets.ts";
import { parseKeyRing } from "#workers/key-ring.ts";

/** @throws GatewayError SIGN_IN_UNAVAILABLE, CONFIGURATION_INVALID */
export async function assertSignInConfigured(env: Env): Promise<void> {
  const keys = env.SESSION_KEYS ?? "";
  if (keys === "") throw new GatewayError("SIGN_IN_UNAVAILABLE", "this gateway has no keys for browser sessions (SESSION_KEYS)");
  const ring = await parseKeyRing(keys);
  if (ring.type === "invalid") throw new GatewayError("CONFIGURATION_INVALID", ring.problems.join("; "));
  readClientSecrets(env);
}
