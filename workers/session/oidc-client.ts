/**
 * The gateway as an OpenID Connect client: authorization code with PKCE (RFC 6749, RFC 7636), state, nonce, the issuer's name in its answer
 * (RFC 9207), renewal by refresh token, and logout (OpenID Connect RP-Initiated Logout 1.0). oauth4webapi makes the requests and checks the
 * answers; every failure is a GatewayError that says what the person can do.
 */
import * as oauth from "oauth4webapi";
import { GatewayError } from "#core/errors.ts";
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { sessionLimits } from "./limits.ts";
import { hashSecret } from "./secret.ts";
import type { SignIn, SignInStart } from "./sign-in.ts";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface OidcClientOptions {
  readonly gatewayUrl: string;
  readonly fetch: Fetch;
  /** The secret of a client that has one. */
  readonly secretOf: (login: LoginConfiguration) => string | undefined;
  readonly clock: () => number;
}

/** A sign-in that can begin: what to keep, and where to send the browser. */
export interface Begun {
  readonly start: SignInStart;
  readonly state: string;
  readonly url: string;
}

export type BeginOptions = Pick<SignInStart, "returnTo" | "isSilent" | "next">;

export class OidcClient {
  readonly #options: OidcClientOptions;

  constructor(options: OidcClientOptions) {
    this.#options = options;
  }

  /** Plans a sign-in. @throws GatewayError ISSUER_UNREACHABLE, SIGN_IN_FAILED */
  async begin(login: LoginConfiguration, options: BeginOptions): Promise<Begun> {
    const server = await this.#discover(login);
    const endpoint = secureEndpoint(server.authorization_endpoint, login, "authorization_endpoint");
    const [state, nonce, codeVerifier] = [oauth.generateRandomState(), oauth.generateRandomNonce(), oauth.generateRandomCodeVerifier()];
    const redirectUri = await this.#redirectUri(server, login);
    const url = new URL(endpoint);
    const isOffline = login.scopes.includes("offline_access");
    const parameters = {
      client_id: login.clientId,
      response_type: "code",
      redirect_uri: redirectUri,
      scope: [...new Set(["openid", ...login.scopes])].join(" "),
      state,
      nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
      code_challenge_method: "S256",
      // OpenID Connect Core section 11: without consent, offline access is ignored.
      ...(options.isSilent ? { prompt: "none" } : isOffline ? { prompt: "consent" } : {}),
    };
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    return { start: { login, redirectUri, nonce, codeVerifier, ...options }, state, url: url.href };
  }

  /** Redeems the answer that the issuer sent with the browser to `callback`. @throws GatewayError SIGN_IN_FAILED, ISSUER_UNREACHABLE */
  async finish(start: SignInStart, state: string, callback: URL): Promise<SignIn> {
    const { login } = start;
    const server = await this.#discover(login);
    if (start.redirectUri !== (await this.#redirectUri(server, login)) || new URL(start.redirectUri).pathname !== callback.pathname)
      throw new GatewayError("SIGN_IN_FAILED", `the answer came to another address than the one that ${login.issuer} was given`);
    const client = { client_id: login.clientId };
    return this.#atIssuer(login, async () => {
      const parameters = oauth.validateAuthResponse(server, client, callback, state);
      const options = this.requestOptions();
      const authentication = this.#authentication(server, login);
      const { redirectUri, codeVerifier, nonce } = start;
      const response = await oauth.authorizationCodeGrantRequest(
        ...([server, client, authentication, parameters, redirectUri, codeVerifier, options] as const),
      );
      const answer = await oauth.processAuthorizationCodeResponse(server, client, response, {
        expectedNonce: nonce,
        requireIdToken: true,
      });
      await oauth.validateApplicationLevelSignature(server, response, options);
      return this.#toSignIn(login, answer, this.#options.clock());
    });
  }

  /**
   * Renews an ID token. undefined says that the issuer gave no new one for the same person, so that only a sign-in helps.
   * @throws GatewayError ISSUER_UNREACHABLE, when trying again may help
   */
  async renew(signIn: SignIn): Promise<SignIn | undefined> {
    const { login, refreshToken } = signIn;
    if (refreshToken === undefined) return undefined;
    try {
      const server = await this.#discover(login);
      const client = { client_id: login.clientId };
      return await this.#atIssuer(login, async () => {
        const options = this.requestOptions();
        const response = await oauth.refreshTokenGrantRequest(server, client, this.#authentication(server, login), refreshToken, options);
        const answer = await oauth.processRefreshTokenResponse(server, client, response);
        if (answer.id_token === undefined) return undefined;
        await oauth.validateApplicationLevelSignature(server, response, options);
        const answered = this.#toSignIn(login, answer, signIn.signedInAtMs);
        const renewed = { ...answered, refreshToken: answered.refreshToken ?? refreshToken };
        return renewed.subject === signIn.subject ? renewed : undefined; // OpenID Connect Core section 12.2
      });
    } catch (thrown) {
      if (thrown instanceof GatewayError && thrown.code === "SIGN_IN_FAILED") return undefined;
      throw thrown;
    }
  }

  /** Where the issuer ends its own session; undefined when it has no such place. The ID token is left out: no token stands in a URL. */
  async logoutUrl(login: LoginConfiguration): Promise<string | undefined> {
    const server = await this.#discover(login);
    if (server.end_session_endpoint === undefined) return undefined;
    const url = new URL(secureEndpoint(server.end_session_endpoint, login, "end_session_endpoint"));
    url.searchParams.set("client_id", login.clientId);
    url.searchParams.set("post_logout_redirect_uri", `${new URL(this.#options.gatewayUrl).origin}/signed-out`);
    return url.href;
  }

  async #discover(login: LoginConfiguration): Promise<oauth.AuthorizationServer> {
    const issuer = new URL(login.issuer);
    return this.#atIssuer(login, async () =>
      oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { ...this.requestOptions(), algorithm: "oidc" })),
    );
  }

  /**
   * Where the issuer sends the browser back. One that does not name itself in its answer gets an address of its own, so that an answer of
   * one issuer is never taken for another's (RFC 9700 section 4.4.2).
   */
  async #redirectUri(server: oauth.AuthorizationServer, login: LoginConfiguration): Promise<string> {
    const shared = `${new URL(this.#options.gatewayUrl).origin}/sign-in/callback`;
    if (server.authorization_response_iss_parameter_supported === true) return shared;
    return `${shared}/${(await hashSecret(login.issuer)).slice(0, 12)}`;
  }

  #authentication(server: oauth.AuthorizationServer, login: LoginConfiguration): oauth.ClientAuth {
    const secret = this.#options.secretOf(login);
    if (secret === undefined) return oauth.None();
    const methods = server.token_endpoint_auth_methods_supported ?? ["client_secret_basic"];
    return methods.includes("client_secret_basic") ? oauth.ClientSecretBasic(secret) : oauth.ClientSecretPost(secret);
  }

  #toSignIn(login: LoginConfiguration, answer: oauth.TokenEndpointResponse, signedInAtMs: number): SignIn {
    const claims = oauth.getValidatedIdTokenClaims(answer);
    if (claims === undefined || claims.sub === "" || answer.id_token === undefined)
      throw new GatewayError("SIGN_IN_FAILED", `${login.issuer} gave no ID token with a subject`);
    const { id_token: idToken, refresh_token: refreshToken } = answer;
    return { login, idToken, refreshToken, subject: claims.sub, expiresAtMs: claims.exp * 1000, signedInAtMs };
  }

  /** What every request to an issuer carries: it ends in time, and its answer is small. */
  requestOptions() {
    return {
      [oauth.customFetch]: (url: string, init: oauth.CustomFetchOptions<string, URLSearchParams | undefined>) => {
        const { body, ...rest } = init;
        return bounded(this.#options.fetch(url, { ...rest, ...(body !== undefined && { body }) }));
      },
      signal: () => AbortSignal.timeout(sessionLimits.issuerRequestMs),
    };
  }

  async #atIssuer<Value>(login: LoginConfiguration, step: () => Promise<Value>): Promise<Value> {
    try {
      return await step();
    } catch (thrown) {
      throw toFailure(login, thrown);
    }
  }
}

/** The whole answer, at most as long as answers are. */
async function bounded(answer: Promise<Response>): Promise<Response> {
  const response = await answer;
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > sessionLimits.maxIssuerBytes) throw new TypeError(`the answer is larger than ${sessionLimits.maxIssuerBytes} bytes`);
    parts.push(part);
  }
  const whole = new Blob(parts);
  return new Response(response.status === 204 ? null : whole, { status: response.status, headers: response.headers });
}

function secureEndpoint(endpoint: string | undefined, login: LoginConfiguration, name: string): string {
  if (endpoint !== undefined && URL.parse(endpoint)?.protocol === "https:") return endpoint;
  throw new GatewayError("SIGN_IN_FAILED", `${login.issuer} names no ${name} that is an https URL`);
}

function toFailure(login: LoginConfiguration, thrown: unknown): GatewayError {
  const options = { cause: thrown };
  if (thrown instanceof GatewayError) return thrown;
  if (thrown instanceof oauth.ResponseBodyError || thrown instanceof oauth.AuthorizationResponseError) {
    const detail = thrown.error_description === undefined ? "" : `: ${thrown.error_description.slice(0, 200)}`;
    return new GatewayError("SIGN_IN_FAILED", `${login.issuer} refused the sign-in (${thrown.error.slice(0, 60)})${detail}`, options);
  }
  if (thrown instanceof oauth.WWWAuthenticateChallengeError)
    return new GatewayError(
      "SIGN_IN_FAILED",
      `${login.issuer} refused the gateway itself as its client ${login.clientId}: the client, or its secret, is not what the issuer knows`,
      options,
    );
  if (thrown instanceof oauth.OperationProcessingError || thrown instanceof oauth.UnsupportedOperationError)
    return new GatewayError("SIGN_IN_FAILED", `the answer of ${login.issuer} is not to be trusted: ${thrown.message}`, options);
  return new GatewayError("ISSUER_UNREACHABLE", `${login.issuer} cannot be reached from the gateway`, options);
}
