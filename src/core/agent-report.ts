/** What an agent tells the gateway of itself, in STATUS frames. */
import { parsePublicKeySet } from "./gateway-api.ts";
import type { PublicKeySet } from "./gateway-api.ts";
import type { Parsed } from "./document.ts";
import { isObject } from "./json-fields.ts";
import { parseNodeStates, serviceProxyRole } from "./node-states.ts";

export interface AgentReport {
  /** Each role's state, for `sallyport status`. */
  readonly roles: Readonly<Record<string, unknown>>;
  /** The public keys of the cluster's issuers as the agent fetched them, for a gateway that cannot. */
  readonly issuerKeys: Readonly<Record<string, PublicKeySet>>;
}

/**
 * Parses a STATUS payload; a key set that holds anything but public keys refuses it whole. What nodes say of their service proxies is taken
 * as it is understood, or not at all: an agent newer than the gateway must not lose the rest of its report.
 */
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
  return { type: "parsed", value: { roles: readRoles(document["roles"]), issuerKeys: Object.fromEntries(issuerKeys) } };
}

function readRoles(roles: AgentReport["roles"]): AgentReport["roles"] {
  if (!Object.hasOwn(roles, serviceProxyRole)) return roles;
  const nodes = parseNodeStates(roles[serviceProxyRole]);
  return { ...roles, [serviceProxyRole]: nodes.type === "parsed" ? nodes.value : { state: "unreadable" } };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined; // no JSON, or no UTF-8: the caller says what was expected
  }
}
