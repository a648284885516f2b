/** Every limit of browser sign-in and sessions, each with its reason. */
const minuteMs = 60_000;

export const sessionLimits = {
  /** How long a person may take at the issuer: password, second factor, a look for the phone. */
  startMs: 10 * minuteMs,
  /** A session that nobody looks at ends: half a long lunch is enough for a page that only hands out lines to copy. */
  idleMs: 60 * minuteMs,
  /** A session ends however much it is used: one working day, after which the issuer is asked for the person again. */
  absoluteMs: 12 * 60 * minuteMs,
  /** An ID token with less left than this is renewed when its session is looked at. */
  renewBeforeMs: minuteMs,
  /** Issuers and clients in one session; more than anybody's clusters have. */
  maxSignIns: 50,
  /** Sign-ins under way in one shard. A stranger can begin them, so the oldest give way beyond it: 16 shards hold 80,000. */
  maxStarts: 5_000,
  /** One request to an issuer; a person waits for it. */
  issuerRequestMs: 10_000,
  /** Bytes of an issuer's answer; the largest discovery documents and key sets are below 20 KiB. */
  maxIssuerBytes: 1 << 20,
  /** Bytes of a page's form: a few short fields. */
  maxFormBytes: 8 << 10,
  /** Clients of one issuer that are asked without a question after one sign-in: browsers follow 20 redirects, each takes two. */
  maxSilent: 6,
} as const;
