/** Listening on this machine: each TCP connection, and each client of a UDP port, gets a stream of its own. */
import { createSocket } from "node:dgram";
import type { RemoteInfo, Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createServer, isIPv6 } from "node:net";
import type { Socket } from "node:net";
import { toGatewayError } from "#core/errors.ts";
import { flowIdleMs, maxQueuedDatagrams } from "#core/tunnel/limits.ts";
import { CommandError } from "#cli/output/failure.ts";
import type { ForwardConnection } from "./connection.ts";
import { joinBytes } from "./join.ts";
import { maxFlows } from "./limits.ts";
import type { Traffic } from "./traffic.ts";

export interface LocalPlace {
  readonly address: string;
  /** 0 for a free one. */
  readonly port: number;
}

/** A port that is listened at. */
export interface Listener {
  /** The bound port. */
  readonly port: number;
  /** Begins to take connections, and counts them there. */
  serve(traffic: Traffic): void;
  close(): void;
}

/** Opens a stream to the target. @throws GatewayError */
export type OpenConnection = (signal: AbortSignal) => Promise<ForwardConnection>;

/** Binds a TCP port. @throws CommandError LISTEN_FAILED */
export async function listenTcp(place: LocalPlace, open: OpenConnection): Promise<Listener> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
  const sockets = new Set<Socket>();
  server.listen(place.port, place.address);
  await bound(server, place, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : place.port,
    serve: (traffic) =>
      void server.on("connection", (socket) => {
        sockets.add(socket);
        socket.on("close", () => sockets.delete(socket));
        void carry(socket, traffic, open);
      }),
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

async function carry(socket: Socket, traffic: Traffic, open: OpenConnection): Promise<void> {
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  socket.once("error", leave);
  socket.once("close", leave);
  let connection: ForwardConnection;
  try {
    connection = await open(gone.signal);
  } catch (thrown) {
    socket.resetAndDestroy();
    if (!gone.signal.aborted) traffic.failed(failureText(thrown));
    return;
  }
  traffic.opened(connection);
  if (gone.signal.aborted) {
    connection.reset("CANCEL");
    return traffic.closed(connection, "");
  }
  const outcome = await joinBytes({ input: socket, output: socket, breakOff: () => void socket.resetAndDestroy() }, connection);
  traffic.closed(connection, outcome.type === "reset" ? outcome.reason || outcome.code : "");
}

/** Binds a UDP port. @throws CommandError LISTEN_FAILED */
export async function listenUdp(place: LocalPlace, open: OpenConnection): Promise<Listener> {
  const socket = createSocket(isIPv6(place.address) ? { type: "udp6", ipv6Only: true } : { type: "udp4" });
  socket.bind(place.port, place.address);
  await bound(socket, place, "listening");
  const flows = new Map<string, Flow>();
  socket.on("error", () => undefined); // about one datagram, which is lost as datagrams are
  return {
    port: socket.address().port,
    serve: (traffic) =>
      void socket.on("message", (payload, client) => {
        const key = `${client.address} ${client.port}`;
        const known = flows.get(key);
        if (known === undefined && flows.size >= maxFlows) return traffic.dropped(1);
        const flow = known ?? new Flow({ socket, client, traffic, open, onOver: () => flows.delete(key) });
        flows.set(key, flow);
        flow.send(payload);
      }),
    close: () => {
      for (const flow of flows.values()) flow.close();
      socket.close();
    },
  };
}

interface FlowOptions {
  readonly socket: UdpSocket;
  readonly client: RemoteInfo;
  readonly traffic: Traffic;
  readonly open: OpenConnection;
  readonly onOver: () => void;
}

/** The datagrams of one client. */
class Flow {
  readonly #options: FlowOptions;
  readonly #gone = new AbortController();
  #waiting: Uint8Array[] = [];
  #connection: ForwardConnection | undefined;
  #idle: NodeJS.Timeout;

  constructor(options: FlowOptions) {
    this.#options = options;
    this.#idle = setTimeout(() => this.close(), flowIdleMs);
    void this.#start();
  }

  send(payload: Uint8Array): void {
    this.#idle.refresh();
    if (this.#connection !== undefined) return this.#connection.sendDatagram(payload);
    this.#waiting.push(payload);
    if (this.#waiting.length <= maxQueuedDatagrams) return;
    this.#waiting.shift();
    this.#options.traffic.dropped(1);
  }

  close(): void {
    this.#gone.abort();
    this.#connection?.end();
    this.#over("");
  }

  async #start(): Promise<void> {
    const { socket, client, traffic, open } = this.#options;
    let connection: ForwardConnection;
    try {
      connection = await open(this.#gone.signal);
    } catch (thrown) {
      traffic.dropped(this.#waiting.length);
      if (!this.#gone.signal.aborted) traffic.failed(failureText(thrown));
      return this.#over("");
    }
    traffic.opened(connection);
    this.#connection = connection;
    if (this.#gone.signal.aborted) {
      connection.reset("CANCEL");
      return this.#over("");
    }
    connection.listen({
      onData: (_payload, consumed) => consumed(),
      onDatagram: (payload) => {
        this.#idle.refresh();
        socket.send(payload, client.port, client.address, () => undefined); // one that cannot be sent is lost, as datagrams are
      },
      // A next datagram opens a new flow: to the pod that is there by then.
      onEnd: (reason) => {
        connection.end();
        this.#over(reason.startsWith("idle") ? "" : reason);
      },
      onReset: (code, reason) => this.#over(reason || code),
      onDrain: () => undefined,
    });
    for (const payload of this.#waiting.splice(0)) connection.sendDatagram(payload);
  }

  #over(failure: string): void {
    clearTimeout(this.#idle);
    if (this.#connection !== undefined) this.#options.traffic.closed(this.#connection, failure);
    this.#options.onOver();
  }
}

function failureText(thrown: unknown): string {
  const { code, message } = toGatewayError(thrown);
  return `${code}: ${message}`;
}

async function bound(
  server: { once(event: string, listener: (...values: never[]) => void): unknown; close(): unknown } & NodeJS.EventEmitter,
  { address, port }: LocalPlace,
  event: string,
): Promise<void> {
  try {
    await once(server, event);
  } catch (thrown) {
    const code = thrown instanceof Error && "code" in thrown ? String(thrown.code) : "";
    throw new CommandError(
      {
        code: "LISTEN_FAILED",
        title: `Can't listen at ${isIPv6(address) ? `[${address}]` : address}:${port}`,
        cause: bindFailures[code] ?? (thrown instanceof Error ? thrown.message : ""),
      },
      { cause: thrown },
    );
  }
}

const bindFailures: Readonly<Record<string, string>> = {
  EADDRINUSE: "Another program listens there.",
  EACCES: "Ports below 1024 are for administrators; choose a higher one.",
  EADDRNOTAVAIL: "This machine has no such address.",
};
