/** What only some gateways have, and what is never written in wrangler.toml: `wrangler secret put NAME`, or a binding of workerd. */
interface Env {
  /** Keys that seal browser sessions: `<id>:<32 bytes in base64url>`, the first seals, all open; without it nobody signs in by browser. */
  readonly SESSION_KEYS?: string;
  /** Secrets of the gateway's clients at issuers that want one: {"<issuer>": {"<client id>": "<secret>"}}. */
  readonly LOGIN_CLIENT_SECRETS?: string;
  /** PEM of the authority that signed the gateway's certificate, for downloaded kubeconfigs; empty where browsers' authorities do. */
  readonly GATEWAY_AUTHORITY?: string;
}
