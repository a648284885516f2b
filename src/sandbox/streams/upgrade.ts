/** Upgrades: exec, attach and port-forward over WebSocket; anything else gets the answer of a plain request. */
import { STATUS_CODES } from "node:http";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import type { ApiRequest, Cluster } from "#sandbox/cluster.ts";
import { admit } from "#sandbox/server/pipeline.ts";
import type { RequestRecord } from "#sandbox/server/server.ts";
import { badRequest, failed, methodNotAllowed, ok } from "#sandbox/server/status.ts";
import type { FailureStatus, Outcome } from "#sandbox/server/status.ts";
import { channelProtocols } from "./channels.ts";
import { servePortForward, tunnelProtocol } from "./port-forward.ts";
import { parseStreamOptions, serveAttach, serveExec } from "./remote-command.ts";
import { findStreamTarget } from "./stream-target.ts";
import type { StreamTarget } from "./stream-target.ts";
import { upgradeAdvice } from "./upgrade-needed.ts";

/** An upgrade request with its connection. */
export interface UpgradeParts {
  readonly message: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly log: (record: Omit<RequestRecord, "auditId">) => void;
}

/** Largest message from a client, as Kubernetes' own server library takes. */
const maxMessageBytes = 32 * 1024 * 1024;

/** Serves an upgrade request or refuses it with a Status. */
export function upgrade(cluster: Cluster, parts: UpgradeParts): void {
  const admission = admit(cluster, parts.message);
  const { request } = admission;
  const record = {
    caller: admission.caller.name,
    user: request.type === "ok" ? request.value.user.name : "",
    method: parts.message.method ?? "",
    path: (parts.message.url ?? "").split("?")[0] ?? "",
  };
  const plan = request.type === "failure" ? request : planUpgrade(cluster, request.value, parts.message);
  if (plan.type === "failure") {
    parts.log({ ...record, code: plan.status.code });
    return refuse(parts.socket, plan.status);
  }
  const { value } = plan;
  parts.log({ ...record, code: 101 });
  accept(parts, value.protocol, (ws) => void serve(cluster, ws, value));
}

interface UpgradePlan {
  readonly target: StreamTarget;
  readonly protocol: string;
  readonly query: URLSearchParams;
}

function planUpgrade(cluster: Cluster, request: ApiRequest, message: IncomingMessage): Outcome<UpgradePlan> {
  const { info, user } = request;
  const isStream =
    info.type === "resource" && info.group === "" && info.plural === "pods" && ["attach", "exec", "portforward"].includes(info.subresource);
  if (!isStream) return failed(badRequest("the sandbox upgrades only exec, attach and portforward of pods"));
  const target = findStreamTarget(cluster, info, user);
  if (target.type === "failure") return target;
  if ((message.headers.upgrade ?? "").toLowerCase() !== "websocket") return failed(badRequest(upgradeAdvice(info.subresource)));
  if (message.method !== "GET") return failed(methodNotAllowed());
  const offered = (message.headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  const known: readonly string[] = target.value.type === "portforward" ? [tunnelProtocol] : channelProtocols;
  const protocol = known.find((name) => offered.includes(name));
  if (protocol === undefined) return failed(badRequest(`the sandbox needs one of these WebSocket sub-protocols: ${known.join(", ")}`));
  return ok({ target: target.value, protocol, query: info.query });
}

async function serve(cluster: Cluster, ws: WebSocket, plan: UpgradePlan): Promise<void> {
  switch (plan.target.type) {
    case "exec":
      return serveExec(ws, plan.target.container, { argv: plan.target.argv, options: parseStreamOptions(plan.query) });
    case "attach":
      return serveAttach(ws, plan.target.container, parseStreamOptions(plan.query));
    case "portforward": {
      const { pod } = plan.target;
      const { name, namespace = "" } = pod.metadata;
      return servePortForward(ws, { pod: `${name}_${namespace}`, hostPort: (port) => cluster.kubelet.hostPort(pod, port) });
    }
  }
}

/**
 * Accepts the WebSocket. The `ws` package refuses to parse `SPDY/3.1+portforward.k8s.io`, because `/` is no token character
 * (RFC 6455 section 4.1), although Kubernetes uses it; the offer is replaced by a token and the chosen name written as it must be.
 */
function accept({ message, socket, head }: UpgradeParts, protocol: string, opened: (ws: WebSocket) => void): void {
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    handleProtocols: () => protocol,
  });
  message.headers["sec-websocket-protocol"] = "chosen";
  server.handleUpgrade(message, socket, head, opened);
}

function refuse(socket: Duplex, status: FailureStatus): void {
  const body = `${JSON.stringify(status)}\n`;
  const head = [
    `HTTP/1.1 ${status.code} ${STATUS_CODES[status.code] ?? "Error"}`,
    "Content-Type: application/json",
    "Cache-Control: no-cache, private",
    `Content-Length: ${Buffer.byteLength(body)}`,
    "Connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`);
}
