/** What an agent tells the gateway of itself, in STATUS frames. */
import { parsePublicKeySet } from "./gateway-api.ts";
import type { Parsed, PublicKeySet } from "./gateway-api.ts";

export interface AgentReport {
  /** Each role's state, for `sallyport status`. */
  readonly roles: Readonly<Record<string, unknown>>;
  /** The public keys of the cluster's issuers as the agent fetched them, for a gateway that cannot. */
  readonly issuerKeys: Readonly<Record<string, PublicKeySet>>;
}

/** Parses a STATUS payload; a key set that holds anything but public keys refuses it whole. */
export function parseAgentReport(bytes: Uint8Array): Parsed<AgentReport> {
  const document = parseJson(bytes);
  if (!isObject(document) || !isObject(document["roles"]) || !isObject(document["issuerKeys"])) {
    return { type: "invalid", problems: ["the report is not an object with roles and issuerKeys"] };
  }
  const issuerKeys: [string, PublicKeySet][] = [];
  for (const [issuer, set] of Object.entries(document["issuerKeys"])) {
    const parsed = parsePublicKeySet(set);
    if (parsed.type === "invalid") return parsed;
    issuerKeys.push([issuer, parsed.value]);
  }
  return { type: "parsed", value: { roles: document["roles"], issuerKeys: Object.fromEntries(issuerKeys) } };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined; // no JSON, or no UTF-8: the caller says what was expected
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
