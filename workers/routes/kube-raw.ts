/**
 * What is particular to a WebSocket whose messages are the bytes of an upgraded connection: the head of the apiserver's 101 goes first, as
 * a text, because not every edge passes headers of a 101; and since a Worker cannot stop reading a WebSocket, its client is told how far
 * its bytes have gone, and stops by itself.
 */
import { GatewayError } from "#core/errors.ts";
import { rawUploadWindowBytes } from "#core/kube/raw-upgrade.ts";
import { sanitizeResponseHeaders } from "#core/kube/response-headers.ts";
import type { HeadPayload } from "#core/tunnel/payload.ts";
import type { UserStream } from "#workers/hub/user-stream.ts";
import type { KubeCall } from "./kube.ts";

/** The first message. @throws GatewayError UPSTREAM_INVALID when the apiserver's headers cannot be passed on */
export function rawOpening(call: KubeCall, head: HeadPayload): string {
  const sanitized = sanitizeResponseHeaders({ request: call.request, headers: head.headers, publicOrigin: call.place.origin });
  if (sanitized.type === "refused") throw new GatewayError(sanitized.code, sanitized.message);
  const window = Math.min(rawUploadWindowBytes, call.gateway.configuration.maxWaitingUploadBytes / 2);
  return JSON.stringify({ headers: sanitized.headers, window });
}

/** Tells a client how many of its bytes have gone on to the agent, whenever none wait. */
export class UploadReport {
  readonly #user: UserStream;
  readonly #send: (text: string) => void;
  #isWaiting = false;
  #told = 0;

  constructor(user: UserStream, send: (text: string) => void) {
    this.#user = user;
    this.#send = send;
  }

  /** Call when bytes have come. */
  async received(): Promise<void> {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    await this.#user.drained();
    this.#isWaiting = false;
    const { sentBytes } = this.#user;
    if (sentBytes === this.#told) return;
    this.#told = sentBytes;
    this.#send(JSON.stringify({ taken: sentBytes }));
  }
}
