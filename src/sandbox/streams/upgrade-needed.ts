/** The answer to exec, attach and port-forward over plain HTTP or SPDY. kubectl shows it when its WebSocket attempt has failed. */
import type { Cluster } from "#sandbox/cluster.ts";
import type { ReadTarget } from "#sandbox/server/read.ts";
import { failureReply } from "#sandbox/server/reply.ts";
import type { Reply } from "#sandbox/server/reply.ts";
import { badRequest } from "#sandbox/server/status.ts";
import { findStreamTarget } from "./stream-target.ts";

/** The failure that the WebSocket attempt had too, else a 400 that says what works. */
export function upgradeNeeded(cluster: Cluster, { info, request }: ReadTarget): Reply {
  const target = findStreamTarget(cluster, info, request.user);
  return failureReply(target.type === "failure" ? target.status : badRequest(upgradeAdvice(info.subresource)));
}

/** What works instead of SPDY. */
export function upgradeAdvice(subresource: string): string {
  const versions =
    "Use kubectl 1.31 or later; on 1.29 and 1.30 set KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true and KUBECTL_PORT_FORWARD_WEBSOCKETS=true";
  return `the sandbox speaks WebSocket for pods/${subresource}, not SPDY or plain HTTP. ${versions}`;
}
