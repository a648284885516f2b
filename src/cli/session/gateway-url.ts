/** The gateway's address as people give it, made into the one form that sessions are filed under. */

export type GatewayUrl = { readonly type: "parsed"; readonly url: string } | { readonly type: "invalid"; readonly problem: string };

/** Parses `gw.example.com`, `https://gw.example.com/` or `http://127.0.0.1:8787`: an origin without a trailing slash. */
export function parseGatewayUrl(text: string): GatewayUrl {
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`;
  if (!URL.canParse(withScheme)) return { type: "invalid", problem: "is not a URL" };
  const url = new URL(withScheme);
  if (url.protocol !== "https:" && url.protocol !== "http:") return { type: "invalid", problem: "must be https" };
  if (url.username !== "" || url.password !== "") return { type: "invalid", problem: "must not hold a user or password" };
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") return { type: "invalid", problem: "must have no path or query" };
  if (url.protocol === "http:" && !isLoopbackHost(url.hostname))
    return {
      type: "invalid",
      problem: "must be https: http is only for this machine itself, since it would show the token to the network",
    };
  return { type: "parsed", url: url.origin };
}

/** Whether the host name is this machine itself (RFC 6761 section 6.3, RFC 8252 section 7.3). */
export function isLoopbackHost(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
}

/** Whether a secret may be sent to the URL: https, or http to this machine itself. */
export function isSafeForSecrets(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === "https:" || (protocol === "http:" && isLoopbackHost(hostname));
}
