/** A real OpenID Connect issuer (oidc-provider) over TLS, as a company has one. */
import { once } from "node:events";
import { createServer } from "node:https";
import type { IncomingMessage, RequestListener } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import type { Authority } from "#cli/workerd/certificates.ts";

export interface OidcIssuer {
  readonly url: string;
  /** Requests that came, as `METHOD path`. */
  readonly requests: string[];
  stop(): Promise<void>;
}

export interface OidcClient {
  readonly id: string;
  readonly secret?: string;
}

export interface OidcIssuerOptions {
  readonly authority: Authority;
  /** Where clients may send people back to, and after they have signed out. */
  readonly gatewayUrl: string;
  readonly clients: readonly OidcClient[];
  readonly idTokenSeconds?: number;
  /** Whether people are asked if a client may know them. */
  readonly asksConsent?: boolean;
  /** Claims of a person beside the subject. */
  readonly claimsOf?: (person: string) => Readonly<Record<string, unknown>>;
}

interface GrantContext {
  readonly oidc: {
    readonly client: { readonly clientId: string };
    readonly session: { readonly accountId: string; readonly grantIdFor: (clientId: string) => string | undefined };
    readonly result?: { readonly consent?: { readonly grantId?: string } };
    readonly provider: { readonly Grant: GrantClass };
  };
}

interface GrantClass {
  new (of: { clientId: string; accountId: string }): { addOIDCScope(scope: string): void; save(): Promise<string> };
  find(id: string): Promise<unknown>;
}

// The package has no types; this is the part of its interface that is used here.
const { default: OidcProvider } = createRequire(import.meta.url)("oidc-provider") as {
  default: new (issuer: string, configuration: object) => { readonly callback: () => RequestListener };
};

export async function startOidcIssuer(options: OidcIssuerOptions): Promise<OidcIssuer> {
  const { certificate, key } = await options.authority.issue(["localhost", "127.0.0.1"]);
  const server = createServer({ cert: certificate, key });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `https://localhost:${(server.address() as AddressInfo).port}`; // a TCP listener
  const callback = new OidcProvider(url, configuration(options)).callback();
  const requests: string[] = [];
  server.on("request", (request: IncomingMessage, response) => {
    requests.push(`${request.method} ${(request.url ?? "").split("?")[0]}`);
    callback(request, response);
  });
  return {
    url,
    requests,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function configuration(options: OidcIssuerOptions): object {
  const { gatewayUrl, clients, idTokenSeconds = 600, asksConsent = false, claimsOf = () => ({}) } = options;
  const life = 3600;
  return {
    clients: clients.map(({ id, secret }) => ({
      client_id: id,
      ...(secret === undefined ? { token_endpoint_auth_method: "none" } : { client_secret: secret }),
      application_type: "web",
      redirect_uris: [`${gatewayUrl}/sign-in/callback`],
      post_logout_redirect_uris: [`${gatewayUrl}/signed-out`],
      response_types: ["code"],
      grant_types: ["authorization_code", "refresh_token"],
    })),
    ttl: { IdToken: idTokenSeconds, AccessToken: 600, RefreshToken: life, Session: life, Grant: life, Interaction: 600 },
    cookies: { keys: [crypto.randomUUID()] },
    conformIdTokenClaims: false,
    scopes: ["openid", "offline_access"],
    claims: { openid: ["sub", "groups", "email"] },
    issueRefreshToken: () => true,
    ...(!asksConsent && { loadExistingGrant: grantWithoutAsking }),
    findAccount: (_context: unknown, id: string) => ({ accountId: id, claims: () => ({ sub: id, ...claimsOf(id) }) }),
  };
}

async function grantWithoutAsking({ oidc }: GrantContext): Promise<unknown> {
  const { client, session, provider } = oidc;
  const known = oidc.result?.consent?.grantId ?? session.grantIdFor(client.clientId);
  if (known !== undefined) return provider.Grant.find(known);
  const grant = new provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope("openid offline_access");
  await grant.save();
  return grant;
}
