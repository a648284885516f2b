/** The kubeconfigs that somebody has downloaded and that still work, each with a button to end it. */
import { markup } from "./html.ts";
import type { Html } from "./html.ts";
import { tokenField } from "./page.ts";
import type { Page, SignedIn } from "./page.ts";
import { time } from "./time.ts";

export interface KubeconfigRow {
  readonly id: string;
  readonly cluster: string;
  readonly username: string;
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
}

export function kubeconfigsPage(rows: readonly KubeconfigRow[], signedIn: SignedIn): Page {
  const body = markup`<h1>Kubeconfigs</h1>
    <p class="lead">Each holds a token for one cluster. Revoke one that you no longer use, or that somebody else may have seen.</p>
    ${rows.length === 0 ? markup`<div class="card"><p>You have none that still works. The page <a href="/">Clusters</a> has a button to download one.</p></div>` : rows.map((row) => card(row, signedIn.formToken))}`;
  return { title: "Kubeconfigs", body, signedIn };
}

function card(row: KubeconfigRow, formToken: string): Html {
  return markup`<article class="card" aria-labelledby="token-${row.id}">
    <div class="title">
      <h2 id="token-${row.id}">${row.cluster}</h2>
      <form method="post" action="/kubeconfigs/revoke">
        ${tokenField(formToken)}<input type="hidden" name="id" value="${row.id}" />
        <button class="plain" aria-label="Revoke the kubeconfig for ${row.cluster} of ${new Date(row.issuedAtMs).toISOString()}">Revoke</button>
      </form>
    </div>
    <dl>
      <dt>User</dt>
      <dd>${row.username}</dd>
      <dt>Downloaded</dt>
      <dd>${time(row.issuedAtMs)}</dd>
      <dt>Works until</dt>
      <dd>${time(row.expiresAtMs)}</dd>
    </dl>
  </article>`;
}
