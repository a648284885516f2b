/**
 * The variables on which every request depends, checked when an isolate starts. A Worker has no start that could fail, so a gateway whose
 * configuration is wrong refuses every request and says all that is wrong, rather than run with what it guesses. What only admins need
 * (ADMIN_…) is checked at their door, so that a fault there stops no user.
 */

export interface GatewayConfiguration {
  /** How far a client's WebSocket upload may outrun the tunnel. */
  readonly maxWaitingUploadBytes: number;
  /** Watches and streams of one user at once, in one isolate. */
  readonly streamsPerUser: number;
}

export type ParsedConfiguration =
  | { readonly type: "valid"; readonly value: GatewayConfiguration }
  | { readonly type: "invalid"; readonly problems: readonly string[] };

type Variable = "GATEWAY_URL" | "CLUSTER_DOMAIN" | "CLIENT_ADDRESS_HEADER" | "UPLOAD_BUFFER_MIB" | "MAX_STREAMS_PER_USER";

/** What each variable must be, in words that follow "must be". */
const wanted: Readonly<Record<Variable, string>> = {
  GATEWAY_URL: "the https URL of this gateway with nothing behind its host, such as https://gateway.example.com",
  CLUSTER_DOMAIN: "empty, or the DNS name under which each cluster has a host, in lower case, such as k8s.example.com",
  CLIENT_ADDRESS_HEADER: "empty, or the name of a header that a trusted proxy writes, in lower case, such as cf-connecting-ip",
  UPLOAD_BUFFER_MIB: "a whole number of MiB from 1 to 65536",
  MAX_STREAMS_PER_USER: "a whole number from 1 to 999999",
};

const fits: Readonly<Record<Variable, (text: string) => boolean>> = {
  GATEWAY_URL: (text) => {
    const url = URL.parse(text);
    return url !== null && url.protocol === "https:" && (text === url.origin || text === `${url.origin}/`);
  },
  CLUSTER_DOMAIN: (text) =>
    text === "" || (text.length <= 200 && /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/.test(text)),
  CLIENT_ADDRESS_HEADER: (text) => /^[a-z0-9-]*$/.test(text) && text !== "authorization",
  UPLOAD_BUFFER_MIB: (text) => /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_536,
  MAX_STREAMS_PER_USER: (text) => /^[1-9]\d{0,5}$/.test(text),
};

/** @param env the Worker's variables; a self-hosted configuration may lack any of them, whatever their types say */
export function parseConfiguration(env: Readonly<Partial<Record<Variable, string>>>): ParsedConfiguration {
  const problems = Object.keys(wanted)
    .filter((name): name is Variable => name in wanted)
    .flatMap((name) => {
      const text = env[name];
      if (text === undefined) return [`${name} is not set: it must be ${wanted[name]}`];
      return fits[name](text) ? [] : [`${name} must be ${wanted[name]}`];
    });
  if (problems.length > 0) return { type: "invalid", problems };
  const value = {
    maxWaitingUploadBytes: Number(env.UPLOAD_BUFFER_MIB) * 1_048_576,
    streamsPerUser: Number(env.MAX_STREAMS_PER_USER),
  };
  return { type: "valid", value };
}
