/** A userspace dataplane on loopback, endpoints that say who they are, and clients that remember what they heard. */
import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { createSockets, type Sockets } from "#agent/dataplane/userspace/dial.ts";
import { userspaceLimits } from "#agent/dataplane/userspace/limits.ts";
import { createProcessBudgets, type UserspaceOptions } from "#agent/dataplane/userspace/options.ts";
import { UserspaceDataplane } from "#agent/dataplane/userspace/userspace.ts";
import { systemClock } from "#agent/clock.ts";
import { clientAddress, nodeAddress } from "./tables.ts";

/** What a test must stop in the end. */
export class Cleanup {
  readonly #steps: (() => unknown)[] = [];

  add(step: () => unknown): void {
    this.#steps.push(step);
  }

  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).toReversed()) await step();
  }
}

export function createDataplane(cleanup: Cleanup, changes: Partial<UserspaceOptions> = {}): UserspaceDataplane {
  const dataplane = new UserspaceDataplane({
    scope: "everything",
    clock: systemClock,
    random: Math.random,
    sockets: createSockets(changes.clock ?? systemClock),
    isOrdinary: () => true,
    interfaces: () => ({}),
    limits: userspaceLimits,
    budgets: createProcessBudgets(),
    ...changes,
  });
  cleanup.add(() => dataplane.close());
  return dataplane;
}

/** Sockets of this machine, some of whose dials fail. */
export function failingSockets(isRefused: (port: number) => boolean): Sockets {
  const sockets = createSockets(systemClock);
  return {
    ...sockets,
    dial: async (endpoint) => (isRefused(endpoint.port) ? { type: "failed", reason: "scripted" } : sockets.dial(endpoint)),
  };
}

export interface TcpEndpoint {
  readonly port: number;
  /** The next connection that nobody asked for yet. */
  next(): Promise<Socket>;
  close(): Promise<void>;
}

/** A TCP server with allowHalfOpen; `serve` gets each connection. */
export async function startTcpEndpoint(cleanup: Cleanup, serve: (socket: Socket) => void): Promise<TcpEndpoint> {
  const sockets = new Set<Socket>();
  const accepted: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    accepted.push(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    serve(socket);
  });
  server.listen(0, nodeAddress);
  await once(server, "listening");
  const close = async (): Promise<void> => {
    if (!server.listening) return;
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  };
  const next = async (): Promise<Socket> => {
    const socket = accepted.shift();
    if (socket !== undefined) return socket;
    await once(server, "connection");
    return next();
  };
  cleanup.add(close);
  return { port: portOf(server.address()), next, close };
}

/** The code of a socket's error, once it breaks. */
export async function errorOf(socket: Socket): Promise<string> {
  const [error] = (await once(socket, "error")) as [NodeJS.ErrnoException];
  return error.code ?? error.message;
}

/** A TCP server that says its own port and echoes what it hears. */
export async function startEcho(cleanup: Cleanup): Promise<TcpEndpoint> {
  return startTcpEndpoint(cleanup, (socket) => {
    socket.write(`${socket.localPort};`);
    socket.pipe(socket);
  });
}

/** A UDP server that answers with its own port and what it heard. */
export async function startUdpEcho(cleanup: Cleanup): Promise<{ readonly port: number; readonly heard: string[]; close(): void }> {
  const socket = createSocket("udp4");
  const heard: string[] = [];
  socket.on("message", (message, { port, address }) => {
    heard.push(`${port} ${message.toString()}`);
    socket.send(`${socket.address().port}:${message.toString()}`, port, address);
  });
  socket.bind(0, nodeAddress);
  await once(socket, "listening");
  let isOpen = true;
  const close = (): void => {
    if (isOpen) socket.close();
    isOpen = false;
  };
  cleanup.add(close);
  return { port: socket.address().port, heard, close };
}

/** A port of an address on which nothing listens, of both protocols. */
export async function freePort(address = nodeAddress): Promise<number> {
  const server = createServer();
  server.listen(0, address);
  await once(server, "listening");
  const port = portOf(server.address());
  server.close();
  await once(server, "close");
  return port;
}

export interface ClientOptions {
  readonly port: number;
  readonly host?: string;
  /** The address it comes from. */
  readonly from?: string;
}

/** A TCP client that is connected. */
export async function openClient(cleanup: Cleanup, { port, host = nodeAddress, from = clientAddress }: ClientOptions): Promise<Socket> {
  const socket = connect({ port, host, localAddress: from, allowHalfOpen: true });
  cleanup.add(() => socket.destroy());
  await once(socket, "connect");
  // Whoever cares for the error waits for it.
  socket.on("error", () => undefined);
  return socket;
}

/** How a connection attempt ended: the first text it got, or the error's code. */
export async function tryConnect(cleanup: Cleanup, options: ClientOptions): Promise<string> {
  try {
    const socket = await openClient(cleanup, options);
    const text = await nextText(socket);
    socket.destroy();
    return text;
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  }
}

/** The port of the endpoint that a new connection reached. */
export async function reachedPort(cleanup: Cleanup, options: ClientOptions): Promise<number> {
  return Number.parseInt(await tryConnect(cleanup, options), 10);
}

/** The next bytes of a socket as text; empty at its end. Rejects with its error. */
export async function nextText(socket: Socket): Promise<string> {
  const text = Promise.withResolvers<string>();
  const done = (value: string): void => {
    socket.off("data", onData).off("end", onEnd).off("error", text.reject);
    text.resolve(value);
  };
  const onData = (chunk: Buffer): void => done(chunk.toString("latin1"));
  const onEnd = (): void => done("");
  socket.once("data", onData).once("end", onEnd).once("error", text.reject);
  return text.promise;
}

/** Everything until the end of a socket. */
export async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "end");
  return Buffer.concat(chunks).toString("latin1");
}

export interface UdpClient {
  readonly socket: DatagramSocket;
  /** Sends to a frontend and resolves with the answer. */
  ask(text: string, port: number, host?: string): Promise<string>;
}

/** A UDP client with a port of its own. */
export async function openUdpClient(cleanup: Cleanup, from = nodeAddress): Promise<UdpClient> {
  const socket = createSocket("udp4");
  socket.on("error", () => undefined);
  socket.bind(0, from);
  await once(socket, "listening");
  cleanup.add(() => socket.close());
  const ask = async (text: string, port: number, host = nodeAddress): Promise<string> => {
    const answer = once(socket, "message");
    socket.send(text, port, host);
    const [message] = (await answer) as [Buffer];
    return message.toString();
  };
  return { socket, ask };
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  return address.port;
}
