/**
 * Who administers the gateway: JWT users of the issuers in ADMIN_AUTHENTICATION whom the CEL rule ADMIN_RULE matches. There is no
 * static admin token. A configuration that is missing or broken lets nobody in, and says so.
 */
import { GatewayError } from "#core/errors.ts";
import { parseIssuerKeySets, parseLoginConfiguration } from "#core/gateway-api.ts";
import type { Parsed } from "#core/document.ts";
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { parseCredentials } from "#core/kube/credentials.ts";
import { parseAuthenticationConfiguration } from "#identity/configuration.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { createTokenDoor } from "#identity/token-door.ts";
import type { TokenDoor } from "#identity/token-door.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";
import { compileUserRule } from "#identity/user-rule.ts";
import type { UserRule } from "#identity/user-rule.ts";
import { openIssuerKeys } from "./issuer-keys.ts";

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
    return { type: "broken", problem: "ADMIN_AUTHENTICATION and ADMIN_RULE are not both set, so nobody administers this gateway" };
  const authentication = parseAuthentication(env.ADMIN_AUTHENTICATION);
  const rule = compileUserRule(env.ADMIN_RULE);
  const keys = parseVariable("ADMIN_ISSUER_KEYS", env.ADMIN_ISSUER_KEYS, parseIssuerKeySets);
  const problems = [...problemsOf(authentication), ...problemsOf(keys), ...problemsOf(parseAdminLogin(env))];
  const own = `${new URL(env.GATEWAY_URL).origin}/issuer`;
  if (authentication.type === "parsed" && authentication.value.authenticators.some(({ issuer }) => issuer.url === own))
    problems.push("ADMIN_AUTHENTICATION: the gateway's own tokens are for clusters, and make nobody an admin");
  if (rule.type === "invalid") problems.push(`ADMIN_RULE: the expression ${rule.message}`);
  if (authentication.type === "invalid" || rule.type === "invalid" || problems.length > 0)
    return { type: "broken", problem: problems.join("; ") };
  const configuration = authentication.value;
  const keysFor = openIssuerKeys(configuration, keys?.type === "parsed" ? keys.value : {}, {});
  return { type: "ready", door: createTokenDoor({ configuration, keysFor, clock: () => Date.now() }), rule: rule.rule };
}

function parseAuthentication(text: string): Parsed<AuthenticationConfiguration> {
  const parsed = parseAuthenticationConfiguration(text, "ADMIN_AUTHENTICATION");
  if (parsed.type === "parsed") return { type: "parsed", value: parsed.configuration };
  return { type: "invalid", problems: parsed.problems.map(({ file, line, message }) => `${file}:${line}: ${message}`) };
}

function problemsOf(parsed: Parsed<unknown> | undefined): readonly string[] {
  return parsed?.type === "invalid" ? parsed.problems : [];
}

/** How admins sign in; undefined when the gateway names no way. */
export function parseAdminLogin(env: Env): Parsed<LoginConfiguration> | undefined {
  return parseVariable("ADMIN_LOGIN", env.ADMIN_LOGIN, parseLoginConfiguration);
}

/** A variable that holds JSON, each problem with the variable's name; undefined when it is empty. */
function parseVariable<Value>(name: string, text: string, parse: (input: unknown) => Parsed<Value>): Parsed<Value> | undefined {
  if (text === "") return undefined;
  try {
    const parsed = parse(JSON.parse(text));
    return parsed.type === "parsed" ? parsed : { type: "invalid", problems: parsed.problems.map((problem) => `${name}: ${problem}`) };
  } catch {
    return { type: "invalid", problems: [`${name} is no JSON`] }; // nothing else throws here: parsers list problems
  }
}
