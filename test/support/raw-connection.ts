/** A TLS connection to the gateway on which a test writes bytes as they are: HTTP libraries would refuse or tidy up what attacks need. */
import { once } from "node:events";
import { createConnection } from "node:net";
import type { Socket } from "node:net";
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

  readonly #transport: Socket;

  static async open(gateway: GatewayFixture): Promise<RawConnection> {
    const transport = createConnection({ host: "127.0.0.1", port: gateway.port });
    const socket = connect({ socket: transport, ca: gateway.authority.certificate, servername: "localhost" });
    await once(socket, "secureConnect");
    return new RawConnection(socket, transport);
  }

  constructor(socket: TLSSocket, transport: Socket) {
    this.#socket = socket;
    this.#transport = transport;
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

  /** Waits for the next whole answer and takes it; undefined when the connection closed without one. */
  async answer(): Promise<RawAnswer | undefined> {
    const text = await this.until((received) => wholeLength(received) !== undefined);
    const length = wholeLength(text);
    if (length === undefined) return undefined;
    this.#received = this.#received.subarray(length);
    return parseAnswer(text.slice(0, length));
  }

  /** Reads nothing more. */
  pause(): void {
    this.#transport.pause();
    this.#socket.pause();
  }

  /** Closes in order: TLS says so, then TCP. */
  close(): void {
    this.#socket.destroy();
  }

  /** Vanishes as a process does that is killed, or whose machine has rebooted: TCP is reset. */
  reset(): void {
    this.#transport.resetAndDestroy();
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** Sends one raw request on a connection of its own, and waits for its answer. */
export async function rawAsk(gateway: GatewayFixture, lines: readonly string[], body = ""): Promise<RawAnswer | undefined> {
  const connection = await RawConnection.open(gateway);
  connection.write(`${lines.join("\r\n")}\r\n\r\n${body}`);
  const answer = await connection.answer();
  connection.close();
  return answer;
}

/** How long the first answer in the text is, or undefined while more must come. */
function wholeLength(text: string): number | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return undefined;
  const head = text.slice(0, end).toLowerCase();
  const start = end + 4;
  if (/^http\/1\.1 (?:101|204|304)/.test(head)) return start;
  if (/\r\ntransfer-encoding: chunked/.test(head)) return chunkedLength(text, start);
  const length = start + Number(/\r\ncontent-length: (?<length>\d+)/.exec(head)?.groups?.["length"] ?? 0);
  return text.length >= length ? length : undefined;
}

function chunkedLength(text: string, start: number): number | undefined {
  for (let offset = start; ;) {
    const end = text.indexOf("\r\n", offset);
    if (end === -1) return undefined;
    const size = Number.parseInt(text.slice(offset, end), 16);
    offset = end + 2 + size + 2;
    if (offset > text.length) return undefined;
    if (size === 0) return offset;
  }
}

function parseAnswer(text: string): RawAnswer {
  const end = text.indexOf("\r\n\r\n");
  const [statusLine = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = lines.map((line): readonly [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  const body = text.slice(end + 4);
  const isChunked = headers.some(([name, value]) => name === "transfer-encoding" && value === "chunked");
  return { status: Number(statusLine.split(" ")[1]), headers, body: isChunked ? withoutChunks(body) : body };
}

function withoutChunks(text: string): string {
  let body = "";
  for (let offset = 0; ;) {
    const end = text.indexOf("\r\n", offset);
    const size = Number.parseInt(text.slice(offset, end), 16);
    if (size === 0) return body;
    body += text.slice(end + 2, end + 2 + size);
    offset = end + 2 + size + 2;
  }
}
