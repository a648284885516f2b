/** The agent's own requests whose answers come bit by bit: lists and watches. */
import type { Readable } from "node:stream";
import { GatewayError } from "#core/errors.ts";
import type { Clock } from "#agent/clock.ts";
import { isObject, textField } from "#core/json-fields.ts";
import type { OwnCredential } from "./api.ts";
import { maxRefusalBytes, watchHeadMs } from "./limits.ts";
import { Bytes } from "./list-reader.ts";
import { readRetryAfter } from "./retry-after.ts";

/** The way to the apiservers, for answers that are read as they come. */
export interface StreamRequester {
  request(request: {
    readonly method: string;
    readonly target: string;
    readonly headers: readonly (readonly [string, string])[];
    readonly body: undefined;
    readonly longRunning: boolean;
    readonly affinity: string;
    readonly signal: AbortSignal;
  }): Promise<{ readonly status: number; readonly headers: readonly (readonly [string, string])[]; readonly body: Readable }>;
}

export interface ClusterStreamsOptions {
  readonly requester: StreamRequester;
  readonly credential: OwnCredential;
  readonly clock: Clock;
  /** Differs from node to node, so that all of them do not choose the same apiserver. */
  readonly affinity: string;
}

/** An answer: its body, or why there is none. */
export type StreamAnswer =
  | { readonly type: "open"; readonly body: Readable }
  | { readonly type: "refused"; readonly status: number; readonly reason: string; readonly retryAfterMs: number | undefined };

export interface StreamRequest {
  readonly target: string;
  /** A watch: its body may last for hours. */
  readonly isWatch: boolean;
  readonly signal: AbortSignal;
}

/** Opens lists and watches. Rejects with a GatewayError when the cluster cannot be asked, or with the signal's reason. */
export class ClusterStreams {
  readonly #options: ClusterStreamsOptions;

  constructor(options: ClusterStreamsOptions) {
    this.#options = options;
  }

  /** A 401 says that nothing was done: the credential is fetched anew once. */
  async open(request: StreamRequest): Promise<StreamAnswer> {
    const first = await this.#once(request);
    if (first.type !== "refused" || first.status !== 401) return first;
    this.#options.credential.invalidate();
    return this.#once(request);
  }

  async #once({ target, isWatch, signal }: StreamRequest): Promise<StreamAnswer> {
    const { requester, credential, clock, affinity } = this.#options;
    const headers: [string, string][] = [["accept", "application/json"]];
    const authorization = await credential.authorization();
    if (authorization !== undefined) headers.push(["authorization", authorization]);
    const late = new AbortController();
    const cancel = clock.after(watchHeadMs, () =>
      late.abort(new GatewayError("UPSTREAM_TIMEOUT", "the apiserver did not begin to answer")),
    );
    const either = AbortSignal.any([signal, late.signal]);
    try {
      const request = { method: "GET", target, headers, body: undefined, longRunning: isWatch, affinity, signal: either };
      const answer = await requester.request(request);
      if (answer.status === 200) return { type: "open", body: answer.body };
      return {
        type: "refused",
        status: answer.status,
        reason: await readReason(answer.body),
        retryAfterMs: readRetryAfter(answer.headers),
      };
    } finally {
      cancel();
    }
  }
}

/** The Status' reason; empty when the body is no Status. */
async function readReason(body: Readable): Promise<string> {
  const bytes = new Bytes(maxRefusalBytes, "a refusal");
  try {
    for await (const chunk of body) if (chunk instanceof Uint8Array) bytes.add(chunk);
    const status: unknown = JSON.parse(bytes.take());
    return isObject(status) ? textField(status, "reason") : "";
  } catch {
    return ""; // too long, broken off, or not JSON: the status alone decides
  }
}
