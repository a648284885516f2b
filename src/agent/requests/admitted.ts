/** A request that was let through, what carries it, and the headers that it gets. */
import type { Duplex } from "node:stream";
import { GatewayError } from "#core/errors.ts";
import type { Identity } from "#core/access/identity.ts";
import { writeRequestHeaders } from "#core/kube/impersonation.ts";
import type { KubeRequest } from "#core/kube/request-path.ts";
import type { OpenPayload } from "#core/tunnel/payload.ts";
import type { TokenDoor } from "#identity/token-door.ts";
import type { VerifiedToken } from "#identity/token-verdict.ts";
import type { Clock } from "#agent/clock.ts";
import type { AccessReviews, Apiservers, TargetDialer, WebSocketPeer } from "./ports.ts";
import type { RequestEnd, RequestRecorder } from "./record.ts";
import type { Sessions } from "./sessions.ts";
import type { UserLimits } from "#core/access/user-limits.ts";

export interface HandlerOptions {
  readonly cluster: string;
  readonly door: TokenDoor;
  /** Names, or `prefix*`. */
  readonly allowedGroups: readonly string[];
  /** Kubelet paths that `nodes/proxy` reaches beyond reading: `isKubeletPathPattern`. */
  readonly allowedKubeletPaths: readonly string[];
  readonly apiservers: Apiservers;
  readonly reviews: AccessReviews;
  readonly dialer: TargetDialer;
  readonly clock: Clock;
  /** The agent's own Authorization value; undefined when it authenticates by client certificate. */
  readonly authorization: () => Promise<string | undefined>;
  readonly sessions: Sessions;
  readonly limits: UserLimits;
  readonly recorder: RequestRecorder;
  readonly createWebSocket: (socket: Duplex, head: Uint8Array, protocol: string | undefined) => WebSocketPeer;
  /** Groups dropped by the allow-list are counted here. */
  readonly onDroppedGroups: (count: number) => void;
}

/** A request whose user is known and that may go on. */
export interface AdmittedRequest {
  readonly open: OpenPayload;
  readonly request: KubeRequest;
  readonly token: VerifiedToken;
  /** Who it runs as. */
  readonly identity: Identity;
  /** The true user's name when that is somebody else. */
  readonly originalUser: string | undefined;
  readonly longRunning: boolean;
  readonly verifyMs: number;
  readonly record: { end(end: RequestEnd): void };
}

/**
 * The headers for the apiserver.
 * @param protocols sub-protocols of a WebSocket, or stream protocols of another upgrade, to offer
 * @throws GatewayError when they cannot be written
 */
export async function requestHeaders(
  options: HandlerOptions,
  admitted: AdmittedRequest,
  protocols: readonly string[],
): Promise<readonly (readonly [string, string])[]> {
  const { open, request, identity, originalUser } = admitted;
  const written = writeRequestHeaders({
    request,
    clientHeaders: open.headers,
    identity,
    originalUser,
    authorization: await options.authorization(),
    auditId: open.auditId,
    clientIp: open.clientAddress,
    clientHost: open.headers.find(([name]) => name === "host")?.[1],
    webSocketProtocols: open.kind === "websocket" ? protocols : undefined,
    streamProtocols: open.kind === "upgrade" ? protocols : undefined,
  });
  if (written.type === "refused") throw new GatewayError(written.code, written.message);
  return written.headers;
}
