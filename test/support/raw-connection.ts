/** A TLS connection to the gateway on which a test writes bytes as they are: HTTP libraries would refuse or tidy up what attacks need. */
import { once } from "node:events";
import { connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import type { GatewayFixture } from "./system.ts";

export interface RawAnswer {
  readonly status: number;
  /** Names in lower case, in order. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
}

export class RawConnection {
  readonly #socket: TLSSocket;
  readonly #waiting = new Set<() => void>();
  #received: Buffer = Buffer.alloc(0);
  #closed = false;

  static async open(gateway: GatewayFixture): Promise<RawConnection> {
    const socket = connect({ host: "127.0.0.1", port: gateway.port, ca: gateway.authority.certificate, servername: "localhost" });
    await once(socket, "secureConnect");
    return new RawConnection(socket);
  }

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake();
    });
    socket.on("error", () => undefined); // a reset ends the connection too, and `closed` tells it
    socket.on("close", () => {
      this.#closed = true;
      this.#wake();
    });
  }

  /** What has come so far, one character for each byte. */
  get received(): string {
    return this.#received.toString("latin1");
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  write(bytes: string | Uint8Array): void {
    this.#socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** Waits until what came matches, or the connection closed. */
  async until(matches: (received: string) => boolean): Promise<string> {
    while (!this.#closed && !matches(this.received)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await promise;
    }
    return this.received;
  }

  async untilClosed(): Promise<string> {
    return this.until(() => false);
  }

  /** The next whole answer; what follows it stays. Undefined when the connection closed without one. */
  async answer(): Promise<RawAnswer | undefined> {
    await this.until((received) => wholeAnswer(received) !== undefined);
    const found = wholeAnswer(this.received);
    if (found === undefined) return this.received === "" ? undefined : parseAnswer(this.received);
    this.#received = this.#received.subarray(found);
    return parseAnswer(this.#taken(found));
  }

  close(): void {
    this.#socket.destroy();
  }

  #all = "";
  #taken(length: number): string {
    const text = this.#all.slice(0, length);
    this.#all = "";
    return text;
  }

  #wake(): void {
    this.#all = this.received;
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}
