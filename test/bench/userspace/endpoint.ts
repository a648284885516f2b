/** The endpoint: the first byte of a connection says what it is for. */
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";

/** `download`: bytes until the client leaves. `upload`: takes everything, then says one byte. `echo`: says what it hears. */
export const purposes = { download: 1, upload: 2, echo: 3 } as const;

const piece = Buffer.alloc(64 << 10, 1);

/** Listens on a port of loopback, and returns it. */
export async function startEndpoint(): Promise<number> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (first: Buffer) => serve(socket, first));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server has an address of this kind.
  return (server.address() as AddressInfo).port;
}

function serve(socket: Socket, first: Buffer): void {
  const [purpose] = first;
  if (purpose === purposes.download) pour(socket);
  if (purpose === purposes.upload) socket.on("end", () => socket.end("!")).resume();
  if (purpose === purposes.echo) {
    socket.write(first.subarray(1));
    socket.pipe(socket);
  }
}

/** Writes until the other side's reading is what it waits for, and goes on then. */
function pour(socket: Socket): void {
  const fill = (): void => {
    while (socket.write(piece));
  };
  socket.on("drain", fill);
  socket.on("end", () => socket.destroy());
  socket.resume();
  fill();
}
