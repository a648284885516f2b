/** One UDP flow: the datagrams between one client address and one endpoint, over a socket of its own, until it is silent for too long. */
import type { Socket } from "node:dgram";
import type { Clock } from "#agent/clock.ts";
import type { Endpoint } from "#agent/dataplane/dataplane.ts";
import { udpOneWayMs, udpStreamAfterMs, udpStreamMs } from "./limits.ts";
import type { CountedConnection } from "./listener.ts";

export interface FlowOptions {
  readonly endpoint: Endpoint;
  /** Bound to nothing yet. */
  readonly socket: Socket;
  readonly clock: Clock;
  /** Datagrams that wait for the socket. */
  readonly queuedDatagrams: number;
  /** Bytes that wait in the socket. */
  readonly sendQueueBytes: number;
  /** Hands a datagram of the endpoint to the client; says whether it went. */
  readonly answer: (datagram: Buffer) => boolean;
  /** The flow goes on in both directions: it is no longer one that makes room for others. */
  readonly onStream: () => void;
  /** The flow is over. `refused`: the endpoint's machine said that nobody listens there. */
  readonly onEnd: (reason: "idle" | "refused" | "ended") => void;
}

export class UdpFlow implements CountedConnection {
  readonly #options: FlowOptions;
  readonly #startedAtMs: number;
  #heardAtMs: number;
  #isAnswered = false;
  #isStream = false;
  #isEnded = false;
  /** undefined once the socket is connected. */
  #waiting: Buffer[] | undefined = [];
  #cancelTimer: () => void;
  bytesRead = 0;
  bytesWritten = 0;

  constructor(options: FlowOptions) {
    this.#options = options;
    this.#startedAtMs = options.clock.now();
    this.#heardAtMs = this.#startedAtMs;
    this.#cancelTimer = options.clock.after(udpOneWayMs, () => this.#checkIdle());
  }

  get endpoint(): Endpoint {
    return this.#options.endpoint;
  }

  /** Connects the socket. It may end the flow before it returns: where no file descriptor is left the system says so at once. */
  start(): void {
    const { socket, endpoint } = this.#options;
    // Errors of a connected socket are the answers of the endpoint's machine (ICMP), or that it cannot be reached at all.
    socket.on("error", () => this.end("refused"));
    socket.on("message", (datagram) => this.#answer(datagram));
    // Connected, it takes datagrams from the endpoint alone.
    socket.connect(endpoint.port, endpoint.address, (error?: Error | null) => {
      if (error instanceof Error || this.#isConnectedToItself()) this.end("refused");
      const waiting = this.#waiting ?? [];
      this.#waiting = undefined;
      for (const datagram of waiting) this.#pass(datagram);
    });
  }

  /** Sends a client's datagram on; says whether there was room for it. */
  send(datagram: Buffer): boolean {
    if (this.#isEnded) return false;
    const { socket, queuedDatagrams, sendQueueBytes } = this.#options;
    this.#heard();
    if (this.#waiting !== undefined) {
      if (this.#waiting.length >= queuedDatagrams) return false;
      this.#waiting.push(datagram);
    } else {
      if (socket.getSendQueueSize() + datagram.length > sendQueueBytes) return false;
      this.#pass(datagram);
    }
    this.bytesRead += datagram.length;
    return true;
  }

  end(reason: "idle" | "refused" | "ended" = "ended"): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#cancelTimer();
    this.#options.socket.close();
    this.#options.onEnd(reason);
  }

  /** Where nobody listens at an address of the machine's own, the kernel may choose that very port for our side: we would answer ourselves. */
  #isConnectedToItself(): boolean {
    const { socket, endpoint } = this.#options;
    if (this.#isEnded) return false;
    const { address, port } = socket.address();
    return port === endpoint.port && address === endpoint.address;
  }

  /** The kernel tells an endpoint's refusal at whichever call comes next, which may be this one. Everything else is a loss. */
  #pass(datagram: Buffer): void {
    if (this.#isEnded) return;
    this.#options.socket.send(datagram, (error) => {
      if (error !== null && "code" in error && error.code === "ECONNREFUSED") this.end("refused");
    });
  }

  #answer(datagram: Buffer): void {
    this.#isAnswered = true;
    this.#heard();
    if (this.#options.answer(datagram)) this.bytesWritten += datagram.length;
  }

  #heard(): void {
    this.#heardAtMs = this.#options.clock.now();
    if (this.#isStream || !this.#isAnswered || this.#heardAtMs - this.#startedAtMs < udpStreamAfterMs) return;
    this.#isStream = true;
    this.#options.onStream();
  }

  /** One timer for a flow, which is set anew when it fires rather than at each datagram. */
  #checkIdle(): void {
    const { clock } = this.#options;
    const remainingMs = this.#heardAtMs + (this.#isStream ? udpStreamMs : udpOneWayMs) - clock.now();
    if (remainingMs <= 0) this.end("idle");
    else this.#cancelTimer = clock.after(remainingMs, () => this.#checkIdle());
  }
}

/** UDP may lose: what cannot be sent is lost, as in a network. */
export function ignoreLoss(): void {}
