/** Servers that say exactly what a test tells them to, and remember what they were told. */
import { once } from "node:events";
import { createServer as createHttpServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

export interface ScriptedServer {
  readonly url: string;
  readonly port: number;
  /** Connections so far. */
  readonly connections: () => number;
  readonly sockets: ReadonlySet<Socket>;
  close(): Promise<void>;
}

/** A TCP server; `script` gets each connection and its number, from 0. */
export async function startTcpServer(script: (socket: Socket, index: number) => void, port = 0): Promise<ScriptedServer> {
  const server = createServer();
  const tracked = track(server, script);
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return { ...tracked, ...addressOf(server.address()) };
}

/** An HTTP server. */
export async function startHttpServer(
  handle: (request: IncomingMessage, response: ServerResponse) => void,
  port = 0,
): Promise<ScriptedServer> {
  const server = createHttpServer(handle);
  const tracked = track(server, () => undefined);
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return { ...tracked, ...addressOf(server.address()) };
}

/** Resolves with the head of a request, and what came with it, once a socket has sent it. */
export async function readHead(socket: Socket): Promise<string> {
  let text = "";
  return new Promise((resolve) => {
    const take = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (!text.includes("\r\n\r\n")) return;
      socket.off("data", take);
      resolve(text);
    };
    socket.on("data", take);
  });
}

/** A port of this machine on which nothing listens. */
export async function closedPort(): Promise<number> {
  const server = await startTcpServer(() => undefined);
  await server.close();
  return server.port;
}

interface Listening {
  on(event: "connection", listener: (socket: Socket) => void): unknown;
  close(done: () => void): unknown;
}

function track(server: Listening, script: (socket: Socket, index: number) => void): Omit<ScriptedServer, "url" | "port"> {
  const sockets = new Set<Socket>();
  let connections = 0;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    script(socket, connections);
    connections += 1;
  });
  return {
    connections: () => connections,
    sockets,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

function addressOf(address: AddressInfo | string | null): { readonly url: string; readonly port: number } {
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return { url: `http://127.0.0.1:${address.port}`, port: address.port };
}
