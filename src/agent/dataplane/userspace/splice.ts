/** Joins two connections until both are over: bytes, their backpressure, half-closes and resets pass from each to the other. */
import type { Socket } from "node:net";
import type { Upstream } from "./dial.ts";

/** Resolves when both are closed; never rejects. */
export async function splice(client: Socket, upstream: Upstream): Promise<void> {
  const { socket } = upstream;
  breakTogether(client, socket);
  breakTogether(socket, client);
  const closed = Promise.all([closeOf(client), closeOf(socket)]);
  handDown(upstream, client);
  // Not `pipeline`, whose own watch over errors costs a third of a short connection's CPU time: `breakTogether` keeps it here.
  client.pipe(socket);
  await closed;
}

/**
 * Ends a connection with a reset. While its FIN is on the way Node 24 cannot reset it and would never close it; everything was sent then,
 * so that closing it tells nothing untrue.
 */
export function breakOff(socket: Socket): void {
  const isShuttingDown = socket.writableEnded && !socket.writableFinished && socket.writableLength === 0;
  if (isShuttingDown) socket.destroy();
  else socket.resetAndDestroy();
}

/** Hands the endpoint's bytes to the client. The next are read when the kernel has taken these: until then the buffer is not free. */
function handDown(upstream: Upstream, client: Socket): void {
  const { socket } = upstream;
  let isWaiting = false;
  const written = (): void => {
    if (!isWaiting || client.writableLength > 0) return;
    isWaiting = false;
    socket.resume();
  };
  upstream.take = (chunk) => {
    client.write(chunk, written);
    // The kernel mostly takes a chunk at once, and then nothing of it waits here.
    isWaiting = client.writableLength > 0;
    return !isWaiting;
  };
  socket.once("end", () => client.end());
}

/** A connection that breaks resets the other. Closing it would look like the end of what was sent, and half an upload like a whole one. */
function breakTogether(one: Socket, other: Socket): void {
  one.once("error", () => breakOff(other));
  one.once("close", () => {
    if (!one.readableEnded || !one.writableFinished) breakOff(other);
  });
}

async function closeOf(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve();
    else socket.once("close", () => resolve());
  });
}
