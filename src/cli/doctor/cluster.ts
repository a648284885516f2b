/** Checks of the cluster itself, through the gateway: who it takes us for, and whether WebSockets get through. */
import { randomBytes } from "node:crypto";
import * as http from "node:http";
import type { IncomingMessage } from "node:http";
import * as https from "node:https";
import type { ClusterSummary } from "#core/gateway-api.ts";
import { parseGatewayFailure } from "#core/gateway-api.ts";
import { networkDetail, requestJson } from "#cli/session/bounded-fetch.ts";
import type { Fetch } from "#cli/session/bounded-fetch.ts";
import { isJsonObject, parseJson } from "#cli/session/private-file.ts";
import { failed, passed, skipped } from "./check.ts";
import type { CheckResult } from "./check.ts";

const upgradeTimeoutMs = 15_000;

const maxRefusalCharacters = 64 * 1024;

export function checkAgent(cluster: ClusterSummary): CheckResult {
  const online = cluster.agents.filter((agent) => agent.lanes > 0);
  const versions = [...new Set(online.map((agent) => agent.version))].join(", ");
  if (online.length > 0) return passed(`${online.length} connected, version ${versions}`);
  return failed("AGENT_OFFLINE", "no agent is connected", "kubectl -n sallyport-system get pods    (somebody with direct access)");
}

/** SelfSubjectReview (authentication.k8s.io/v1): the cluster's own answer to "who am I". */
export async function checkIdentity(url: string, token: string, fetch: Fetch): Promise<CheckResult> {
  const answer = await requestJson(fetch, `${url}/apis/authentication.k8s.io/v1/selfsubjectreviews`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, accept: "application/json", "content-type": "application/json" },
    body: JSON.stringify({ apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" }),
  });
  if (answer.type === "unreachable")
    return failed("GATEWAY_UNREACHABLE", `no answer (${answer.detail})`, "Run this again; if it stays, ask the gateway's admin.");
  const user = userOf(answer.body);
  if (user !== undefined) return passed(user);
  const failure = parseGatewayFailure(answer.body);
  if (failure !== undefined) return failed(failure.code, failure.message, "The message names what the cluster or the gateway refuses.");
  const message = typeof answer.body?.["message"] === "string" ? answer.body["message"] : `HTTP status ${answer.status}`;
  return failed(
    answer.status === 401 ? "TOKEN_INVALID" : "POLICY_DENIED",
    message,
    "Ask the cluster's admin to check the claim mappings and RBAC.",
  );
}

function userOf(body: unknown): string | undefined {
  const status = isJsonObject(body) ? body["status"] : undefined;
  const user = isJsonObject(status) ? status["userInfo"] : undefined;
  if (!isJsonObject(user) || typeof user["username"] !== "string") return undefined;
  const groups = Array.isArray(user["groups"]) ? user["groups"].filter((group) => typeof group === "string") : [];
  return `${user["username"]}${groups.length === 0 ? "" : ` in ${groups.join(", ")}`}`;
}

/**
 * A watch of one second, opened as a WebSocket: exec, attach and port-forward need the same upgrade, and a watch changes nothing. A
 * plain 200 means that something in between took the upgrade out.
 */
export async function checkWebSocket(url: string, token: string): Promise<CheckResult> {
  try {
    const { status, body } = await upgrade(
      new URL(`${url}/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1&limit=1`),
      token,
    );
    const failure = parseGatewayFailure(body);
    if (failure !== undefined) return failed(failure.code, failure.message, "The message names what the gateway refuses.");
    if (status === 101) return passed("upgrades reach the cluster");
    if (status === 403) return skipped("RBAC allows no watch in namespace default, so it cannot be tried");
    if (status === 200)
      return failed(
        "UPGRADE_UNSUPPORTED",
        "something between here and the gateway removes WebSocket upgrades",
        "Let the proxy pass WebSockets to the gateway's host; exec and port-forward need them.",
      );
    // Without the upgrade it would have been a plain watch, and 200: an apiserver that refuses has seen it.
    if (isJsonObject(body) && body["kind"] === "Status") return passed("upgrades reach the cluster, which takes none for a watch");
    return failed(
      "UPGRADE_UNSUPPORTED",
      `the upgrade was answered with HTTP status ${status}`,
      "Ask the gateway's admin; exec and port-forward need it.",
    );
  } catch (thrown) {
    return failed(
      "GATEWAY_UNREACHABLE",
      `no answer to the upgrade (${networkDetail(thrown)})`,
      "Check that the proxy or firewall lets WebSockets through.",
    );
  }
}

interface UpgradeAnswer {
  readonly status: number;
  readonly body: unknown;
}

async function upgrade(url: URL, token: string): Promise<UpgradeAnswer> {
  const { request } = url.protocol === "https:" ? https : http;
  return new Promise((resolve, reject) => {
    const call = request(url, {
      headers: {
        authorization: `Bearer ${token}`,
        connection: "Upgrade",
        upgrade: "websocket",
        origin: url.origin,
        "sec-websocket-version": "13",
        "sec-websocket-key": randomBytes(16).toString("base64"),
      },
    });
    call.setTimeout(upgradeTimeoutMs, () => call.destroy(new Error(`no answer within ${upgradeTimeoutMs / 1000} s`)));
    call.once("error", reject);
    call.once("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode ?? 101, body: undefined });
    });
    call.once("response", (response) => {
      const status = response.statusCode ?? 0;
      if (status < 400) {
        response.destroy();
        return resolve({ status, body: undefined });
      }
      readRefusal(response).then((body) => resolve({ status, body }), reject);
    });
    call.end();
  });
}

/** A refusal's document; undefined when it is none, or longer than any Status. */
async function readRefusal(response: IncomingMessage): Promise<unknown> {
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) {
    text += chunk;
    if (text.length > maxRefusalCharacters) return undefined;
  }
  return parseJson(text);
}
