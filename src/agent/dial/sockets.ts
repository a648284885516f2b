/** Sockets to targets, by address and never by name. */
import { createSocket } from "node:dgram";
import type { Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { connect, isIP } from "node:net";
import type { Socket } from "node:net";
import { dialTimeoutMs } from "./limits.ts";

export type StreamSocket = Socket;
export type DatagramSocket = UdpSocket;

export type TcpOutcome =
  | { readonly type: "connected"; readonly socket: StreamSocket }
  /** The connection was never made. */
  | { readonly type: "failed"; readonly reason: string };

/** The way to targets; tests lead it to servers of their own. */
export interface TargetSockets {
  /** Opens a connection whose two directions end by themselves. */
  connectTcp(address: string, port: number, signal: AbortSignal): Promise<TcpOutcome>;
  /** Opens a socket that sends to this address and port, and hears nobody else. */
  openUdp(address: string, port: number): Promise<DatagramSocket>;
}

/** Time between TCP keep-alives: a target that has gone without a word is noticed in some minutes. */
const keepAliveMs = 30_000;

export const targetSockets: TargetSockets = { connectTcp, openUdp };

function connectTcp(host: string, port: number, signal: AbortSignal): Promise<TcpOutcome> {
  return new Promise((resolve) => {
    const fail = (reason: string): void => {
      socket.destroy();
      resolve({ type: "failed", reason });
    };
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs });
    const timer = setTimeout(() => fail(`no answer within ${dialTimeoutMs / 1000} s`), dialTimeoutMs);
    const abort = (): void => fail("the user has gone");
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    };
    signal.addEventListener("abort", abort);
    socket.once("error", (error) => {
      settle();
      fail(reasonOf(error));
    });
    socket.once("connect", () => {
      settle();
      socket.removeAllListeners("error");
      socket.pause();
      resolve({ type: "connected", socket });
    });
  });
}

async function openUdp(address: string, port: number): Promise<DatagramSocket> {
  const socket = createSocket(isIP(address) === 6 ? "udp6" : "udp4");
  socket.connect(port, address);
  await once(socket, "connect");
  return socket;
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  EHOSTUNREACH: "no route to it",
  ENETUNREACH: "no route to its network",
  ETIMEDOUT: "no answer",
  ECONNRESET: "connection reset",
};

function reasonOf(error: NodeJS.ErrnoException): string {
  return reasons[error.code ?? ""] ?? error.code ?? "it failed";
}
