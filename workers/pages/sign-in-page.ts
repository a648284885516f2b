/** The pages before somebody is signed in, and after they have signed out. */
import { markup } from "./html.ts";
import type { Html } from "./html.ts";
import { tokenField } from "./page.ts";
import type { Page } from "./page.ts";

export interface SignInChoice {
  readonly formToken: string;
  readonly returnTo: string;
  /** Issuers that the gateway signs people in with. */
  readonly issuers: readonly string[];
  /** The cluster that was asked for by name. */
  readonly cluster: string | undefined;
}

export function signInPage(choice: SignInChoice): Page {
  const { issuers, cluster } = choice;
  const lead =
    cluster === undefined
      ? "Use your company's login to see the clusters that you may reach."
      : markup`Use your company's login to open the cluster <strong>${cluster}</strong>.`;
  const one = issuers.length === 1;
  const body = markup`<h1>Sign in</h1>
    <p class="lead">${lead}</p>
    <div class="card stack">
      ${cluster === undefined ? issuers.map((issuer) => issuerForm(choice, issuer, one ? "Continue with" : "")) : clusterForm(choice, cluster)}
      ${issuers.length === 0 && cluster === undefined ? markup`<p>No cluster here has a browser sign-in yet. If you know a cluster's name, try it below, or ask the gateway's admin.</p>` : undefined}
    </div>
    ${cluster === undefined ? otherCluster(choice.formToken, choice.returnTo, "My cluster is not behind one of these") : undefined}`;
  return { title: "Sign in", body, isNarrow: true };
}

/** A form that opens a cluster by its name: names are not listed to strangers. */
function otherCluster(formToken: string, returnTo: string, summary: string): Html {
  return markup`<details>
    <summary>${summary}</summary>
    ${clusterNameForm(formToken, returnTo)}
  </details>`;
}

export function clusterNameForm(formToken: string, returnTo: string): Html {
  return markup`<form method="post" action="/sign-in">
    ${tokenField(formToken)}<input type="hidden" name="return_to" value="${returnTo}" />
    <label for="cluster">Cluster name</label>
    <div class="row">
      <input
        type="text"
        id="cluster"
        name="cluster"
        required
        maxlength="63"
        pattern="[a-z0-9]([a-z0-9\\-]*[a-z0-9])?"
        autocomplete="off"
        autocapitalize="none"
        spellcheck="false"
      /><button class="plain">Sign in to it</button>
    </div>
  </form>`;
}

function issuerForm(choice: SignInChoice, issuer: string, verb: string): Html {
  return markup`<form method="post" action="/sign-in">
    ${tokenField(choice.formToken)}<input type="hidden" name="return_to" value="${choice.returnTo}" /><input
      type="hidden"
      name="issuer"
      value="${issuer}"
    />
    <button class="wide">${verb} ${issuerName(issuer)}</button>
  </form>`;
}

function clusterForm(choice: SignInChoice, cluster: string): Html {
  return markup`<form method="post" action="/sign-in">
    ${tokenField(choice.formToken)}<input type="hidden" name="return_to" value="${choice.returnTo}" /><input
      type="hidden"
      name="cluster"
      value="${cluster}"
    />
    <button class="wide">Sign in</button>
  </form>`;
}

/** An issuer as people know it: its host, and what follows. */
export function issuerName(issuer: string): string {
  return issuer.replace(/^https:\/\//, "").replace(/\/$/, "");
}

/** Says where the browser goes, and sends it there. A redirect would have to pass the forms' Content-Security-Policy at every hop. */
export function leavingPage(issuer: string, url: string, purpose: "sign-in" | "sign-out", cookies: readonly string[]): Page {
  const name = issuerName(issuer);
  const title = purpose === "sign-in" ? `Going to ${name}` : `Signing out at ${name}`;
  const body = markup`<h1>${title}</h1>
    <p class="lead">
      ${purpose === "sign-in" ? "You sign in there, and come back here afterwards." : "You are signed out here. Your company's login is asked to end its session too."}
    </p>
    <p><a class="button" href="${url}">Go on</a></p>`;
  return { title, body, isNarrow: true, goTo: url, cookies };
}

/** Ends at several issuers are links: a browser can go to one at a time. */
export function signedOutPage(links: readonly { readonly issuer: string; readonly url: string }[]): Page {
  const elsewhere =
    links.length === 0
      ? undefined
      : markup`<p>Your company's logins may still know you:</p>
          <div class="stack">
            ${links.map(({ issuer, url }) => markup`<a class="button plain" href="${url}">Sign out at ${issuerName(issuer)}</a>`)}
          </div>`;
  const body = markup`<h1>Signed out</h1>
    <p class="lead">
      The session at this gateway has ended. What kubectl has is not touched: <code>sallyport logout</code> ends its sign-in, and a kubeconfig that
      you downloaded works until it ends or is revoked.
    </p>
    <div class="card">
      ${elsewhere}
      <p><a class="button" href="/sign-in">Sign in again</a></p>
    </div>`;
  return { title: "Signed out", body, isNarrow: true };
}
