/** A network between two programs that can fall silent: nothing passes any more, and nobody is told, as when a firewall drops every packet. */
import { once } from "node:events";
import { createConnection, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";

export interface SilentNetwork {
  readonly port: number;
  /** From now on bytes vanish both ways, on open connections and on new ones; none is closed. */
  fallSilent(): void;
  /** New connections pass again; the silent ones stay silent. */
  heal(): void;
  stop(): Promise<void>;
}

/** Listens on a port of its own and leads to another one. */
export async function startSilentNetwork(targetPort: number): Promise<SilentNetwork> {
  const sockets = new Set<Socket>();
  let isSilent = false;
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined); // whoever gives up resets it
    socket.on("close", () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    keep(near);
    near.resume();
    if (isSilent) return;
    const far = createConnection({ host: "127.0.0.1", port: targetPort });
    keep(far);
    const pairs: readonly (readonly [Socket, Socket])[] = [
      [near, far],
      [far, near],
    ];
    for (const [from, to] of pairs) {
      from.on("data", (chunk) => {
        if (!silenced.has(from)) to.write(chunk);
      });
      from.on("close", () => {
        if (!silenced.has(from)) to.destroy();
      });
    }
  });
  const silenced = new WeakSet<Socket>();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port, // a TCP server's address is never text
    fallSilent: () => {
      isSilent = true;
      for (const socket of sockets) silenced.add(socket);
    },
    heal: () => {
      isSilent = false;
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
