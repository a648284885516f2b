/** An upgrade: the client gets its 101 when the apiserver has given one, with the sub-protocol that it chose, or the one of raw bytes. */
import { GatewayError } from "#core/errors.ts";
import { rawProtocol } from "#core/kube/raw-upgrade.ts";
import { failureStatus } from "#core/kube/status.ts";
import { endFrames } from "#core/kube/stream-end.ts";
import type { HeadPayload } from "#core/tunnel/payload.ts";
import { ClientSocket } from "#workers/hub/client-socket.ts";
import { readBody } from "#workers/hub/response-body.ts";
import { UserStream } from "#workers/hub/user-stream.ts";
import { endWithCredential } from "./stream-expiry.ts";
import { rawOpening, UploadReport } from "./kube-raw.ts";
import type { KubeCall } from "./kube.ts";
import { sanitizeResponseHeaders } from "#core/kube/response-headers.ts";
import { hubOf } from "#workers/hub/stubs.ts";

export async function answerWebSocket(call: KubeCall): Promise<Response> {
  const user = new UserStream({
    hub: hubOf(call.gateway.env, call.open.cluster),
    open: call.open,
    wholeBody: undefined,
    windows: call.gateway.windows,
  });
  const abort = () => user.fail("CANCELLED", "the client has gone", "CANCEL");
  call.signal.addEventListener("abort", abort);
  const head = await user.open();
  if (head.status !== 101) return refuseUpgrade(call, user, head);
  const isRaw = call.upgrade.type === "raw";
  const opening = isRaw ? openRaw(call, user, head) : undefined;
  call.signal.removeEventListener("abort", abort);
  const { 0: client, 1: server } = new WebSocketPair();
  server.binaryType = "arraybuffer";
  server.accept();
  if (opening !== undefined) server.send(opening);
  const report = isRaw ? new UploadReport(user, (text) => socket.tell(text)) : undefined;
  const protocol = isRaw ? rawProtocol : (head.protocol ?? "");
  const kind = call.upgrade.type === "websocket" ? call.upgrade.kind : "other";
  const expiry = endWithCredential(call, user, head);
  const socket = new ClientSocket({
    stream: user,
    socket: server,
    maxWaitingUploadBytes: call.gateway.configuration.maxWaitingUploadBytes,
    farewell: (error) => {
      const end = endFrames({ kind, protocol }, failureStatus(error.code, error.message));
      return {
        messages: end.messages.map((message) => (message.type === "text" ? message.text : message.bytes)),
        code: end.closeCode,
        reason: end.closeReason,
      };
    },
    onUpload: () => void report?.received(),
    onExtend: (expiresAtMs) => expiry.extend(expiresAtMs),
    onEnd: (outcome, detail) => {
      expiry.stop();
      call.audit.end({ status: 101, reason: `${outcome}: ${detail}`, bytes: user.receivedBytes + user.sentBytes });
    },
  });
  call.signal.addEventListener("abort", () => socket.abandon());
  call.audit.started(101);
  return new Response(null, { status: 101, webSocket: client, headers: protocol === "" ? {} : { "sec-websocket-protocol": protocol } });
}

/** The first message to the client of raw bytes; a stream without one is over. */
function openRaw(call: KubeCall, user: UserStream, head: HeadPayload): string {
  try {
    return rawOpening(call, head);
  } catch (thrown) {
    user.cancel();
    throw thrown;
  }
}

/** The answer that came instead of an upgrade. */
export function refuseUpgrade(call: KubeCall, user: UserStream, head: HeadPayload): Response {
  const sanitized = sanitizeResponseHeaders({ request: call.request, headers: head.headers, publicOrigin: call.place.origin });
  if (sanitized.type === "refused" || head.status < 400) {
    user.cancel();
    throw new GatewayError("UPSTREAM_INVALID", `the apiserver answered an upgrade with status ${head.status}`);
  }
  const body = readBody(user, {
    onFailure: "abort",
    onExtend: () => undefined,
    onEnd: (outcome) => call.audit.end({ status: head.status, reason: outcome, bytes: user.receivedBytes }),
  });
  const headers = new Headers(
    sanitized.headers.filter(([name]) => name.toLowerCase() !== "content-length").map(([name, value]) => [name, value]),
  );
  return new Response(body, { status: head.status, headers, encodeBody: headers.has("content-encoding") ? "manual" : "automatic" });
}
