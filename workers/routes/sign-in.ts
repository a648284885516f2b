/** Signing in with a browser: the choice, the way to the issuer, and the way back. */
import { GatewayError, toGatewayError } from "#core/errors.ts";
import { parseClusterName } from "#core/brand.ts";
import type { LoginConfiguration } from "#core/gateway-api.ts";
import { parseAdminLogin } from "#workers/auth/admin-door.ts";
import { clientAddress } from "#workers/gateway.ts";
import type { Gateway } from "#workers/gateway.ts";
import { registryOf } from "#workers/hub/stubs.ts";
import { pageResponse, redirect } from "#workers/pages/page.ts";
import { leavingPage, signInPage } from "#workers/pages/sign-in-page.ts";
import { readClientSecrets } from "#workers/session/client-secrets.ts";
import { readCookie, setCookie } from "#workers/session/cookies.ts";
import { sessionLimits } from "#workers/session/limits.ts";
import { isUsable, listIssuers, listLogins, listSiblings } from "#workers/session/logins.ts";
import { OidcClient } from "#workers/session/oidc-client.ts";
import type { BeginOptions } from "#workers/session/oidc-client.ts";
import { parseReturnPath } from "#workers/session/return-path.ts";
import { createSecret, formToken, isSecret } from "#workers/session/secret.ts";
import { toPerson, withSignIn } from "#workers/session/sign-in.ts";
import type { SignIn, SignInStart } from "#workers/session/sign-in.ts";
import { sessionsOf } from "#workers/session/stub.ts";
import { readForm } from "./browser-request.ts";

/** The mark of a browser that may begin a sign-in: the one that it has, or a new one. */
export async function markBrowser(request: Request): Promise<{ readonly mark: string; readonly token: string; readonly cookie: string }> {
  const mark = readCookie(request.headers, "start") ?? createSecret();
  return { mark, token: await formToken(mark), cookie: setCookie("start", mark, sessionLimits.absoluteMs) };
}

/** `GET /sign-in`: which issuer, or which cluster. */
export async function chooseSignIn(request: Request, gateway: Gateway): Promise<Response> {
  const query = new URL(request.url).searchParams;
  const browser = await markBrowser(request);
  const issuers = listIssuers(await readLogins(gateway));
  const cluster = parseClusterName(query.get("cluster") ?? "");
  const returnTo = parseReturnPath(query.get("return_to") ?? undefined, gateway.env.GATEWAY_URL);
  return pageResponse({ ...signInPage({ formToken: browser.token, returnTo, issuers, cluster }), cookies: [browser.cookie] });
}

/** `POST /sign-in`: goes to the issuer. */
export async function beginSignIn(request: Request, gateway: Gateway): Promise<Response> {
  const mark = readCookie(request.headers, "start");
  const form = await readForm(request, gateway.env.GATEWAY_URL, mark);
  if (mark === undefined) throw new GatewayError("FORM_REFUSED", "the browser sent no cookie of this gateway with the form");
  const logins = await readLogins(gateway);
  const login = await chooseLogin(form, logins, gateway);
  const returnTo = parseReturnPath(form.get("return_to") ?? undefined, gateway.env.GATEWAY_URL);
  const url = await begin(gateway, mark, login, { returnTo, isSilent: false, next: listSiblings(logins, login) });
  return pageResponse(leavingPage(login.issuer, url, "sign-in", [setCookie("start", mark, sessionLimits.absoluteMs)]));
}

/** `GET /sign-in/callback`: the issuer has sent the browser back. */
export async function finishSignIn(request: Request, gateway: Gateway): Promise<Response> {
  const url = new URL(request.url);
  const mark = readCookie(request.headers, "start");
  const [state = "", ...others] = url.searchParams.getAll("state");
  if (others.length > 0 || !isSecret(state)) throw new GatewayError("SIGN_IN_FAILED", "the answer belongs to no sign-in that began here");
  const start = await (await sessionsOf(gateway.env, state)).take(state, mark ?? "");
  if (start === undefined || mark === undefined)
    throw new GatewayError(
      "SIGN_IN_FAILED",
      "this answer was used already, came too late, or belongs to a sign-in that another browser began",
    );
  const signIn = await redeem(gateway, start, state, url);
  const cookies = signIn === undefined ? [] : [await openSession(request, gateway, signIn, start.isSilent)];
  return redirect((await beginNext(gateway, mark, start)) ?? start.returnTo, cookies);
}

/** The client that a form names, by issuer or by cluster. @throws GatewayError CLUSTER_UNKNOWN, SIGN_IN_UNAVAILABLE */
async function chooseLogin(form: URLSearchParams, logins: readonly LoginConfiguration[], gateway: Gateway): Promise<LoginConfiguration> {
  const named = form.get("cluster");
  if (named === null) {
    const login = logins.find(({ issuer }) => issuer === form.get("issuer"));
    if (login !== undefined) return login;
    throw new GatewayError("SIGN_IN_UNAVAILABLE", "this gateway has no sign-in with the issuer that was chosen");
  }
  const name = parseClusterName(named.trim().toLowerCase());
  const record = name === undefined ? undefined : await registryOf(gateway.env).get(name);
  if (record === undefined) throw new GatewayError("CLUSTER_UNKNOWN", "no cluster of this name is registered here");
  const { login } = record.registration;
  if (login !== undefined && isUsable(login)) return login;
  throw new GatewayError("SIGN_IN_UNAVAILABLE", "this cluster was registered without a sign-in for browsers");
}

async function readLogins(gateway: Gateway): Promise<readonly LoginConfiguration[]> {
  const admin = parseAdminLogin(gateway.env);
  return listLogins(await registryOf(gateway.env).list(), admin?.type === "parsed" ? admin.value : undefined);
}

export function oidcClientOf({ env, fetch }: Gateway): OidcClient {
  return new OidcClient({ gatewayUrl: env.GATEWAY_URL, fetch, secretOf: readClientSecrets(env), clock: () => Date.now() });
}

/** Keeps a sign-in under way; where the browser is to go. */
async function begin(gateway: Gateway, mark: string, login: LoginConfiguration, options: BeginOptions): Promise<string> {
  const { start, state, url } = await oidcClientOf(gateway).begin(login, options);
  await (await sessionsOf(gateway.env, state)).begin(state, mark, start);
  return url;
}

/** Asks for the next client of the same issuer, without a question; undefined when there is none that can be asked. */
async function beginNext(gateway: Gateway, mark: string, start: SignInStart): Promise<string | undefined> {
  const [login, ...next] = start.next;
  if (login === undefined) return undefined;
  try {
    return await begin(gateway, mark, login, { returnTo: start.returnTo, isSilent: true, next });
  } catch {
    return undefined; // nobody asked for it: the person has what was asked for
  }
}

/** What the answer gives; undefined when the issuer would have had to ask and was told not to. */
async function redeem(gateway: Gateway, start: SignInStart, state: string, url: URL): Promise<SignIn | undefined> {
  try {
    return await oidcClientOf(gateway).finish(start, state, url);
  } catch (thrown) {
    if (start.isSilent) return undefined;
    note({ event: "sign-in-failed", issuer: start.login.issuer, message: toGatewayError(thrown).message });
    throw thrown;
  }
}

/** Makes the session anew, under a new secret: an id from before a sign-in is worth nothing after it. Answers its cookie. */
async function openSession(request: Request, gateway: Gateway, signIn: SignIn, isSilent: boolean): Promise<string> {
  const before = readCookie(request.headers, "session");
  const old = before === undefined ? undefined : await (await sessionsOf(gateway.env, before)).end(before);
  const signIns = withSignIn(old?.signIns ?? [], signIn, isSilent);
  const secret = createSecret();
  const createdAtMs = old !== undefined && signIns.length > 1 ? old.createdAtMs : signIn.signedInAtMs;
  await (await sessionsOf(gateway.env, secret)).create(secret, signIns, createdAtMs);
  note({ event: "signed-in", ...toPerson(signIn), client: signIn.login.clientId, address: clientAddress(gateway.env, request.headers) });
  return setCookie("session", secret, createdAtMs + sessionLimits.absoluteMs - signIn.signedInAtMs);
}

/** A line in the gateway's log: who came, and who did not, and why. */
function note(line: Readonly<Record<string, string>>): void {
  console.log(JSON.stringify(line));
}
