/**
 * One peer of the relay, as a program: `relay-peer.ts source|sink URL CA-FILE`. The sink asks for a number of bytes; the source sends
 * them in messages of the tunnel's size, at most a window ahead of what the sink has told to have got.
 */
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { WebSocket } from "ws";
import { batchBytes } from "#core/tunnel/limits.ts";

/** The source stays this far ahead: twice the tunnel's largest window, so that the relay never waits. */
const windowBytes = 8 << 20;
const tellBytes = 1 << 20;

const [role, url, ca] = process.argv.slice(2);
const socket = new WebSocket(`${url}?role=${role}`, { perMessageDeflate: false, ca: readFileSync(ca ?? "") });
const tell = (figures: Readonly<Record<string, number>>) => process.stdout.write(`${JSON.stringify(figures)}\n`);
socket.once("open", () => {
  tell({ open: 1 });
  if (role === "source") source();
  else sink();
});

function source(): void {
  const message = new Uint8Array(batchBytes);
  let left = 0;
  let ahead = 0;
  const pump = () => {
    while (left > 0 && ahead < windowBytes) {
      socket.send(message);
      left -= message.length;
      ahead += message.length;
    }
  };
  socket.on("message", (data: Buffer, isBinary) => {
    if (isBinary) return socket.send(data); // a round trip
    const { want, got }: { want?: number; got?: number } = JSON.parse(data.toString("utf8"));
    left += want ?? 0;
    ahead = Math.max(0, ahead - (got ?? 0));
    if (want !== undefined) ahead = 0;
    pump();
  });
}

/** Asks at each line on standard input: `down BYTES` measures a transfer, `trip COUNT` round trips of 64 bytes. */
function sink(): void {
  createInterface({ input: process.stdin }).on("line", (line) => {
    const [what, count] = line.split(" ");
    void (what === "trip" ? roundTrips(Number(count)) : transfer(Number(count)));
  });
}

async function transfer(bytes: number): Promise<void> {
  const startedMs = performance.now();
  let received = 0;
  let told = 0;
  await new Promise<void>((resolve) => {
    const take = (data: Buffer) => {
      received += data.length;
      if (received - told >= tellBytes) {
        socket.send(JSON.stringify({ got: received - told }));
        told = received;
      }
      if (received < bytes) return;
      socket.off("message", take);
      resolve();
    };
    socket.on("message", take);
    socket.send(JSON.stringify({ want: bytes }));
  });
  tell({ rate: bytes / (1 << 20) / ((performance.now() - startedMs) / 1000) });
}

async function roundTrips(count: number): Promise<void> {
  const times: number[] = [];
  for (let index = 0; index < count; index++) {
    const startedMs = performance.now();
    const answer = new Promise((resolve) => socket.once("message", resolve));
    socket.send(new Uint8Array(64));
    await answer;
    times.push(performance.now() - startedMs);
  }
  times.sort((a, b) => a - b);
  tell({ p50: times[Math.floor(count / 2)] ?? 0, p99: times[Math.floor(count * 0.99)] ?? 0 });
}
