/** Checks of the way to the gateway: proxy settings, name, TLS, the gateway's answer, clocks. */
import { lookup } from "node:dns/promises";
import { connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import { gatewayApiPath, parseGatewayFailure, parseLoginConfiguration } from "#core/gateway-api.ts";
import { networkDetail, readBoundedText } from "#cli/session/bounded-fetch.ts";
import type { Fetch } from "#cli/session/bounded-fetch.ts";
import type { Environment } from "#cli/session/paths.ts";
import { parseJson } from "#cli/session/private-file.ts";
import { failed, passed, skipped, warned } from "./check.ts";
import type { CheckResult } from "./check.ts";

/** One connection or request; longer waits mean a firewall that drops packets. */
const timeoutMs = 10_000;

const maxAnswerBytes = 64 * 1024;
const dayMs = 24 * 60 * 60 * 1000;

/** A certificate this close to its end is told: automatic renewal should have run by now. */
const certificateWarningDays = 14;

/** The token door lets clocks differ by a minute; half of it is worth a word. */
const clockWarningMs = 30_000;
const clockFailureMs = 60_000;

export interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly dateMs: number | undefined;
  readonly tookMs: number;
}

/** Names of the proxy variables that are set; their values may hold a password. */
export function proxyVariables(env: Environment): readonly string[] {
  return ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"].filter(
    (name) => (env[name] ?? "") !== "",
  );
}

export function checkProxy(env: Environment): CheckResult {
  const names = proxyVariables(env);
  if (names.length === 0) return passed("no proxy variables are set");
  if (names.some((name) => name.toLowerCase() === "https_proxy"))
    return passed(`${names.join(", ")} set: kubectl and sallyport go through the proxy`);
  return warned(`${names.join(", ")} set, but no HTTPS_PROXY`, "Set HTTPS_PROXY too when the gateway is behind the proxy.");
}

export async function checkName(gateway: URL, isProxied: boolean): Promise<CheckResult> {
  if (isProxied) return skipped("the proxy resolves the name");
  try {
    const addresses = await lookup(hostOf(gateway), { all: true });
    return passed(`${gateway.hostname} is ${addresses.map((item) => item.address).join(", ")}`);
  } catch (thrown) {
    return failed(
      "GATEWAY_UNREACHABLE",
      `${gateway.hostname} has no address (${networkDetail(thrown)})`,
      "Check the gateway's URL, the DNS server and the VPN.",
    );
  }
}

export async function checkTls(gateway: URL, isProxied: boolean, nowMs: number): Promise<CheckResult> {
  if (gateway.protocol === "http:") return warned("http: kubectl sends no credentials over it", "Give the gateway https.");
  if (isProxied) return skipped("the proxy carries the connection");
  try {
    const { protocol, validUntilMs } = await handshake(gateway);
    const days = Math.floor((validUntilMs - nowMs) / dayMs);
    if (days < certificateWarningDays) return warned(`the certificate ends in ${days} days`, "Ask the gateway's admin to renew it.");
    return passed(`${protocol}, certificate valid for ${days} days`);
  } catch (thrown) {
    return failed(
      "GATEWAY_UNREACHABLE",
      `no TLS connection (${networkDetail(thrown)})`,
      "If the gateway has its own authority, give --gateway-ca FILE; else check the network.",
    );
  }
}

async function handshake(gateway: URL): Promise<{ readonly protocol: string; readonly validUntilMs: number }> {
  const host = hostOf(gateway);
  const socket = connect({
    host,
    port: Number(gateway.port === "" ? 443 : gateway.port),
    ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
  });
  try {
    await secured(socket);
    return { protocol: socket.getProtocol() ?? "TLS", validUntilMs: Date.parse(socket.getPeerCertificate().valid_to) };
  } finally {
    socket.destroy();
  }
}

async function secured(socket: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.setTimeout(timeoutMs, () => reject(new Error(`no answer within ${timeoutMs / 1000} s`)));
    socket.once("secureConnect", resolve);
    socket.once("error", reject);
  });
}

/** Asks the gateway's public login document; undefined detail means that nothing answered. */
export async function askGateway(gateway: URL, fetch: Fetch, now: () => number): Promise<Answer | { readonly unreachable: string }> {
  const startedMs = now();
  try {
    const response = await fetch(`${gateway.origin}${gatewayApiPath}/login`, {
      redirect: "manual",
      signal: AbortSignal.timeout(timeoutMs),
    });
    const body = parseJson(await readBoundedText(response, maxAnswerBytes));
    const date = Date.parse(response.headers.get("date") ?? "");
    return { status: response.status, body, dateMs: Number.isNaN(date) ? undefined : date, tookMs: now() - startedMs };
  } catch (thrown) {
    return { unreachable: networkDetail(thrown) };
  }
}

export function checkGateway(answer: Answer | { readonly unreachable: string }): CheckResult {
  if ("unreachable" in answer)
    return failed("GATEWAY_UNREACHABLE", `no answer (${answer.unreachable})`, "Check the network, the VPN and the proxy settings.");
  const isOurs =
    answer.status === 200 ? parseLoginConfiguration(answer.body).type === "parsed" : parseGatewayFailure(answer.body) !== undefined;
  if (isOurs) return passed(`answered in ${answer.tookMs} ms`);
  return failed(
    "GATEWAY_UNREACHABLE",
    `something else answered (HTTP status ${answer.status})`,
    "Check the URL; a login page or proxy in between must let the gateway's host through.",
  );
}

export function checkClock(answer: Answer | { readonly unreachable: string }, nowMs: number): CheckResult {
  if ("unreachable" in answer || answer.dateMs === undefined) return skipped("the gateway told no time");
  const differenceMs = nowMs - answer.dateMs;
  const seconds = Math.round(Math.abs(differenceMs) / 1000);
  const detail = `this machine is ${seconds} s ${differenceMs > 0 ? "ahead of" : "behind"} the gateway`;
  if (Math.abs(differenceMs) > clockFailureMs)
    return failed("TOKEN_INVALID", detail, "Set the clock (chrony, systemd-timesyncd or the system settings).");
  return Math.abs(differenceMs) > clockWarningMs
    ? warned(detail, "Set the clock before tokens are refused.")
    : passed(seconds <= 2 ? "in step with the gateway" : detail);
}

function hostOf(gateway: URL): string {
  return gateway.hostname.replaceAll(/[[\]]/g, "");
}
