/**
 * pods/portforward over WebSocket: the messages are a byte stream of SPDY frames (KEP-4006). Each forwarded connection is a pair of
 * streams with the same request id, `error` and `data`; data goes to the port of the pod's process on this machine's loopback.
 */
import { connect } from "node:net";
import type { Socket } from "node:net";
import type { WebSocket } from "ws";
import { SpdySession } from "./spdy-session.ts";
import type { SpdyStream } from "./spdy-session.ts";

/** The sub-protocol of kubectl 1.31 and later. */
export const tunnelProtocol = "SPDY/3.1+portforward.k8s.io";

/** What a session needs to know of its pod. */
export interface ForwardTarget {
  /** namespace_name, for messages. */
  readonly pod: string;
  /** The real port behind a pod's port; undefined when nothing listens there. */
  hostPort(port: number): number | undefined;
}

/** Unread bytes toward the client above which the pod's process is not read any more. */
const highWaterBytes = 1024 * 1024;
/** Unread bytes toward one pod's process; a process that does not read loses the connection, and the others go on. */
const maxUnreadBytes = 32 * 1024 * 1024;

interface Pair {
  error?: SpdyStream;
  data?: SpdyStream;
  socket?: Socket | undefined;
}

/** Serves a port-forward session until the client closes it. */
export function servePortForward(ws: WebSocket, target: ForwardTarget): void {
  const pairs = new Map<string, Pair>();
  const byStream = new Map<number, { readonly key: string; readonly kind: "data" | "error" }>();
  const paused = new Set<Socket>();
  const write = (bytes: Buffer): void =>
    ws.send(bytes, () => {
      if (ws.bufferedAmount > highWaterBytes) return;
      for (const socket of paused) socket.resume();
      paused.clear();
    });
  const session = new SpdySession(write, {
    opened: (stream) => {
      const kind = stream.headers["streamtype"];
      if (portOf(stream) === undefined || (kind !== "data" && kind !== "error")) return false;
      const key = requestIdOf(stream, kind);
      const pair = pairs.get(key) ?? {};
      if (pair[kind] !== undefined) return false;
      pair[kind] = stream;
      pairs.set(key, pair);
      byStream.set(stream.id, { key, kind });
      if (pair.data !== undefined && pair.error !== undefined) pair.socket = dial(pair.data, pair.error, { target, ws, paused });
      return true;
    },
    data: (id, payload) => {
      const pair = pairOf(id);
      if (pair?.socket === undefined) return pair?.data?.reset(); // data before the pair is complete
      pair.socket.write(payload);
      if (pair.socket.writableLength > maxUnreadBytes) pair.socket.destroy(new Error("the pod's process does not read"));
    },
    ended: (id) => {
      if (byStream.get(id)?.kind === "data") pairOf(id)?.socket?.end();
    },
    closed: (id) => {
      const place = byStream.get(id);
      byStream.delete(id);
      if (place === undefined || place.kind === "error") return;
      const socket = pairs.get(place.key)?.socket;
      if (socket !== undefined && !socket.writableEnded) socket.destroy();
      pairs.delete(place.key);
    },
  });
  const pairOf = (id: number): Pair | undefined => {
    const place = byStream.get(id);
    return place?.kind === "data" ? pairs.get(place.key) : undefined;
  };
  receive(ws, session);
}

/** Hands messages to the session one after another. */
function receive(ws: WebSocket, session: SpdySession): void {
  let last: Promise<void> = Promise.resolve();
  ws.on("message", (message: Buffer, isBinary: boolean) => {
    if (!isBinary) return ws.close(1003, "port-forward takes binary messages only");
    last = last.then(async () => {
      const error = await session.take(message);
      if (error !== undefined) ws.close(1002, error.why);
    });
  });
  ws.on("error", () => ws.terminate());
  ws.once("close", () => void last.then(() => session.close()));
}

interface DialParts {
  readonly target: ForwardTarget;
  readonly ws: WebSocket;
  readonly paused: Set<Socket>;
}

function dial(data: SpdyStream, error: SpdyStream, { target, ws, paused }: DialParts): Socket | undefined {
  const port = portOf(data) ?? 0;
  const hostPort = target.hostPort(port);
  const fail = (why: string): void => {
    error.send(Buffer.from(`error forwarding port ${port} to pod ${target.pod}: ${why}`), "fin");
    data.reset();
    error.reset();
  };
  if (hostPort === undefined) {
    fail(`failed to connect to localhost:${port} inside the sandbox's pod: connection refused`);
    return undefined;
  }
  const socket = connect({ host: "127.0.0.1", port: hostPort, allowHalfOpen: true });
  socket.on("data", (chunk: Buffer) => {
    data.send(chunk);
    if (ws.bufferedAmount <= highWaterBytes) return;
    socket.pause();
    paused.add(socket);
  });
  socket.once("end", () => {
    data.send(Buffer.alloc(0), "fin");
    error.send(Buffer.alloc(0), "fin");
  });
  socket.once("error", (reason) => fail(reason.message));
  socket.once("close", () => paused.delete(socket));
  return socket;
}

function portOf(stream: SpdyStream): number | undefined {
  const text = stream.headers["port"] ?? "";
  const port = Number(text);
  return /^[0-9]{1,5}$/.test(text) && port >= 1 && port <= 65_535 ? port : undefined;
}

/** The request's id; clients without one open `error` and then `data`, two ids apart. */
function requestIdOf(stream: SpdyStream, kind: "data" | "error"): string {
  const given = stream.headers["requestid"] ?? "";
  return given === "" ? `#${kind === "error" ? stream.id : stream.id - 2}` : given;
}
