/** Keeps the cluster's last discovery answers, and gives them to users who are signed in while no agent is there. */
import { toGatewayError } from "#core/errors.ts";
import { failureSentence, warningHeader } from "#core/kube/status.ts";
import { headerValues } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { maxDiscoveryBytes } from "#workers/hub/discovery-store.ts";
import type { ClusterPlace, Gateway } from "#workers/gateway.ts";
import type { KubeCall } from "./kube.ts";
import { hubOf } from "#workers/hub/stubs.ts";

/** How long an answer that was stored is not stored again by the same isolate: discovery changes with CRDs and upgrades, not by the minute. */
const rememberMs = 5 * 60_000;

/** Answers whose last storing this isolate remembers. */
const maxRemembered = 1_000;

const rememberedAtMs = new Map<string, number>();

/** What makes two discovery requests the same: the target, and what representation was asked for. */
function discoveryKey(target: string, headers: HeaderPairs): string {
  const gzip = headerValues(headers, "accept-encoding").some((value) => value.includes("gzip"));
  return JSON.stringify([target, headerValues(headers, "accept"), gzip]);
}

/** Gathers a discovery answer as it passes. */
export class DiscoveryCapture {
  readonly #call: KubeCall;
  readonly #headers: HeaderPairs;
  readonly #key: string;
  #parts: Uint8Array[] | undefined = [];
  #bytes = 0;

  constructor(call: KubeCall, headers: HeaderPairs) {
    this.#call = call;
    this.#headers = headers;
    this.#key = discoveryKey(call.place.target, call.open.headers);
    const known = rememberedAtMs.get(`${call.open.cluster}\n${this.#key}`);
    if (known !== undefined && Date.now() - known < rememberMs) this.#parts = undefined;
  }

  take(bytes: Uint8Array): void {
    this.#bytes += bytes.length;
    if (this.#bytes > maxDiscoveryBytes) this.#parts = undefined;
    this.#parts?.push(bytes.slice());
  }

  /** The answer is complete: stores it, beside the response's way. */
  keep(): void {
    if (this.#parts === undefined) return;
    const { gateway, open } = this.#call;
    const body = new Uint8Array(this.#bytes);
    let offset = 0;
    for (const part of this.#parts) {
      body.set(part, offset);
      offset += part.length;
    }
    if (rememberedAtMs.size >= maxRemembered) rememberedAtMs.clear();
    rememberedAtMs.set(`${open.cluster}\n${this.#key}`, Date.now());
    const headers = this.#headers.filter(([name]) => !["content-length", "date", "audit-id", "warning"].includes(name.toLowerCase()));
    gateway.context.waitUntil(Promise.resolve(hubOf(gateway.env, open.cluster).rememberDiscovery(this.#key, { headers, body })));
  }
}

/** The last answer to this discovery request when the cluster's agent is away; undefined when that is not why it failed. */
export async function lastDiscovery(
  gateway: Gateway,
  place: ClusterPlace,
  headers: HeaderPairs,
  thrown: unknown,
): Promise<Response | undefined> {
  const error = toGatewayError(thrown);
  if (error.code !== "AGENT_OFFLINE" || place.cluster === undefined) return undefined;
  const stored = await hubOf(gateway.env, place.cluster).discovery(discoveryKey(place.target, headers));
  if (stored === undefined) return undefined;
  const response = new Headers(stored.headers.map(([name, value]) => [name, value]));
  response.append("Warning", warningHeader(failureSentence(error.code, error.message)));
  return new Response(stored.body, { headers: response, encodeBody: response.has("content-encoding") ? "manual" : "automatic" });
}
