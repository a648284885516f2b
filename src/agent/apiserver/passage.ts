/** One client's connection through the balancer: held until an apiserver has answered its first bytes, then passed on as it is. */
import type { Socket } from "node:net";
import type { Clock } from "#agent/clock.ts";
import type { Apiserver } from "./apiserver.ts";
import { dialTimeoutMs, firstAnswerMs, maxFirstFlightBytes, tcpKeepAliveMs } from "./limits.ts";

export interface PassageOptions {
  readonly client: Socket;
  readonly clock: Clock;
  /** The servers to try, in order. */
  readonly candidates: () => readonly Apiserver[];
  readonly dial: (server: Apiserver) => Socket;
  /** Time for a client to say its first word. */
  readonly silentClientMs: number;
  /** A server could not be reached, or did not answer. */
  readonly onFailure: (server: Apiserver, cause: Error) => void;
  readonly onOver: () => void;
}

export class Passage {
  readonly #options: PassageOptions;
  /** The client's bytes until a server has answered. */
  #first: Buffer[] = [];
  #firstBytes = 0;
  #candidates: Apiserver[] = [];
  #upstream: Socket | undefined;
  #isJoined = false;
  #isOver = false;
  #cancelTimer: () => void;

  constructor(options: PassageOptions) {
    this.#options = options;
    const { client, clock, silentClientMs } = options;
    this.#cancelTimer = clock.after(silentClientMs, () => client.destroy());
    client.setNoDelay(true);
    client.setKeepAlive(true, tcpKeepAliveMs);
    client.on("data", this.#early);
    client.on("error", () => undefined); // the close event follows
    client.on("end", this.#earlyEnd);
    client.on("close", () => this.#finish());
  }

  destroy(): void {
    this.#options.client.destroy();
  }

  readonly #early = (chunk: Buffer): void => {
    const isFirst = this.#firstBytes === 0;
    this.#first.push(chunk);
    this.#firstBytes += chunk.length;
    this.#upstream?.write(chunk);
    // The rest waits in the socket until a server has answered.
    if (this.#firstBytes > maxFirstFlightBytes) this.#options.client.pause();
    if (!isFirst) return;
    this.#candidates = [...this.#options.candidates()];
    this.#next(undefined);
  };

  /** A client that ends before anybody answered has nothing more to learn. */
  readonly #earlyEnd = (): void => {
    if (!this.#isJoined) this.#options.client.destroy();
  };

  /** Tries the next server; the last failure's is final. */
  #next(failed: Apiserver | undefined): void {
    this.#cancelTimer();
    const mayRepeat = failed === undefined || isHandshakeOnly(Buffer.concat(this.#first));
    const server = mayRepeat ? this.#candidates.shift() : undefined;
    if (server === undefined) {
      this.#options.client.destroy();
      return;
    }
    const { clock, onFailure } = this.#options;
    const upstream = this.#options.dial(server);
    this.#upstream = upstream;
    server.watchUpgraded(upstream); // counts at once, so that those who come together are spread too
    const fail = (cause: Error): void => {
      if (this.#upstream !== upstream || this.#isJoined || this.#isOver) return;
      this.#upstream = undefined;
      upstream.destroy();
      onFailure(server, cause);
      this.#next(server);
    };
    this.#cancelTimer = clock.after(dialTimeoutMs, () => fail(new Error("no connection in time")));
    upstream.setNoDelay(true);
    upstream.setKeepAlive(true, tcpKeepAliveMs);
    upstream.on("connect", () => {
      this.#cancelTimer();
      // With nobody else to ask, a slow answer is better than none.
      if (this.#candidates.length > 0)
        this.#cancelTimer = clock.after(firstAnswerMs, () => fail(new Error("no answer to a ClientHello in time")));
    });
    upstream.on("error", fail);
    upstream.on("close", () => fail(new Error("the connection ended before an answer")));
    upstream.once("data", (chunk: Buffer) => {
      if (this.#upstream === upstream && !this.#isOver) this.#join(server, upstream, chunk);
    });
    for (const chunk of this.#first) upstream.write(chunk);
  }

  #join(server: Apiserver, upstream: Socket, answer: Buffer): void {
    const { client } = this.#options;
    this.#isJoined = true;
    this.#cancelTimer();
    this.#first = [];
    server.note({ type: "answered" });
    client.off("data", this.#early);
    client.off("end", this.#earlyEnd);
    client.write(answer);
    upstream.pipe(client);
    client.pipe(upstream);
    upstream.on("close", (isBroken) => {
      if (isBroken) client.resetAndDestroy();
      else client.destroySoon();
    });
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelTimer();
    this.#upstream?.destroy();
    this.#options.onOver();
  }
}

const handshakeRecord = 22;
const recordHeaderBytes = 5;

/** Whether bytes are TLS records of a handshake and no others (RFC 8446 section 5.1): early data are not, and could be a request. */
export function isHandshakeOnly(bytes: Uint8Array): boolean {
  for (let offset = 0; offset < bytes.length;) {
    if (bytes[offset] !== handshakeRecord) return false;
    offset += recordHeaderBytes + (((bytes[offset + 3] ?? 0) << 8) | (bytes[offset + 4] ?? 0));
  }
  return true;
}
