/** A plain request: open the stream, send the body as credit allows, and give the client the head and bytes as they come. */
import { GatewayError, toGatewayError } from "#core/errors.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { isDiscovery, isLongRunning } from "#core/kube/request-class.ts";
import { sanitizeResponseHeaders } from "#core/kube/response-headers.ts";
import { warningHeader } from "#core/kube/status.ts";
import type { HeadPayload } from "#core/tunnel/payload.ts";
import { readBody } from "#workers/hub/response-body.ts";
import { UserStream } from "#workers/hub/user-stream.ts";
import { DiscoveryCapture } from "./discovery.ts";
import type { Expiry } from "./expiry.ts";
import { endWithCredential } from "./stream-expiry.ts";
import type { KubeCall } from "./kube.ts";
import { withPrefixedLocation } from "#workers/gateway.ts";
import { hubOf } from "#workers/hub/stubs.ts";

/** Statuses that never have a body (RFC 9110 sections 15.3.5, 15.4.5). */
const bodiless: ReadonlySet<number> = new Set([204, 205, 304]);

/** @param whole the request's body when it is short and known */
export async function answerHttp(
  call: KubeCall,
  body: ReadableStream<Uint8Array> | null,
  whole: Uint8Array | undefined,
): Promise<Response> {
  const openedMs = Date.now();
  const stream = await openStream(call, whole, body);
  const { head } = stream;
  if (call.upgrade.type === "spdy" && head.status === 400) {
    stream.user.cancel();
    throw new GatewayError(call.upgrade.code, call.upgrade.message);
  }
  return respond(call, stream.user, head, Date.now() - openedMs);
}

/**
 * Opens the stream; one whose agent vanished before it answered is opened once more when the request only reads.
 * @throws GatewayError when there is no answer
 */
async function openStream(
  call: KubeCall,
  whole: Uint8Array | undefined,
  body: ReadableStream<Uint8Array> | null,
): Promise<{ user: UserStream; head: HeadPayload }> {
  const hub = hubOf(call.gateway.env, call.open.cluster);
  const hasLength = call.open.headers.some(([name]) => name === "content-length");
  for (let attempt = 1; ; attempt++) {
    const user = new UserStream({ hub, open: call.open, wholeBody: whole, windows: call.gateway.windows });
    const abort = () => user.fail("CANCELLED", "the client has gone", "CANCEL");
    call.signal.addEventListener("abort", abort);
    if (whole === undefined && body !== null) call.gateway.context.waitUntil(sendBody(user, body, hasLength));
    else if (whole === undefined) user.finish();
    try {
      return { user, head: await user.open() };
    } catch (thrown) {
      const error = toGatewayError(thrown);
      const repeatable = body === null && (error.code === "OVERLOADED" || (error.code === "AGENT_GONE" && isReading(call.open.method)));
      if (attempt > 1 || !repeatable) throw error;
    } finally {
      call.signal.removeEventListener("abort", abort);
    }
  }
}

function isReading(method: string): boolean {
  return method === "GET" || method === "HEAD";
}

/** Bytes of an upload that are read at once: iterating over a body gives 4 KiB pieces, and the tunnel pays for each. */
const uploadPieceBytes = 128 << 10;

/** Bytes of an upload that may wait for the agent's credit while the next ones are read. */
const uploadAheadBytes = 256 << 10;

/** @param hasLength the client has said how much it will send, so waiting for a whole piece keeps nothing from the apiserver that it could answer */
async function sendBody(user: UserStream, body: ReadableStream<Uint8Array>, hasLength: boolean): Promise<void> {
  const reader = body.getReader({ mode: "byob" });
  try {
    for (;;) {
      const piece = new Uint8Array(uploadPieceBytes);
      const { value, done } = hasLength ? await reader.readAtLeast(uploadPieceBytes, piece) : await reader.read(piece);
      if (value !== undefined && value.length > 0) user.write(value, { messageEnd: false, text: false });
      if (done) break;
      if (user.queuedCost >= uploadAheadBytes) await user.drained();
    }
    user.finish();
  } catch {
    user.fail("REQUEST_INVALID", "the request's body broke off or is malformed", "CANCEL");
  }
}

function respond(call: KubeCall, user: UserStream, head: HeadPayload, hubMs: number): Response {
  const sanitized = sanitizeResponseHeaders({ request: call.request, headers: head.headers, publicOrigin: call.place.origin });
  if (sanitized.type === "refused") {
    user.cancel();
    throw new GatewayError(sanitized.code, sanitized.message);
  }
  const expiry = endWithCredential(call, user, head);
  const isEmpty = bodiless.has(head.status) || call.open.method === "HEAD";
  const body = isEmpty ? null : carryBody({ call, user, head, expiry, headers: sanitized.headers });
  if (isEmpty) {
    user.cancel();
    expiry.stop();
    call.audit.end({ status: head.status, reason: "completed", bytes: 0 });
  }
  const headers = responseHeaders(withPrefixedLocation(call.place, sanitized.headers), isEmpty || body instanceof Uint8Array);
  headers.append("Server-Timing", serverTiming(call, head, hubMs));
  headers.set("Audit-ID", call.audit.id);
  if (isLongRunning(call.request)) {
    call.audit.started(head.status);
    if (head.status < 300 && expiry.atMs !== Number.POSITIVE_INFINITY) headers.append("Warning", warningHeader(endNotice(expiry.atMs)));
  }
  return new Response(body, { status: head.status, headers, encodeBody: headers.has("content-encoding") ? "manual" : "automatic" });
}

function endNotice(atMs: number): string {
  return `this stream ends at ${new Date(atMs).toISOString()} with the credential that opened it`;
}

interface Carried {
  readonly call: KubeCall;
  readonly user: UserStream;
  readonly head: HeadPayload;
  readonly expiry: Expiry;
  readonly headers: HeaderPairs;
}

function carryBody({ call, user, head, expiry, headers }: Carried): Uint8Array | ReadableStream<Uint8Array> {
  const capture = isDiscovery(call.request) && head.status === 200 ? new DiscoveryCapture(call, headers) : undefined;
  return readBody(user, {
    onFailure: call.request.type === "resource" && call.request.verb === "watch" ? "end" : "abort",
    onBytes: (bytes) => capture?.take(bytes),
    onExtend: (expiresAtMs) => expiry.extend(expiresAtMs),
    onEnd: (outcome) => {
      expiry.stop();
      if (outcome === "completed") capture?.keep();
      call.audit.end({ status: head.status, reason: outcome, bytes: user.receivedBytes });
    },
  });
}

/** A body that is streamed is framed by its end, so a cut one is seen as cut: no length is promised for it. */
function responseHeaders(pairs: readonly (readonly [string, string])[], whole: boolean): Headers {
  const headers = new Headers();
  for (const [name, value] of pairs) {
    if (whole || name.toLowerCase() !== "content-length") headers.append(name, value);
  }
  return headers;
}

/** Where the time went (Server-Timing, W3C): the gateway's own check, the way to the agent and back, the agent's check, the apiserver. */
function serverTiming(call: KubeCall, head: HeadPayload, hubMs: number): string {
  const { verifyMs, upstreamMs } = head.timing;
  const tunnelMs = Math.max(0, hubMs - verifyMs - upstreamMs);
  return [
    `gateway;dur=${call.authenticateMs}`,
    `tunnel;dur=${tunnelMs.toFixed(1)}`,
    `agent;dur=${verifyMs.toFixed(1)}`,
    `apiserver;dur=${upstreamMs.toFixed(1)}`,
  ].join(", ");
}
