/** What a person is told when something failed: what, why, and what to do. */
import { errorTable } from "#core/errors.ts";
import type { ErrorCode, GatewayError } from "#core/errors.ts";
import { markup } from "./html.ts";
import type { Page } from "./page.ts";

/** Titles for what people meet on pages; anything else has the plain one. */
const titles: Partial<Record<ErrorCode, string>> = {
  SIGN_IN_FAILED: "The sign-in did not work",
  SIGN_IN_UNAVAILABLE: "No browser sign-in here",
  FORM_REFUSED: "This form was not accepted",
  NOT_SIGNED_IN: "You are not signed in",
  KUBECONFIG_UNAVAILABLE: "No kubeconfig for this cluster",
  POLICY_DENIED: "This is not yours to open",
  RATE_LIMITED: "Too many at once",
  NOT_FOUND: "There is nothing here",
  CLUSTER_UNKNOWN: "No such cluster",
  ISSUER_UNREACHABLE: "Your company's login does not answer",
  CONFIGURATION_INVALID: "The gateway is not set up right",
};

export function failurePage(error: GatewayError): Page {
  const row = errorTable[error.code];
  const title = titles[error.code] ?? "Something went wrong";
  const body = markup`<div class="card failure" role="alert">
      <h1>${title}</h1>
      <p>${sentence(error.message)}</p>
      <p><strong>What to do:</strong> ${row.hint}</p>
    </div>
    <p class="row"><a class="button" href="/sign-in">Sign in</a><a class="button plain" href="/">Clusters</a></p>
    <p class="soft">Code for whoever helps you: <code>${error.code}</code></p>`;
  return { title, body, status: row.status, isNarrow: true };
}

function sentence(text: string): string {
  const start = text.slice(0, 1).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
