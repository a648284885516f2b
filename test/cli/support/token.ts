/** JWTs with any claims and a signature of zeros: the command line verifies none. */

export interface TokenChanges {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
}

export const tokenIssuedAtSeconds = 1_800_000_000;

export function makeToken({ header = {}, claims = {} }: TokenChanges = {}): string {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const base = {
    iss: "https://issuer.example.com",
    sub: "lee",
    aud: "prod-audience",
    email: "lee@example.com",
    iat: tokenIssuedAtSeconds,
    exp: tokenIssuedAtSeconds + 3600,
  };
  return `${encode({ alg: "RS256", kid: "1", ...header })}.${encode({ ...base, ...claims })}.${Buffer.alloc(64).toString("base64url")}`;
}
