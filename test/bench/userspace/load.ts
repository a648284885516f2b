/** The load: what a client does, and how long it takes. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { purposes } from "./endpoint.ts";

export interface Measure {
  readonly name: string;
  /** Runs against a port of loopback, and returns its figure. */
  readonly run: (port: number) => Promise<number>;
}

const bulkBytes = 768 << 20;
const roundTrips = 3_000;
const connections = 1_500;
const clients = 8;
const piece = Buffer.alloc(64 << 10, 1);

export const measures: readonly Measure[] = [
  { name: "download, MB/s", run: download },
  { name: "upload, MB/s", run: upload },
  { name: "round trip of one byte, p50 µs", run: roundTrip },
  { name: `new connections, each with one round trip, ${clients} clients, /s`, run: connectionRate },
];

async function download(port: number): Promise<number> {
  const socket = await open(port, purposes.download);
  const startedAtMs = performance.now();
  let received = 0;
  const enough = Promise.withResolvers<void>();
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
    if (received >= bulkBytes) enough.resolve();
  });
  await enough.promise;
  const seconds = (performance.now() - startedAtMs) / 1_000;
  socket.destroy();
  return received / 1e6 / seconds;
}

async function upload(port: number): Promise<number> {
  const socket = await open(port, purposes.upload);
  const startedAtMs = performance.now();
  for (let sent = 0; sent < bulkBytes; sent += piece.length) if (!socket.write(piece)) await once(socket, "drain");
  const done = once(socket, "data");
  socket.end();
  await done;
  return bulkBytes / 1e6 / ((performance.now() - startedAtMs) / 1_000);
}

async function roundTrip(port: number): Promise<number> {
  const socket = await open(port, purposes.echo);
  const times: number[] = [];
  for (let trip = 0; trip < roundTrips; trip++) {
    const startedAtMs = performance.now();
    await exchange(socket, "x");
    times.push(performance.now() - startedAtMs);
  }
  socket.destroy();
  return (times.toSorted((a, b) => a - b)[roundTrips / 2] ?? Number.NaN) * 1_000;
}

async function connectionRate(port: number): Promise<number> {
  const startedAtMs = performance.now();
  let left = connections;
  const client = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const socket = await open(port, purposes.echo);
      await exchange(socket, "x");
      // A reset leaves no TIME_WAIT behind, of which thousands would slow the rounds that follow.
      socket.resetAndDestroy();
    }
  };
  await Promise.all(Array.from({ length: clients }, client));
  return connections / ((performance.now() - startedAtMs) / 1_000);
}

async function open(port: number, purpose: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
  await once(socket, "connect");
  socket.on("error", () => undefined);
  socket.write(Buffer.of(purpose));
  return socket;
}

async function exchange(socket: Socket, text: string): Promise<void> {
  const answer = once(socket, "data");
  socket.write(text);
  await answer;
}
