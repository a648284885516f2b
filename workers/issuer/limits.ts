/** Every limit of the gateway as an issuer, each with its reason. */
const hourMs = 3_600_000;

export const issuerLimits = {
  /** Life of a token in a kubeconfig: a working day, after which the person signs in again. */
  tokenMs: 8 * hourMs,
  /** How long a key signs: often enough that every gateway does it, rarely enough that nobody notices. */
  signingMs: 30 * 24 * hourMs,
  /** How long a key is published before it signs: verifiers fetch keys again after ten minutes at the latest. */
  announcedMs: hourMs,
  /** How long a key is published after it has signed last: its last token has ended by then, with some time for slow clocks. */
  retiredMs: 9 * hourMs,
  /** Live tokens of one person for one cluster: a few machines' worth. */
  maxLiveTokens: 20,
  /** Tokens in an admin's list; the newest ones. */
  maxListed: 1_000,
  /** How old this isolate's knowledge of revoked tokens may be when it is used. */
  knownMs: 1_000,
  /** How often a stream asks whether its token was revoked. */
  recheckMs: 3_000,
} as const;
