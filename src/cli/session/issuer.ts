/** The login's issuer: discovery, and what a sign-in at it gives (OpenID Connect Discovery 1.0, oauth4webapi does the checks). */
import * as oauth from "oauth4webapi";
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { CommandError } from "#cli/output/failure.ts";
import { networkDetail } from "./bounded-fetch.ts";
import type { Fetch } from "./bounded-fetch.ts";
import { isLoopbackHost } from "./gateway-url.ts";
import { decodeTokenClaims } from "./token-claims.ts";
import type { Renewal } from "./token-store.ts";

/** An issuer that has been found, and the public client to use there. */
export interface Issuer {
  readonly server: oauth.AuthorizationServer;
  readonly client: oauth.Client;
  readonly scope: string;
  readonly options: IssuerRequestOptions;
}

/** What every request to the issuer carries; plain http is let through for this machine itself only. */
export interface IssuerRequestOptions {
  readonly [oauth.allowInsecureRequests]: boolean;
  readonly [oauth.customFetch]: (url: string, init: IssuerFetchInit) => Promise<Response>;
  readonly signal: () => AbortSignal;
}

type IssuerFetchInit = oauth.CustomFetchOptions<string, URLSearchParams | undefined>;

/** What a finished sign-in gives. */
export interface SignIn {
  readonly idToken: string;
  readonly expiresAtMs: number | undefined;
  readonly renewal: Renewal | undefined;
}

/** One request to an issuer; a person waits for it. */
const requestTimeoutMs = 20_000;

export interface IssuerRequest {
  readonly configuration: LoginConfiguration;
  readonly fetch: Fetch;
  readonly signal: AbortSignal;
}

export async function discoverIssuer({ configuration, fetch, signal }: IssuerRequest): Promise<Issuer> {
  const url = new URL(configuration.issuer);
  const options: IssuerRequestOptions = {
    [oauth.allowInsecureRequests]: isLoopbackHost(url.hostname),
    [oauth.customFetch]: (address, { body, ...init }) => fetch(address, body === undefined ? init : { ...init, body }),
    signal: () => AbortSignal.any([signal, AbortSignal.timeout(requestTimeoutMs)]),
  };
  const server = await atIssuer(configuration.issuer, async () =>
    oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { ...options, algorithm: "oidc" })),
  );
  return { server, client: { client_id: configuration.clientId }, scope: configuration.scopes.join(" "), options };
}

/** What is kept of a token answer; an answer without an ID token is no sign-in. */
export function toSignIn(issuer: Issuer, answer: oauth.TokenEndpointResponse): SignIn {
  const idToken = answer.id_token;
  const tokenEndpoint = issuer.server.token_endpoint;
  if (idToken === undefined)
    throw new CommandError({
      code: "LOGIN_FAILED",
      title: "The issuer gave no ID token",
      cause: "The login's scopes must include `openid`.",
    });
  const renewal =
    answer.refresh_token === undefined || tokenEndpoint === undefined
      ? undefined
      : { issuer: issuer.server.issuer, clientId: issuer.client.client_id, tokenEndpoint, refreshToken: answer.refresh_token };
  return { idToken, expiresAtMs: decodeTokenClaims(idToken)?.expiresAtMs, renewal };
}

/** Runs a step at the issuer and turns its failures into ours. */
export async function atIssuer<Value>(issuer: string, step: () => Promise<Value>): Promise<Value> {
  try {
    return await step();
  } catch (thrown) {
    throw toLoginError(issuer, thrown);
  }
}

function toLoginError(issuer: string, thrown: unknown): unknown {
  if (thrown instanceof CommandError) return thrown;
  if (thrown instanceof oauth.ResponseBodyError || thrown instanceof oauth.AuthorizationResponseError) {
    const title =
      thrown.error === "access_denied" ? "The sign-in was refused" : `The issuer ${issuer} refused the sign-in (${thrown.error})`;
    const cause = thrown.error_description;
    return new CommandError({ code: "LOGIN_FAILED", title, ...(cause === undefined ? {} : { cause }) }, { cause: thrown });
  }
  if (thrown instanceof oauth.OperationProcessingError || thrown instanceof oauth.UnsupportedOperationError)
    return new CommandError(
      { code: "LOGIN_FAILED", title: `The issuer ${issuer} answered with something else than expected`, cause: thrown.message },
      { cause: thrown },
    );
  return new CommandError(
    { code: "ISSUER_UNREACHABLE", title: `Can't reach the issuer ${issuer}`, cause: networkDetail(thrown) },
    { cause: thrown },
  );
}

/** Asks the issuer to end a refresh token; answers whether it did, or offers no such request (then there is nothing to ask). */
export async function revokeRenewal(renewal: Renewal, request: Omit<IssuerRequest, "configuration">): Promise<boolean> {
  try {
    const configuration = { issuer: renewal.issuer, clientId: renewal.clientId, scopes: [] };
    const { server, client, options } = await discoverIssuer({ ...request, configuration });
    if (server.revocation_endpoint === undefined) return true;
    await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, oauth.None(), renewal.refreshToken, options));
    return true;
  } catch {
    return false; // the issuer cannot be reached or refuses: the caller tells it, and the session is gone from here anyway
  }
}
