/** Where a person is sent after signing in: a page of this gateway, and nothing that only looks like one. */

/** The page's path and query; `/` for everything else, other origins, and what applications of clusters serve under `/k/`. */
export function parseReturnPath(text: string | undefined, gatewayUrl: string): string {
  // Browsers drop tabs and line ends, and read "\" as "/", before they look for a host.
  if (text === undefined || !/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(text)) return "/";
  const gateway = new URL(gatewayUrl);
  const url = URL.parse(text, gateway.origin);
  if (url === null || url.origin !== gateway.origin || !pages.has(url.pathname)) return "/";
  return url.pathname + url.search;
}

/** The pages that one may come back to. */
const pages: ReadonlySet<string> = new Set(["/", "/kubeconfigs", "/session"]);
