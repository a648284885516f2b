/** Every limit of the token door, in one place, each with its reason. */
export const doorLimits = {
  /** Bytes of a token, checked before anything is parsed: four times what an Entra token with 200 groups takes. */
  maxTokenBytes: 16 * 1024,
  /** Nesting of JSON objects and arrays in a token or a key set; real tokens use three or four levels. */
  maxJsonDepth: 32,
  /** Elements of one array in a token or a key set: five times what any issuer sends, and a bound on nested CEL loops over claims. */
  maxArrayElements: 1000,
  /** Tolerated difference between clocks for nbf and iat, as kube-apiserver's for nbf. exp has none. */
  clockSkewMs: 60_000,
  /** exp minus iat, unless the operator sets another: one working day's token and Cloudflare Access' default session fit. */
  maxLifetimeMs: 24 * 60 * 60 * 1000,
  /** Verdicts kept for repeated tokens: a busy cluster's distinct live tokens. */
  maxCachedVerdicts: 1000,
  /** Characters of all cached tokens together, so that large tokens cannot fill the memory: 8 MiB at one byte each. */
  maxCachedCharacters: 8 * 1024 * 1024,
} as const;

/** Limits of fetching an issuer's keys. */
export const keyLimits = {
  /** Bytes of a discovery document or a key set; the largest public ones are below 20 KiB. */
  maxDocumentBytes: 1024 * 1024,
  /** One fetch, headers and body together. */
  fetchTimeoutMs: 5000,
  /** Keys of one set that are read. */
  maxKeys: 100,
  /** Age at which a key set is fetched again, in the background where the runtime can. */
  refreshAfterMs: 5 * 60_000,
  /** Age at which a request waits for a fresh key set: a removed key is refused after this at the latest. */
  refreshBeforeUseAfterMs: 10 * 60_000,
  /** Least time between two fetches, whatever tokens ask for: a new key is usable, and a recovered issuer is noticed, after this at the latest. */
  cooldownMs: 30_000,
  /** The same while no keys are known at all, so that an issuer that starts after us is found soon. */
  firstCooldownMs: 5000,
  /** Longest use of a key set whose issuer cannot be reached any more. */
  maxStaleMs: 24 * 60 * 60 * 1000,
  /** Age at which the discovery document is read again, so that a moved jwks_uri is noticed. */
  discoveryRefreshAfterMs: 60 * 60_000,
} as const;

/** Limits of a configuration file and its expressions. */
export const configurationLimits = {
  /** Bytes of the file: a ConfigMap's limit. */
  maxFileBytes: 1024 * 1024,
  /** JWT authenticators in one file, as kube-apiserver's. */
  maxAuthenticators: 64,
  /** Characters of one CEL expression. */
  maxExpressionLength: 4096,
  /** Nodes of one CEL expression's syntax tree. */
  maxExpressionNodes: 1000,
  /** Nesting of one CEL expression. */
  maxExpressionDepth: 64,
} as const;
