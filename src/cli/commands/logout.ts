/** `sallyport logout`: forgets sessions, and revokes their refresh tokens where the issuer offers it (RFC 7009). */
import { buildCommand } from "@stricli/core";
import { say } from "#cli/context.ts";
import type { CliContext } from "#cli/context.ts";
import { chooseGateway } from "#cli/gateway/connection.ts";
import type { GatewayFlags } from "#cli/gateway/connection.ts";
import { revokeRenewal } from "#cli/session/issuer.ts";
import { describeKey } from "#cli/session/obtain-token.ts";
import { listSessions, removeSession } from "#cli/session/token-store.ts";
import { gatewayFlagParameters, toText } from "./flags.ts";

interface LogoutFlags extends GatewayFlags {
  readonly cluster?: string;
}

export const command = buildCommand<LogoutFlags, [], CliContext>({
  func: logout,
  parameters: {
    flags: {
      ...gatewayFlagParameters,
      cluster: { kind: "parsed", parse: toText, brief: "Only this cluster's session", placeholder: "NAME", optional: true },
    },
  },
  docs: { brief: "Forget the sessions of a gateway", customUsage: ["", "--cluster prod"] },
});

async function logout(this: CliContext, flags: LogoutFlags): Promise<void> {
  const gateway = await chooseGateway(this, flags);
  const sessions = await listSessions(this.store, gateway.url);
  const chosen = flags.cluster === undefined ? sessions : sessions.filter((session) => session.key.cluster === flags.cluster);
  for (const session of chosen) {
    await removeSession(this.store, session.key);
    const isRevoked = session.renewal === undefined || (await revokeRenewal(session.renewal, { fetch: this.fetch, signal: this.signal }));
    say(
      this,
      `Signed out of ${describeKey(session.key)}${isRevoked ? "" : " (the issuer did not confirm; its refresh token may live on there)"}`,
    );
  }
  if (chosen.length === 0) say(this, "There was no session.");
}
