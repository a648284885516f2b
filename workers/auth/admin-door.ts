/**
 * Who administers the gateway: JWT users of the issuers in ADMIN_AUTHENTICATION whom the CEL rule ADMIN_RULE matches. There is no
 * static admin token. A configuration that is missing or broken lets nobody in, and says so.
 */
import { GatewayError } from "#core/errors.ts";
import { parseCredentials } from "#core/kube/credentials.ts";
import { parseAuthenticationConfiguration } from "#identity/configuration.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { createTokenDoor } from "#identity/token-door.ts";
import type { TokenDoor } from "#identity/token-door.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";
import { compileUserRule } from "#identity/user-rule.ts";
import type { UserRule } from "#identity/user-rule.ts";
import { openIssuerKeys } from "./issuer-keys.ts";
import type { KeySets } from "./issuer-keys.ts";

type Doorway =
  | { readonly type: "ready"; readonly door: TokenDoor; readonly rule: UserRule }
  | { readonly type: "broken"; readonly problem: string };

export class AdminDoor {
  readonly #env: Env;
  #doorway: Doorway | undefined;

  constructor(env: Env) {
    this.#env = env;
  }

  /** The admin behind a request. @throws GatewayError NOT_SIGNED_IN, TOKEN_INVALID, ADMIN_ONLY, CONFIGURATION_INVALID */
  async admit(headers: Headers): Promise<VerifiedToken> {
    this.#doorway ??= openDoorway(this.#env);
    const doorway = this.#doorway;
    if (doorway.type === "broken") throw new GatewayError("CONFIGURATION_INVALID", doorway.problem);
    const credentials = parseCredentials([...headers]);
    if (credentials.type === "invalid") throw new GatewayError(credentials.code, credentials.message);
    if (credentials.type === "none") throw new GatewayError("NOT_SIGNED_IN", "the request carries no bearer token");
    const verdict = doorway.door.verifyCached(credentials.token) ?? (await doorway.door.verify(credentials.token));
    if (verdict.type === "refused")
      throw new GatewayError(verdict.reason === "token-expired" ? "TOKEN_EXPIRED" : "TOKEN_INVALID", verdict.message);
    if (!doorway.rule(verdict.identity)) throw new GatewayError("ADMIN_ONLY", `${verdict.identity.username} is no admin of this gateway`);
    return verdict;
  }
}

function openDoorway(env: Env): Doorway {
  if (env.ADMIN_AUTHENTICATION === "" || env.ADMIN_RULE === "")
    return broken("ADMIN_AUTHENTICATION and ADMIN_RULE are not both set, so nobody administers this gateway");
  const parsed = parseAuthenticationConfiguration(env.ADMIN_AUTHENTICATION, "ADMIN_AUTHENTICATION");
  if (parsed.type === "invalid")
    return broken(parsed.problems.map((problem) => `${problem.file}:${problem.line}: ${problem.message}`).join("; "));
  const rule = compileUserRule(env.ADMIN_RULE);
  if (rule.type === "invalid") return broken(`ADMIN_RULE: the expression ${rule.message}`);
  const keysFor = openIssuerKeys(parsed.configuration, readKeySets(env.ADMIN_ISSUER_KEYS), {});
  return { type: "ready", door: createDoor(parsed.configuration, keysFor), rule: rule.rule };
}

function createDoor(configuration: AuthenticationConfiguration, keysFor: ReturnType<typeof openIssuerKeys>): TokenDoor {
  return createTokenDoor({ configuration, keysFor, clock: () => Date.now() });
}

function readKeySets(text: string): KeySets {
  return text === "" ? {} : JSON.parse(text);
}

function broken(problem: string): Doorway {
  return { type: "broken", problem };
}
