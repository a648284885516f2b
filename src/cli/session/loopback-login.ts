/** Signing in with this machine's browser: authorization code with PKCE and a listener on the loopback interface (RFC 8252, RFC 7636). */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import * as oauth from "oauth4webapi";
import { CommandError, usageError } from "#cli/output/failure.ts";
import { isLoopbackHost } from "./gateway-url.ts";
import { atIssuer, toSignIn } from "./issuer.ts";
import type { Issuer, SignIn } from "./issuer.ts";

export interface LoopbackLogin {
  readonly issuer: Issuer;
  /** Where the issuer sends the browser back; port 0 takes any free one, which RFC 8252 section 7.3 asks issuers to allow. */
  readonly redirectUri: string;
  /** Shows the address to the person, and opens it. */
  readonly show: (url: string) => void;
  /** Ends the waiting. */
  readonly signal: AbortSignal;
}

export const defaultRedirectUri = "http://127.0.0.1:0/callback";

/** How long a person has; as long as device codes usually live. */
export const loginTimeoutMs = 10 * 60_000;

/** Parses a redirect URI; undefined unless it is plain http to this machine itself. */
export function parseRedirectUri(text: string): URL | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  return url.protocol === "http:" && isLoopbackHost(url.hostname) && url.search === "" && url.hash === "" ? url : undefined;
}

export async function signInByLoopback(login: LoopbackLogin): Promise<SignIn> {
  const redirect = parseRedirectUri(login.redirectUri);
  if (redirect === undefined) throw usageError(`The redirect address ${login.redirectUri} must be http on localhost, 127.0.0.1 or [::1]`);
  const server = createServer();
  try {
    await listen(server, redirect);
    return await runFlow(login, redirect, server);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

async function runFlow(login: LoopbackLogin, redirect: URL, listener: Server): Promise<SignIn> {
  const { server, client, options } = login.issuer;
  const codeVerifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const nonce = oauth.generateRandomNonce();
  const address = await authorizationUrl(login.issuer, { redirect, codeVerifier, state, nonce });
  const callback = waitForCallback({ listener, path: redirect.pathname, state, signal: login.signal });
  login.show(address);
  const { url, answer } = await callback;
  try {
    const tokens = await atIssuer(server.issuer, async () => {
      const parameters = oauth.validateAuthResponse(server, client, url, state);
      const response = await oauth.authorizationCodeGrantRequest(
        server,
        client,
        oauth.None(),
        parameters,
        redirect.href,
        codeVerifier,
        options,
      );
      return oauth.processAuthorizationCodeResponse(server, client, response, { expectedNonce: nonce, requireIdToken: true });
    });
    const signIn = toSignIn(login.issuer, tokens);
    answer(200, "Signed in. You can close this window.");
    return signIn;
  } catch (thrown) {
    answer(400, "The sign-in failed. The terminal says why.");
    throw thrown;
  }
}

interface Secrets {
  readonly redirect: URL;
  readonly codeVerifier: string;
  readonly state: string;
  readonly nonce: string;
}

async function authorizationUrl(issuer: Issuer, secrets: Secrets): Promise<string> {
  const endpoint = issuer.server.authorization_endpoint;
  if (endpoint === undefined || !/^https?:/.test(endpoint))
    throw new CommandError({
      code: "LOGIN_FAILED",
      title: `The issuer ${issuer.server.issuer} has no browser login`,
      next: ["sallyport login --device"],
    });
  const url = new URL(endpoint);
  const parameters = {
    client_id: issuer.client.client_id,
    response_type: "code",
    redirect_uri: secrets.redirect.href,
    scope: issuer.scope,
    state: secrets.state,
    nonce: secrets.nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(secrets.codeVerifier),
    code_challenge_method: "S256",
    // OpenID Connect Core section 11: without consent, offline access is ignored.
    ...(issuer.scope.split(" ").includes("offline_access") ? { prompt: "consent" } : {}),
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url.href;
}

interface Callback {
  readonly url: URL;
  /** Answers the waiting browser. */
  readonly answer: (status: number, text: string) => void;
}

interface CallbackWait {
  readonly listener: Server;
  readonly path: string;
  readonly state: string;
  readonly signal: AbortSignal;
}

/** Waits for the one request that carries our state; a page that guesses the port gets an error and ends nothing. */
async function waitForCallback({ listener, path, state, signal }: CallbackWait): Promise<Callback> {
  return new Promise((resolve, reject) => {
    const isLate = (): boolean => signal.reason instanceof DOMException && signal.reason.name === "TimeoutError";
    const abort = (): void =>
      reject(
        new CommandError(
          isLate() ? { code: "LOGIN_FAILED", title: "Nobody signed in in time" } : { code: "CANCELLED", title: "Interrupted" },
        ),
      );
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    listener.on("request", (request: IncomingMessage, response: ServerResponse) => {
      const url = new URL(request.url ?? "/", "http://localhost");
      const answer = (status: number, text: string): void => answerPage(response, status, text);
      if (request.method !== "GET" || url.pathname !== path) answer(404, "There is nothing here.");
      else if (url.searchParams.get("state") !== state) answer(400, "This answer belongs to another sign-in.");
      else resolve({ url, answer });
    });
  });
}

function answerPage(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'",
    "referrer-policy": "no-referrer",
    connection: "close",
  });
  response.end(`${text}\n`);
}

async function listen(server: Server, redirect: URL): Promise<void> {
  const host = redirect.hostname === "localhost" ? "127.0.0.1" : redirect.hostname.replaceAll(/[[\]]/g, "");
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(redirect.port === "" ? 80 : Number(redirect.port), host, resolve);
  });
  redirect.port = String(toAddress(server).port);
}

function toAddress(server: Server): AddressInfo {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the listener has no port");
  return address;
}
