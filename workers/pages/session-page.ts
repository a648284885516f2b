/** The session page: what this browser holds here, since when and until when, and how to end it. */
import type { Session } from "#workers/session/sign-in.ts";
import { markup } from "./html.ts";
import { tokenField } from "./page.ts";
import type { Page, SignedIn } from "./page.ts";
import { issuerName } from "./sign-in-page.ts";
import { time } from "./time.ts";

export interface SessionView {
  readonly session: Session;
  /** The same people's sessions in other browsers. */
  readonly others: readonly { readonly name: string; readonly createdAtMs: number; readonly seenAtMs: number }[];
  readonly idleMs: number;
  readonly signedIn: SignedIn;
}

export function sessionPage({ session, others, idleMs, signedIn }: SessionView): Page {
  const body = markup`<h1>Session</h1>
    <p class="lead">This browser is signed in. Its cookie holds only a random number; the tokens stay at the gateway, sealed.</p>
    <section class="card">
      <dl>
        <dt>Signed in</dt>
        <dd>${time(session.createdAtMs)}</dd>
        <dt>Ends at the latest</dt>
        <dd>${time(session.endsAtMs)}, or after ${idleMs / 60_000} minutes in which you open no page here</dd>
      </dl>
    </section>
    ${session.signIns.map(
      ({ login, subject, signedInAtMs, expiresAtMs, refreshToken }) =>
        markup`<section class="card">
          <div class="title"><h2>${issuerName(login.issuer)}</h2></div>
          <dl>
            <dt>Subject</dt>
            <dd>${subject}</dd>
            <dt>Client</dt>
            <dd>${login.clientId}</dd>
            <dt>Since</dt>
            <dd>${time(signedInAtMs)}</dd>
            <dt>ID token</dt>
            <dd>until ${time(expiresAtMs)}${refreshToken === undefined ? "; then sign in again" : ", renewed when needed"}</dd>
          </dl>
        </section>`,
    )}
    <div class="row">
      <form method="post" action="/sign-out">${tokenField(signedIn.formToken)}<button>Sign out</button></form>
      <form method="post" action="/session/end-all">
        ${tokenField(signedIn.formToken)}<button class="plain">Sign out everywhere, and revoke my kubeconfigs</button>
      </form>
    </div>
    ${others.length === 0 ? undefined : markup`<h2 class="more">Your other browsers</h2>`}
    ${others.map(
      (other) => markup`<section class="card">
        <div class="title">
          <h2>Signed in ${time(other.createdAtMs)}</h2>
          <form method="post" action="/session/end">
            ${tokenField(signedIn.formToken)}<input type="hidden" name="name" value="${other.name}" />
            <button class="plain">End</button>
          </form>
        </div>
        <p class="soft">Last page opened ${time(other.seenAtMs)}</p>
      </section>`,
    )}`;
  return { title: "Session", body, signedIn };
}
