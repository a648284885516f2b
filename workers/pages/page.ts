/** The frame of every page, and the headers that keep browsers from doing with it what it is not for. */
import { markup } from "./html.ts";
import type { Html } from "./html.ts";

export interface Page {
  readonly title: string;
  readonly body: Html;
  /** HTTP status, 200 when left out. */
  readonly status?: number;
  /** Present when somebody is signed in: the navigation and the button to sign out. */
  readonly signedIn?: SignedIn;
  /** Forms and messages are read best in a narrow column. */
  readonly isNarrow?: boolean;
  /** Another address to go to at once. */
  readonly goTo?: string;
  readonly cookies?: readonly string[];
}

export interface SignedIn {
  readonly path: "/" | "/kubeconfigs" | "/session";
  /** Token of the forms. */
  readonly formToken: string;
}

/** Nothing but this gateway's own stylesheet and images, forms to itself, no script at all, and in nobody's frame. */
const contentSecurityPolicy = [
  "default-src 'none'",
  "style-src 'self'",
  "img-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

const pageHeaders = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": contentSecurityPolicy,
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  // With no-referrer browsers would send `Origin: null` with the pages' own forms.
  "referrer-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
} as const;

export function pageResponse(page: Page): Response {
  const response = new Response(renderPage(page).toString(), { status: page.status ?? 200, headers: pageHeaders });
  return withCookies(response, page.cookies ?? []);
}

/** Sends the browser to another page of this gateway. */
export function redirect(path: string, cookies: readonly string[] = []): Response {
  const headers = { location: path, "cache-control": "no-store", "referrer-policy": "same-origin" };
  return withCookies(new Response(null, { status: 303, headers }), cookies);
}

function withCookies(response: Response, cookies: readonly string[]): Response {
  response.headers.set("date", new Date().toUTCString());
  for (const cookie of cookies) response.headers.append("set-cookie", cookie);
  return response;
}

function renderPage({ title, body, signedIn, isNarrow = false, goTo }: Page): Html {
  return markup`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        ${goTo === undefined ? undefined : markup`<meta http-equiv="refresh" content="0; url=${goTo}" /> `}
        <title>${title} · Sallyport</title>
        <link rel="stylesheet" href="/assets/page.css" />
        <link rel="icon" type="image/svg+xml" href="/assets/icon.svg" />
      </head>
      <body>
        <a class="skip" href="#content">Skip to the content</a>
        <header>
          <div>
            <a class="brand" href="/"><img src="/assets/icon.svg" alt="" />Sallyport</a
            >${signedIn === undefined ? undefined : navigation(signedIn)}
          </div>
        </header>
        <main id="content" ${isNarrow ? markup` class="narrow"` : undefined}>${body}</main>
        <footer>Sallyport, the gate to your Kubernetes clusters</footer>
      </body>
    </html> `;
}

function navigation({ path, formToken }: SignedIn): Html {
  const link = (to: SignedIn["path"], text: string) =>
    markup`<a href="${to}" ${to === path ? markup` aria-current="page"` : undefined}>${text}</a>`;
  return markup`<nav aria-label="Pages">
    ${link("/", "Clusters")}${link("/kubeconfigs", "Kubeconfigs")}${link("/session", "Session")}
    <form method="post" action="/sign-out">${tokenField(formToken)}<button class="link">Sign out</button></form>
  </nav>`;
}

/** The hidden field that shows that a form came from one of these pages. */
export function tokenField(formToken: string): Html {
  return markup`<input type="hidden" name="token" value="${formToken}" />`;
}
