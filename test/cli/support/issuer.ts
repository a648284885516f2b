/** A real OpenID Connect issuer (oidc-provider) on loopback, and a browser without a screen that signs in at it. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, RequestListener } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";

export interface Issuer {
  readonly url: string;
  /** How often the token endpoint was asked for a grant of this type. */
  readonly count: (grantType: string) => number;
  readonly close: () => Promise<void>;
}

export interface IssuerOptions {
  /** Life of an ID token in seconds. */
  readonly idTokenSeconds?: number;
  readonly hasDeviceFlow?: boolean;
}

interface Provider {
  readonly callback: () => RequestListener;
}

// The package has no types; this is the part of its interface that is used here.
const { default: OidcProvider } = createRequire(import.meta.url)("oidc-provider") as {
  default: new (issuer: string, configuration: object) => Provider;
};

export async function startIssuer(options: IssuerOptions = {}): Promise<Issuer> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`; // a TCP listener
  const grants: string[] = [];
  const callback = new OidcProvider(url, configuration(options)).callback();
  server.on("request", (request: IncomingMessage, response) => {
    if (request.url === "/token") watchGrant(request, grants);
    callback(request, response);
  });
  return {
    url,
    count: (grantType) => grants.filter((grant) => grant === grantType).length,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function configuration({ idTokenSeconds = 600, hasDeviceFlow = true }: IssuerOptions): object {
  const device = "urn:ietf:params:oauth:grant-type:device_code";
  const client = (id: string): object => ({
    client_id: id,
    token_endpoint_auth_method: "none",
    application_type: "native",
    redirect_uris: ["http://127.0.0.1/callback"],
    response_types: ["code"],
    grant_types: ["authorization_code", "refresh_token", ...(hasDeviceFlow ? [device] : [])],
  });
  return {
    clients: [client("prod-audience"), client("gateway-audience")],
    features: { deviceFlow: { enabled: hasDeviceFlow }, revocation: { enabled: true } },
    ttl: { IdToken: idTokenSeconds, AccessToken: 600, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600, DeviceCode: 600 },
    cookies: { keys: ["test"] },
    // The renewed ID token carries the same claims as the first.
    conformIdTokenClaims: false,
    claims: { openid: ["sub", "email"] },
    findAccount: (_: unknown, id: string) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@example.com` }) }),
  };
}

function watchGrant(request: IncomingMessage, grants: string[]): void {
  const emit = request.emit.bind(request);
  const chunks: Buffer[] = [];
  request.emit = (event: string | symbol, ...args: unknown[]): boolean => {
    if (event === "data" && args[0] instanceof Buffer) chunks.push(args[0]);
    if (event === "end") grants.push(new URLSearchParams(Buffer.concat(chunks).toString()).get("grant_type") ?? "");
    return emit(event, ...args);
  };
}

/** Opens the address, fills in every form it meets as `user`, and follows redirects until a page has no form. Answers its text. */
export async function signInWithBrowser(address: string, user: string): Promise<string> {
  const cookies = new Map<string, string>();
  let page = await browse(new URL(address), undefined, cookies);
  while (page.form !== undefined) {
    const body = new URLSearchParams({
      ...page.form.fields,
      ...(page.form.fields["prompt"] === "login" ? { login: user, password: "any" } : {}),
    });
    page = await browse(page.form.action, body, cookies);
  }
  return page.text;
}

interface Page {
  readonly text: string;
  readonly form: { readonly action: URL; readonly fields: Readonly<Record<string, string>> } | undefined;
}

async function browse(start: URL, body: URLSearchParams | undefined, cookies: Map<string, string>): Promise<Page> {
  let url = start;
  let sent = body;
  for (;;) {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await fetch(url, {
      redirect: "manual",
      headers: { cookie },
      ...(sent === undefined ? {} : { method: "POST", body: sent }),
    });
    for (const line of response.headers.getSetCookie()) keepCookie(line, cookies);
    const location = response.headers.get("location");
    if (location === null) return toPage(url, await response.text());
    await response.body?.cancel();
    url = new URL(location, url);
    sent = undefined;
  }
}

function keepCookie(line: string, cookies: Map<string, string>): void {
  const [pair = ""] = line.split(";");
  const [name, value] = [pair.slice(0, pair.indexOf("=")), pair.slice(pair.indexOf("=") + 1)];
  if (value === "") cookies.delete(name);
  else cookies.set(name, value);
}

function toPage(url: URL, text: string): Page {
  const action = /<form[^>]*action="([^"]+)"/.exec(text)?.[1];
  if (action === undefined) return { text, form: undefined };
  const fields = [...text.matchAll(/<input[^>]*>/g)].map(([input]) => [attribute(input, "name"), attribute(input, "value")] as const);
  const confirm = text.includes("op.deviceConfirmForm") ? { confirm: "yes" } : {};
  return {
    text,
    form: { action: new URL(action, url), fields: { ...Object.fromEntries(fields.filter(([name]) => name !== "")), ...confirm } },
  };
}

function attribute(input: string, name: string): string {
  return new RegExp(`\\b${name}="([^"]*)"`).exec(input)?.[1] ?? "";
}
