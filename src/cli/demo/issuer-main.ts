/**
 * The demo's company login: a real OpenID Connect issuer (oidc-provider) with two people in it, as a program of its own. It ends when
 * whoever started it goes away. Its sign-in page takes any password: it is for the demo and listens on this machine only.
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { RequestListener } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";
import { demoPeople } from "./people.ts";

/** A working day. */
const tokenSeconds = 8 * 3600;

// The package has no types; this is the part of its interface that is used here.
const { default: OidcProvider } = createRequire(import.meta.url)("oidc-provider") as {
  default: new (issuer: string, configuration: object) => { readonly callback: () => RequestListener };
};

const { values } = parseArgs({
  options: {
    certificate: { type: "string" },
    key: { type: "string" },
    client: { type: "string", multiple: true },
    /** The gateway, whose pages sign people in too. */
    gateway: { type: "string" },
  },
});

process.stdin.on("end", () => process.exit(0)).resume();

const server = createServer({ cert: readFileSync(values.certificate ?? ""), key: readFileSync(values.key ?? "") });
server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo; // a TCP listener
  const url = `https://localhost:${port}`;
  server.on("request", new OidcProvider(url, configuration(values.client ?? [], values.gateway ?? "")).callback());
  process.stdout.write(`${JSON.stringify({ url })}\n`);
});

function configuration(clients: readonly string[], gateway: string): object {
  return {
    clients: clients.map((id) => ({
      client_id: id,
      token_endpoint_auth_method: "none",
      application_type: "web",
      redirect_uris: ["http://127.0.0.1/callback", `${gateway}/sign-in/callback`],
      post_logout_redirect_uris: [`${gateway}/signed-out`],
      response_types: ["code"],
      grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
    })),
    features: { deviceFlow: { enabled: true } },
    ttl: {
      IdToken: tokenSeconds,
      AccessToken: 600,
      RefreshToken: tokenSeconds,
      Session: tokenSeconds,
      Grant: tokenSeconds,
      Interaction: 600,
    },
    cookies: { keys: [crypto.randomUUID()] },
    conformIdTokenClaims: false,
    claims: { openid: ["sub", "groups"] },
    loadExistingGrant: grantWithoutAsking,
    findAccount: (_context: unknown, id: string) => {
      const person = demoPeople.find(({ name }) => name === id);
      return person === undefined ? undefined : { accountId: id, claims: () => ({ sub: id, groups: person.groups }) };
    },
  };
}

interface GrantContext {
  readonly oidc: {
    readonly client: { readonly clientId: string };
    readonly session: { readonly accountId: string; readonly grantIdFor: (clientId: string) => string | undefined };
    readonly provider: { readonly Grant: GrantClass };
  };
}

interface GrantClass {
  new (of: { readonly clientId: string; readonly accountId: string }): { addOIDCScope(scope: string): void; save(): Promise<string> };
  find(id: string): Promise<unknown>;
}

/** The company's own clients may know the company's own people: nobody is asked for consent. */
async function grantWithoutAsking({ oidc: { client, session, provider } }: GrantContext): Promise<unknown> {
  const known = session.grantIdFor(client.clientId);
  if (known !== undefined) return provider.Grant.find(known);
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope("openid");
  await grant.save();
  return grant;
}
