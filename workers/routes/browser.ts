/** The pages for browsers. A cookie is a credential here and nowhere else: clusters' APIs, the tunnel and /gateway/v1 never look at one. */
import { Hono } from "hono";
import { GatewayError, toGatewayError, withReference } from "#core/errors.ts";
import type { Gateway } from "#workers/gateway.ts";
import { failurePage } from "#workers/pages/failure-page.ts";
import { homePage } from "#workers/pages/home-page.ts";
import { kubeconfigsPage } from "#workers/pages/kubeconfigs-page.ts";
import { pageResponse, redirect } from "#workers/pages/page.ts";
import { sessionPage } from "#workers/pages/session-page.ts";
import { leavingPage, signedOutPage } from "#workers/pages/sign-in-page.ts";
import { icon, stylesheet } from "#workers/pages/style.ts";
import { clearCookie, readCookie } from "#workers/session/cookies.ts";
import { assertSignInConfigured } from "#workers/session/configuration.ts";
import { sessionLimits } from "#workers/session/limits.ts";
import { listIssuers } from "#workers/session/logins.ts";
import { formToken } from "#workers/session/secret.ts";
import { peopleOf } from "#workers/session/sign-in.ts";
import type { Session } from "#workers/session/sign-in.ts";
import { endNamedSession, listSessions, sessionsOf } from "#workers/session/stub.ts";
import { assertOwnHost, readForm } from "./browser-request.ts";
import { downloadKubeconfig, listKubeconfigs, revokeAllKubeconfigs, revokeKubeconfig } from "./kubeconfigs.ts";
import { listReachable } from "./reachable-clusters.ts";
import { beginSignIn, chooseSignIn, finishSignIn, markBrowser, oidcClientOf } from "./sign-in.ts";

/** How long browsers keep the stylesheet and the icon. */
const assetHeaders = {
  "cache-control": "public, max-age=300",
  "x-content-type-options": "nosniff",
  "cross-origin-resource-policy": "same-origin",
};

/** Whether a request is for a page. With a credential it is none of a browser's, such as kubectl's `get --raw /` that lost its cluster. */
export function isForBrowser(request: Request, url: URL): boolean {
  const isPage = /^\/(?:$|session(?:$|\/)|kubeconfigs(?:$|\/)|sign-in(?:$|\/callback(?:$|\/))|sign-out$|signed-out$|assets\/)/.test(
    url.pathname,
  );
  const wantsPage = isPage || (request.headers.get("accept") ?? "").includes("text/html");
  return wantsPage && !request.headers.has("authorization") && !/^\/(?:healthz$|tunnel\/|gateway\/|issuer\/)/.test(url.pathname);
}

export const browserRoutes = new Hono<{ readonly Bindings: { gateway: Gateway } }>()
  .get("/assets/page.css", () => new Response(stylesheet, { headers: { "content-type": "text/css; charset=utf-8", ...assetHeaders } }))
  .get("/assets/icon.svg", () => new Response(icon, { headers: { "content-type": "image/svg+xml", ...assetHeaders } }))
  .use(async (context, next) => {
    const { env } = context.env.gateway;
    assertOwnHost(context.req.raw, env.GATEWAY_URL);
    await assertSignInConfigured(env);
    await next();
  })
  .get("/", async (context) => home(context.req.raw, context.env.gateway))
  .get("/session", async (context) => {
    const signedIn = await findSession(context.req.raw, context.env.gateway);
    if (signedIn === undefined) return redirect("/sign-in?return_to=/session", [clearCookie("session")]);
    const { session, formToken: token } = signedIn;
    const all = await listSessions(context.env.gateway.env, peopleOf(session));
    const others = all.filter(({ name }) => name !== session.name);
    return pageResponse(sessionPage({ session, others, idleMs: sessionLimits.idleMs, signedIn: { path: "/session", formToken: token } }));
  })
  .get("/sign-in", async (context) => chooseSignIn(context.req.raw, context.env.gateway))
  .post("/sign-in", async (context) => beginSignIn(context.req.raw, context.env.gateway))
  .get("/sign-in/callback/:issuer?", async (context) => {
    if (context.req.raw.method !== "GET") throw new GatewayError("METHOD_NOT_ALLOWED", "an answer of an issuer comes by GET");
    return finishSignIn(context.req.raw, context.env.gateway);
  })
  .get("/kubeconfigs", async (context) => {
    const signedIn = await findSession(context.req.raw, context.env.gateway);
    if (signedIn === undefined) return redirect("/sign-in?return_to=/kubeconfigs", [clearCookie("session")]);
    const rows = await listKubeconfigs(context.env.gateway, signedIn.session);
    return pageResponse(kubeconfigsPage(rows, { path: "/kubeconfigs", formToken: signedIn.formToken }));
  })
  .post("/session/end", async (context) => {
    const { session, form } = await readSessionForm(context.req.raw, context.env.gateway);
    const isEnded = await endNamedSession(context.env.gateway.env, form.get("name") ?? "", peopleOf(session));
    if (!isEnded) throw new GatewayError("NOT_FOUND", "you have no such session (any more)");
    return redirect("/session");
  })
  .post("/session/end-all", async (context) => {
    const { gateway } = context.env;
    const { session } = await readSessionForm(context.req.raw, gateway);
    const people = peopleOf(session);
    await revokeAllKubeconfigs(gateway, session);
    for (const { name } of await listSessions(gateway.env, people)) await endNamedSession(gateway.env, name, people);
    return redirect("/signed-out", [clearCookie("session")]);
  })
  .post("/kubeconfigs", async (context) => {
    const { session, form } = await readSessionForm(context.req.raw, context.env.gateway);
    return downloadKubeconfig(context.env.gateway, session, form.get("cluster") ?? "");
  })
  .post("/kubeconfigs/revoke", async (context) => {
    const { session, form } = await readSessionForm(context.req.raw, context.env.gateway);
    await revokeKubeconfig(context.env.gateway, session, form.get("id") ?? "");
    return redirect("/kubeconfigs");
  })
  .post("/sign-out", async (context) => signOut(context.req.raw, context.env.gateway))
  .get("/signed-out", () => pageResponse(signedOutPage([])))
  .notFound((context) => pageResponse(failurePage(new GatewayError("NOT_FOUND", `this gateway has no page ${context.req.path}`))))
  .onError((thrown) => tellPage(thrown));

/** A failure as a page; a fault of ours leaves its line in the log. */
function tellPage(thrown: unknown): Response {
  const error = toGatewayError(thrown);
  const reference = crypto.randomUUID();
  if (error.code === "INTERNAL") {
    const cause = (error.cause instanceof Error ? error.cause : error).stack;
    console.error(JSON.stringify({ event: "fault", auditId: reference, message: error.message, cause }));
  }
  return pageResponse(failurePage(withReference(error, reference)));
}

interface SignedInSession {
  readonly session: Session;
  readonly formToken: string;
}

/** The session of a request's cookie. */
async function findSession(request: Request, gateway: Gateway): Promise<SignedInSession | undefined> {
  const secret = readCookie(request.headers, "session");
  if (secret === undefined) return undefined;
  const session = await (await sessionsOf(gateway.env, secret)).look(secret);
  return session === undefined ? undefined : { session, formToken: await formToken(secret) };
}

/** A form of somebody who is signed in. @throws GatewayError NOT_SIGNED_IN, FORM_REFUSED */
async function readSessionForm(request: Request, gateway: Gateway): Promise<{ readonly session: Session; readonly form: URLSearchParams }> {
  const form = await readForm(request, gateway.env.GATEWAY_URL, readCookie(request.headers, "session"));
  const signedIn = await findSession(request, gateway);
  if (signedIn === undefined) throw new GatewayError("FORM_REFUSED", "the session has ended");
  return { session: signedIn.session, form };
}

async function home(request: Request, gateway: Gateway): Promise<Response> {
  const signedIn = await findSession(request, gateway);
  if (signedIn === undefined) return redirect("/sign-in", [clearCookie("session")]);
  const browser = await markBrowser(request);
  const page = homePage({
    gatewayUrl: new URL(gateway.env.GATEWAY_URL).origin,
    clusters: await listReachable(gateway, signedIn.session),
    startToken: browser.token,
    signedIn: { path: "/", formToken: signedIn.formToken },
    cookies: [browser.cookie],
  });
  return pageResponse(page);
}

/** `POST /sign-out`: ends the session here, and asks the issuers to end theirs. */
async function signOut(request: Request, gateway: Gateway): Promise<Response> {
  const secret = readCookie(request.headers, "session");
  await readForm(request, gateway.env.GATEWAY_URL, secret);
  const ended = secret === undefined ? undefined : await (await sessionsOf(gateway.env, secret)).end(secret);
  const cookies = [clearCookie("session"), clearCookie("start")];
  if (ended !== undefined) console.log(JSON.stringify({ event: "signed-out", people: peopleOf(ended) }));
  const logins = (ended?.signIns ?? []).map(({ login }) => login);
  const ends = await Promise.all(
    listIssuers(logins).map(async (issuer) => {
      const login = logins.find((candidate) => candidate.issuer === issuer);
      const url =
        login === undefined
          ? undefined
          : await oidcClientOf(gateway)
              .logoutUrl(login)
              .catch(() => undefined);
      return url === undefined ? undefined : { issuer, url };
    }),
  );
  const links = ends.filter((end) => end !== undefined);
  const [only] = links;
  if (only !== undefined && links.length === 1) return pageResponse(leavingPage(only.issuer, only.url, "sign-out", cookies));
  return pageResponse({ ...signedOutPage(links), cookies });
}
