/**
 * What `cluster add` registers and what the agent's manifests are made from: one plan, from flags and files, with every problem of
 * all of them told at once. The manifests come from the admin's own file, never from the gateway: the agent's policy must not be
 * something that the gateway could have written.
 */
import { readFile } from "node:fs/promises";
import { parsePublicKeySet } from "#core/gateway-api.ts";
import type { LoginConfiguration, PublicKeySet } from "#core/gateway-api.ts";
import { parseAuthenticationConfiguration } from "#identity/configuration.ts";
import type { AuthenticationConfiguration } from "#identity/configuration.ts";
import { CommandError } from "#cli/output/failure.ts";
import { isSystemError, parseJson } from "#cli/session/private-file.ts";

/** The flags that say who may come in, as they were given. */
export interface PlanFlags {
  readonly authenticationConfig: string;
  readonly issuerKeys?: readonly string[];
  readonly agentIssuerKeys?: readonly string[];
  readonly loginClientId?: string;
  readonly loginIssuer?: string;
  readonly loginScope?: readonly string[];
}

export interface Plan {
  /** The file's text, as the admin wrote it. */
  readonly authenticationConfiguration: string;
  readonly configuration: AuthenticationConfiguration;
  /** Keys for the gateway, by issuer. */
  readonly issuerKeys: Readonly<Record<string, PublicKeySet>>;
  /** Keys for the agent, by issuer. */
  readonly agentIssuerKeys: Readonly<Record<string, PublicKeySet>>;
  readonly login: LoginConfiguration | undefined;
  /** The extra attributes' keys, which the agent's RBAC must name one by one. */
  readonly extraKeys: readonly string[];
}

/** What an OpenID Connect login asks for unless told otherwise: a name to show, and a refresh token. */
export const defaultScopes = ["openid", "profile", "email", "offline_access"] as const;

/** Reads and checks everything; throws CONFIGURATION_INVALID with all problems. */
export async function readPlan(flags: PlanFlags): Promise<Plan> {
  const problems: string[] = [];
  const authenticationConfiguration = await readText(flags.authenticationConfig, problems);
  const configuration = parseConfiguration(authenticationConfiguration, flags.authenticationConfig, problems);
  const issuerKeys = await readKeys(flags.issuerKeys ?? [], { flag: "--issuer-keys", configuration, problems });
  const agentIssuerKeys = await readKeys(flags.agentIssuerKeys ?? [], { flag: "--agent-issuer-keys", configuration, problems });
  const login = configuration === undefined ? undefined : planLogin(flags, configuration, problems);
  if (configuration === undefined || authenticationConfiguration === undefined || problems.length > 0) throw refusal(problems);
  const extraKeys = [...new Set(configuration.authenticators.flatMap((item) => item.extra.map(({ key }) => key)))].toSorted();
  return { authenticationConfiguration, configuration, issuerKeys, agentIssuerKeys, login, extraKeys };
}

/** Reads a file with a JSON Web Key Set of public keys. */
export async function readKeySetFile(path: string): Promise<PublicKeySet> {
  const problems: string[] = [];
  const keys = await readKeySet(path, problems);
  if (keys === undefined) throw refusal(problems);
  return keys;
}

function refusal(problems: readonly string[]): CommandError {
  const title = problems.length === 1 ? "The cluster's settings have a problem" : `The cluster's settings have ${problems.length} problems`;
  return new CommandError({
    code: "CONFIGURATION_INVALID",
    title,
    cause: problems.join("\n"),
    next: ["Correct them and run the command again; nothing was changed."],
  });
}

function parseConfiguration(text: string | undefined, path: string, problems: string[]): AuthenticationConfiguration | undefined {
  if (text === undefined) return undefined;
  const parsed = parseAuthenticationConfiguration(text, path);
  if (parsed.type === "parsed") return parsed.configuration;
  problems.push(...parsed.problems.map(({ file, line, message }) => `${file}:${line}: ${message}`));
  return undefined;
}

interface KeysOptions {
  readonly flag: string;
  readonly configuration: AuthenticationConfiguration | undefined;
  readonly problems: string[];
}

/** Each value is ISSUER=FILE, and the issuer one of the configuration's. */
async function readKeys(
  values: readonly string[],
  { flag, configuration, problems }: KeysOptions,
): Promise<Readonly<Record<string, PublicKeySet>>> {
  const issuers = configuration?.authenticators.map((item) => item.issuer.url);
  const keys: Record<string, PublicKeySet> = {};
  for (const value of values) {
    const at = value.indexOf("=");
    const [issuer, path] = [value.slice(0, at), value.slice(at + 1)];
    if (at < 1 || path === "") problems.push(`${flag} ${value}: must be ISSUER=FILE`);
    else if (issuers !== undefined && !issuers.includes(issuer))
      problems.push(`${flag} ${value}: the configuration has no issuer ${issuer}; it has ${issuers.join(", ")}`);
    else {
      const set = await readKeySet(path, problems);
      if (set !== undefined) keys[issuer] = set;
    }
  }
  return keys;
}

async function readKeySet(path: string, problems: string[]): Promise<PublicKeySet | undefined> {
  const text = await readText(path, problems);
  if (text === undefined) return undefined;
  const parsed = parsePublicKeySet(parseJson(text));
  if (parsed.type === "parsed") return parsed.value;
  problems.push(...parsed.problems.map((problem) => `${path}: ${problem}`));
  return undefined;
}

/** The login's client id is an ID token's audience, so the configuration must accept it from that issuer, or nobody who signs in gets in. */
function planLogin(flags: PlanFlags, configuration: AuthenticationConfiguration, problems: string[]): LoginConfiguration | undefined {
  const { loginClientId: clientId, loginIssuer, loginScope } = flags;
  if (clientId === undefined) {
    if (loginIssuer !== undefined || loginScope !== undefined) problems.push("--login-issuer and --login-scope need --login-client-id");
    return undefined;
  }
  const accepting = configuration.authenticators.map((item) => item.issuer).filter((issuer) => issuer.audiences.includes(clientId));
  const issuer = accepting.find(({ url }) => loginIssuer === undefined || url === loginIssuer);
  if (issuer === undefined) {
    problems.push(
      `--login-client-id ${clientId}: ${loginIssuer ?? "no issuer of the configuration"} ${loginIssuer === undefined ? "has" : "does not have"} it among its audiences, so its tokens would be refused`,
    );
    return undefined;
  }
  if (loginIssuer === undefined && accepting.length > 1)
    problems.push(`--login-client-id ${clientId}: several issuers accept it; choose one with --login-issuer`);
  const scopes = loginScope ?? defaultScopes;
  if (!scopes.includes("openid")) problems.push("--login-scope: `openid` is missing, without which an issuer gives no ID token");
  return { issuer: issuer.url, clientId, scopes };
}

async function readText(path: string, problems: string[]): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    problems.push(`${path}: ${isSystemError(thrown, "ENOENT") ? "does not exist" : "cannot be read"}`);
    return undefined;
  }
}
