/** A forward: the client gets its 101 when the agent has made the connection, and what was chosen in a header of it. */
import { headerValues } from "#core/kube/headers.ts";
import { forwardProtocol, forwardTargetHeader } from "#core/kube/forward-target.ts";
import { ForwardSocket } from "#workers/hub/forward-socket.ts";
import { hubOf } from "#workers/hub/stubs.ts";
import { UserStream } from "#workers/hub/user-stream.ts";
import { endWithCredential } from "./stream-expiry.ts";
import type { KubeCall } from "./kube.ts";
import { refuseUpgrade } from "./kube-websocket.ts";

export async function answerForward(call: KubeCall): Promise<Response> {
  const { gateway, open, audit, signal } = call;
  const user = new UserStream({ hub: hubOf(gateway.env, open.cluster), open, wholeBody: undefined, windows: gateway.windows });
  const abort = () => user.fail("CANCELLED", "the client has gone", "CANCEL");
  signal.addEventListener("abort", abort);
  const head = await user.open();
  if (head.status !== 101) return refuseUpgrade(call, user, head);
  signal.removeEventListener("abort", abort);
  const { 0: client, 1: server } = new WebSocketPair();
  server.binaryType = "arraybuffer";
  server.accept();
  const expiry = endWithCredential(call, user, head);
  const socket = new ForwardSocket({
    stream: user,
    socket: server,
    windows: gateway.windows,
    onExtend: (expiresAtMs) => expiry.extend(expiresAtMs),
    onEnd: (outcome, detail) => {
      expiry.stop();
      audit.end({ status: 101, reason: `${outcome}: ${detail}`, bytes: user.receivedBytes + user.sentBytes });
    },
  });
  signal.addEventListener("abort", () => socket.abandon());
  audit.started(101);
  const [chosen = ""] = headerValues(head.headers, forwardTargetHeader);
  const headers = { "sec-websocket-protocol": forwardProtocol, ...(/^[\w./-]{1,600}$/.test(chosen) && { [forwardTargetHeader]: chosen }) };
  return new Response(null, { status: 101, webSocket: client, headers });
}
