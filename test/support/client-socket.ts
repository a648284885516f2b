/** A WebSocket of a user to the gateway. */
import { once } from "node:events";
import { WebSocket } from "ws";
import type { ClientOptions } from "ws";
import type { GatewayFixture } from "./system.ts";

export interface SocketMessage {
  readonly text: boolean;
  readonly data: Buffer;
}

/** What a client saw of its WebSocket, in order. */
export interface ClientSocketFixture {
  readonly socket: WebSocket;
  readonly protocol: string;
  readonly messages: readonly SocketMessage[];
  /** Resolves when so many messages have come. */
  received(count: number): Promise<readonly SocketMessage[]>;
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
}

/** What a client got instead of a WebSocket. */
export interface RefusedSocket {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface SocketOptions {
  readonly token?: string;
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
}

export async function openSocket(gateway: GatewayFixture, path: string, options: SocketOptions): Promise<ClientSocketFixture> {
  const opened = await trySocket(gateway, path, options);
  if ("socket" in opened) return opened;
  throw new Error(`the gateway answered the upgrade with ${opened.status}: ${opened.body}`);
}

export async function refusedSocket(gateway: GatewayFixture, path: string, options: SocketOptions): Promise<RefusedSocket> {
  const opened = await trySocket(gateway, path, options);
  if (!("socket" in opened)) return opened;
  opened.socket.terminate();
  throw new Error("the gateway opened the WebSocket");
}

async function trySocket(gateway: GatewayFixture, path: string, options: SocketOptions): Promise<ClientSocketFixture | RefusedSocket> {
  const socket = new WebSocket(
    `${gateway.url.replace("https:", "wss:")}${path}`,
    [...(options.protocols ?? [])],
    clientOptions(gateway, options),
  );
  const messages: SocketMessage[] = [];
  const { promise: closed, resolve: onClosed } = Promise.withResolvers<{ code: number; reason: string }>();
  socket.on("message", (data: Buffer, isBinary: boolean) => messages.push({ text: !isBinary, data }));
  socket.on("close", (code, reason) => onClosed({ code, reason: reason.toString("utf8") }));
  const refused = new Promise<RefusedSocket>((resolve) => {
    socket.on("unexpected-response", (_request, response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts).toString("utf8") }),
      );
    });
  });
  const failed = new Promise<never>((_resolve, reject) => socket.on("error", reject));
  failed.catch(() => undefined); // after the opening, an error is told by the close
  const outcome = await Promise.race([once(socket, "open"), refused, failed]);
  if (!Array.isArray(outcome)) return outcome;
  const received = async (count: number) => {
    while (messages.length < count) await Promise.race([once(socket, "message"), closed]);
    return messages;
  };
  return { socket, protocol: socket.protocol, messages, received, closed };
}

function clientOptions(gateway: GatewayFixture, options: SocketOptions): ClientOptions {
  return {
    ca: gateway.authority.certificate,
    perMessageDeflate: false,
    headers: { ...(options.token !== undefined && { authorization: `Bearer ${options.token}` }), ...options.headers },
  };
}
