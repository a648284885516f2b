/**
 * The agent's own requests to its cluster, with its own identity.
 *
 * They are few and named: reviews of what users may do, the agent's own rights, the apiservers' addresses, one Secret. No request of a
 * user ever passes here, and nothing here takes a header, a path or a body from one as it is.
 */
import type { Readable } from "node:stream";
import { GatewayError } from "#core/errors.ts";
import { isObject, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { Clock } from "#agent/clock.ts";
import { maxOwnAnswerBytes, ownRequestTimeoutMs } from "./limits.ts";
import { readRetryAfter } from "./retry-after.ts";

/** The way to the apiservers, as this folder uses it. */
export interface Requester {
  request(request: {
    readonly method: string;
    readonly target: string;
    readonly headers: readonly (readonly [string, string])[];
    readonly body: Uint8Array | undefined;
    readonly longRunning: boolean;
    readonly affinity: string;
    readonly signal: AbortSignal;
  }): Promise<{ readonly status: number; readonly headers?: readonly (readonly [string, string])[]; readonly body: Readable }>;
}

/** The agent's own credential, as this folder uses it. */
export interface OwnCredential {
  authorization(): Promise<string | undefined>;
  invalidate(): void;
}

export interface ClusterApiOptions {
  readonly requester: Requester;
  readonly credential: OwnCredential;
  readonly clock: Clock;
}

/** An answer: the object, or why not. */
export type ApiAnswer =
  | { readonly type: "object"; readonly object: JsonObject }
  /** `reason` is the Status' (metav1.StatusReason); empty when the answer is not a Status. */
  | { readonly type: "refused"; readonly status: number; readonly reason: string; readonly retryAfterMs: number | undefined };

const affinity = "sallyport-agent";
const json = "application/json";

/** A request's body. */
interface Content {
  readonly type: string;
  readonly value: JsonObject | readonly JsonObject[];
}

/** The cluster's API for JSON objects. Rejects with a GatewayError when the cluster cannot be asked. */
export class ClusterApi {
  readonly #options: ClusterApiOptions;

  constructor(options: ClusterApiOptions) {
    this.#options = options;
  }

  async get(target: string): Promise<ApiAnswer> {
    return this.#call("GET", target, undefined);
  }

  async create(target: string, object: JsonObject): Promise<ApiAnswer> {
    return this.#call("POST", target, { type: json, value: object });
  }

  async update(target: string, object: JsonObject): Promise<ApiAnswer> {
    return this.#call("PUT", target, { type: json, value: object });
  }

  /** Changes an object by the operations of a JSON Patch (RFC 6902), all or none. */
  async patch(target: string, operations: readonly JsonObject[]): Promise<ApiAnswer> {
    return this.#call("PATCH", target, { type: "application/json-patch+json", value: operations });
  }

  /** Changes an object by a strategic merge patch: lists are merged as the type says. */
  async mergePatch(target: string, patch: JsonObject): Promise<ApiAnswer> {
    return this.#call("PATCH", target, { type: "application/strategic-merge-patch+json", value: patch });
  }

  /** A 401 says that nothing was done: the credential is fetched anew once. */
  async #call(method: string, target: string, content: Content | undefined): Promise<ApiAnswer> {
    const first = await this.#once(method, target, content);
    if (first.type !== "refused" || first.status !== 401) return first;
    this.#options.credential.invalidate();
    return this.#once(method, target, content);
  }

  async #once(method: string, target: string, content: Content | undefined): Promise<ApiAnswer> {
    const { requester, credential, clock } = this.#options;
    const headers: [string, string][] = [["accept", json]];
    const authorization = await credential.authorization();
    if (authorization !== undefined) headers.push(["authorization", authorization]);
    if (content !== undefined) headers.push(["content-type", content.type]);
    const aborter = new AbortController();
    const late = new GatewayError("UPSTREAM_TIMEOUT", "the apiserver did not answer the agent's own request in time");
    const cancel = clock.after(ownRequestTimeoutMs, () => aborter.abort(late));
    try {
      const body = content === undefined ? undefined : Buffer.from(JSON.stringify(content.value));
      const response = await requester.request({ method, target, headers, body, longRunning: false, affinity, signal: aborter.signal });
      return toAnswer(response.status, await readText(response.body), response.headers ?? []);
    } finally {
      cancel();
    }
  }
}

function toAnswer(status: number, text: string, headers: readonly (readonly [string, string])[]): ApiAnswer {
  const object = parseObject(text);
  if (status < 200 || status >= 300)
    return { type: "refused", status, reason: textField(object ?? {}, "reason"), retryAfterMs: readRetryAfter(headers) };
  if (object === undefined)
    throw new GatewayError("UPSTREAM_INVALID", "the apiserver's answer to the agent's own request is not a JSON object");
  return { type: "object", object };
}

function parseObject(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined; // SyntaxError: not JSON, which the caller judges by the status
  }
}

async function readText(body: Readable): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    if (!(chunk instanceof Uint8Array)) continue;
    bytes += chunk.length;
    if (bytes > maxOwnAnswerBytes)
      throw new GatewayError("UPSTREAM_INVALID", "the apiserver's answer to the agent's own request is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
