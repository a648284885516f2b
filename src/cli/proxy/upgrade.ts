/**
 * A request that turns its connection into something else: SPDY and WebSocket alike, as bytes.
 *
 * A refused upgrade that left two connections joined was CVE-2018-1002105. So nothing of the client's passes before the apiserver's 101;
 * any other answer is the end of both connections, and a redirect or a success is no answer at all. A request with a body of its own is
 * refused: its bytes could be taken for the upgraded stream, or the other way round.
 */
import type { ClientRequest, IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { withoutHopByHop } from "#core/kube/headers.ts";
import { answerText } from "./answer.ts";
import { toPairs } from "./forward.ts";
import { refusedUpgradeTimeoutMs } from "./limits.ts";
import { upstreamErrorText } from "./upstream.ts";

/** Whether an upgrade request brings a body, which none of Kubernetes' does. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
}

export interface Upgrading {
  /** The client's connection. */
  readonly socket: Duplex;
  /** What came behind the client's request. */
  readonly head: Buffer;
  /** A response on the client's connection, for an answer that is no upgrade. */
  readonly response: ServerResponse;
  readonly sent: ClientRequest;
  readonly keepAliveMs: number;
  readonly onStatus: (status: number) => void;
}

/** Sends an upgrade request and joins the connections once the apiserver has switched. */
export function upgrade({ socket, head, response, sent, keepAliveMs, onStatus }: Upgrading): void {
  socket.on("error", () => socket.destroy());
  socket.on("close", () => sent.destroy());
  sent.on("upgrade", (answer, upstream, upstreamHead) => {
    answer.socket.setKeepAlive(true, keepAliveMs);
    upstream.on("error", () => upstream.destroy());
    response.detachSocket(socket as Socket); // as it was assigned
    socket.write(switchingHead(answer));
    join(socket, upstream, { head, upstreamHead });
  });
  sent.on("response", (answer) => {
    onStatus(answer.statusCode ?? 0);
    relayRefusal(answer, response);
  });
  sent.on("error", (error) => {
    if (!response.headersSent && !socket.destroyed) answerText(response, 500, `error dialing backend: ${upstreamErrorText(error)}`);
  });
  if (socket.destroyed) sent.destroy();
  else sent.end();
}

function join(socket: Duplex, upstream: Duplex, heads: { readonly head: Buffer; readonly upstreamHead: Buffer }): void {
  upstream.write(heads.head);
  socket.write(heads.upstreamHead);
  socket.pipe(upstream);
  upstream.pipe(socket);
  // An end in one direction is the end of both, as in kubectl's.
  socket.on("close", () => upstream.destroy());
  upstream.on("close", () => socket.destroy());
}

function switchingHead(answer: IncomingMessage): string {
  const lines = toPairs(answer.rawHeaders).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 101 ${answer.statusMessage ?? "Switching Protocols"}\r\n${lines.join("")}\r\n`;
}

/** Passes on an answer that is no upgrade; a success or a redirect is none to pass on. */
export function relayRefusal(answer: IncomingMessage, response: ServerResponse): void {
  const status = answer.statusCode ?? 0;
  if (status < 400) {
    answer.destroy();
    answerText(response, 500, `invalid upgrade response: status code ${status}`);
    return;
  }
  const timer = setTimeout(() => answer.destroy(), refusedUpgradeTimeoutMs);
  answer.on("close", () => clearTimeout(timer));
  answer.on("error", () => response.destroy());
  response.writeHead(status, answer.statusMessage ?? "", withoutHopByHop(toPairs(answer.rawHeaders)).flat());
  answer.pipe(response);
}
