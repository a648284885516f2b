/** LOGIN_CLIENT_SECRETS: the secrets of clients whose issuer wants one. A client that is not named there is public and has PKCE alone. */
import { GatewayError } from "#core/errors.ts";
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { isObject } from "#core/json-fields.ts";

/** The secret of a client, if it has one. @throws GatewayError CONFIGURATION_INVALID */
export function readClientSecrets(env: Env): (login: LoginConfiguration) => string | undefined {
  const text = env.LOGIN_CLIENT_SECRETS ?? "";
  if (text === "") return () => undefined;
  const secrets = new Map<string, string>();
  for (const [issuer, clients] of entriesOf(parse(text))) {
    for (const [clientId, secret] of entriesOf(clients)) {
      if (typeof secret !== "string" || secret === "") throw malformed();
      secrets.set(JSON.stringify([issuer, clientId]), secret);
    }
  }
  return ({ issuer, clientId }) => secrets.get(JSON.stringify([issuer, clientId]));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw malformed();
  }
}

function entriesOf(value: unknown): readonly (readonly [string, unknown])[] {
  if (!isObject(value)) throw malformed();
  return Object.entries(value);
}

function malformed(): GatewayError {
  return new GatewayError("CONFIGURATION_INVALID", 'LOGIN_CLIENT_SECRETS must be {"<issuer>": {"<client id>": "<secret>"}}');
}
