/** Asking an apiserver to switch the protocol; an answer that is no switch is carried as a plain one. */
import { GatewayError } from "#core/errors.ts";
import { listValues } from "#core/kube/headers.ts";
import { highWaterBytes } from "#agent/tunnel/tunnel-stream.ts";
import type { TunnelStream } from "#agent/tunnel/tunnel-stream.ts";
import { requestHeaders } from "./admitted.ts";
import type { AdmittedRequest, HandlerOptions } from "./admitted.ts";
import type { ApiserverResponse, ApiserverUpgrade } from "./ports.ts";

const plain = { messageEnd: false, text: false };

type Timing = { readonly verifyMs: number; readonly upstreamMs: number };

/** A connection that has switched, before its first bytes. */
export type Switched = Extract<ApiserverUpgrade, { readonly type: "switched" }> & { readonly timing: Timing };

export interface UpgradeQuestion {
  readonly admitted: AdmittedRequest;
  readonly stream: TunnelStream;
  readonly abort: AbortController;
  /** The header in which the user offers what is spoken then, in lower case. */
  readonly offers: string;
  /** Another protocol than WebSocket. */
  readonly protocol?: string | undefined;
  /** The user's direction has ended before there was an answer. */
  readonly onEnd: () => void;
}

/** Asks for the upgrade, until the user has gone. undefined: nothing is left to do. */
export async function switchProtocol(options: HandlerOptions, question: UpgradeQuestion): Promise<Switched | undefined> {
  const { admitted, stream, abort, offers, protocol, onEnd } = question;
  const { open, identity, verifyMs } = admitted;
  const startedMs = performance.now();
  stream.listen({
    onData: (_p, _k, consumed) => consumed(), // nothing passes before the 101
    onEnd,
    onReset: () => abort.abort(new GatewayError("CANCELLED", "the user has gone")),
    onDrain: () => undefined,
  });
  const outcome = await options.apiservers.upgrade({
    method: open.method,
    target: open.target,
    headers: await requestHeaders(options, admitted, listValues(open.headers, offers)),
    body: undefined,
    longRunning: true,
    affinity: identity.username,
    signal: abort.signal,
    protocol,
  });
  const timing = { verifyMs, upstreamMs: performance.now() - startedMs };
  if (outcome.type === "switched" && !stream.isClosed) return { ...outcome, timing };
  if (outcome.type === "switched") outcome.socket.destroy();
  else carryAnswer(outcome.response, admitted, stream, timing);
  return undefined;
}

/** Carries what an apiserver answered instead of switching. */
function carryAnswer(response: ApiserverResponse, admitted: AdmittedRequest, stream: TunnelStream, timing: Timing): void {
  const { body } = response;
  stream.sendHead({ status: response.status, headers: response.headers, timing });
  stream.listen({
    onData: (_p, _k, consumed) => consumed(),
    onEnd: () => undefined,
    onReset: () => body.destroy(),
    onDrain: () => body.resume(),
  });
  body.on("data", (chunk: Uint8Array) => {
    stream.write(chunk, plain);
    if (stream.queuedCost >= highWaterBytes) body.pause();
  });
  body.on("end", () => stream.end());
  body.on("error", () => stream.reset("TRUNCATED", "the apiserver broke off its answer"));
  admitted.record.end({ status: response.status, reason: "refused upgrade", bytesIn: stream.receivedBytes, bytesOut: stream.sentBytes });
}
