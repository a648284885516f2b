/** WebSocket clients for tests: one by the ws package for the channel protocols, one by hand for a sub-protocol that ws refuses to ask for. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import type { Client } from "./harness.ts";

export interface CommandResult {
  readonly stdout: string;
  readonly stderr: string;
  /** The Status of channel 3. */
  readonly status: string;
  readonly closeCode: number;
}

/** An exec or attach by `v5.channel.k8s.io`. */
export class ChannelClient {
  readonly #socket: WebSocket;
  readonly #output = ["", "", "", "", ""];
  readonly #closed: Promise<number>;
  readonly #waiting = new Set<() => void>();
  first: Buffer | undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (message: Buffer) => {
      this.first ??= message;
      const kind = message[0] ?? 0;
      this.#output[kind] = `${this.#output[kind] ?? ""}${message.toString("latin1", 1)}`;
      for (const wake of this.#waiting) wake();
    });
    this.#closed = new Promise((resolve) => socket.once("close", (code) => resolve(code)));
  }

  static async open(client: Client, path: string, protocol = "v5.channel.k8s.io"): Promise<ChannelClient> {
    const headers = { authorization: `Bearer ${client.sandbox.adminToken}` };
    const url = `${client.sandbox.url.replace("https:", "wss:")}${path}`;
    const socket = new WebSocket(url, [protocol], { ca: client.sandbox.caPem, headers, perMessageDeflate: false });
    const opened = new ChannelClient(socket);
    await once(socket, "open");
    return opened;
  }

  get protocol(): string {
    return this.#socket.protocol;
  }

  input(bytes: Buffer | string): void {
    this.#socket.send(Buffer.concat([Buffer.of(0), Buffer.from(bytes)]));
  }

  endInput(): void {
    this.#socket.send(Buffer.of(255, 0));
  }

  resize(columns: number, rows: number): void {
    this.#socket.send(Buffer.concat([Buffer.of(4), Buffer.from(`${JSON.stringify({ Width: columns, Height: rows })}\n`)]));
  }

  send(bytes: Buffer): void {
    this.#socket.send(bytes);
  }

  drop(): void {
    this.#socket.terminate();
  }

  /** Waits until stdout has a text. */
  async until(text: string): Promise<void> {
    while (!(this.#output[1] ?? "").includes(text)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      await promise;
      this.#waiting.delete(resolve);
    }
  }

  async result(): Promise<CommandResult> {
    const closeCode = await this.#closed;
    const [, stdout = "", stderr = "", status = ""] = this.#output;
    return { stdout, stderr, status, closeCode };
  }
}

/** Runs a command; with input, sends it and ends it. */
export async function exec(
  client: Client,
  path: string,
  order: { readonly command: readonly string[]; readonly input?: Buffer | string },
): Promise<CommandResult> {
  const query = new URLSearchParams(order.command.map((word): [string, string] => ["command", word]));
  query.set("stdout", "true");
  query.set("stderr", "true");
  if (order.input !== undefined) query.set("stdin", "true");
  const channel = await ChannelClient.open(client, `${path}?${query.toString()}`);
  if (order.input !== undefined) {
    channel.input(order.input);
    channel.endInput();
  }
  return channel.result();
}

/** A WebSocket connection by hand (RFC 6455), binary messages only. */
export class RawWebSocket {
  readonly #socket: Duplex;
  #buffered: Buffer = Buffer.alloc(0);
  readonly protocol: string;

  private constructor(socket: Duplex, protocol: string) {
    this.#socket = socket;
    socket.setMaxListeners(0); // each wait listens for two events, of which one stays
    this.protocol = protocol;
  }

  /** Opens a connection, or gives the status and body of the refusal. */
  static async open(
    client: Client,
    path: string,
    protocol: string,
  ): Promise<RawWebSocket | { readonly status: number; readonly text: string }> {
    const request = client.upgrade(path, [["sec-websocket-protocol", protocol]]);
    const opened = once(request, "upgrade") as Promise<[IncomingMessage, Duplex, Buffer]>;
    const refused = once(request, "response") as Promise<[IncomingMessage]>;
    request.end();
    const [response, socket] = await Promise.race([opened, refused]);
    if (socket !== undefined) return new RawWebSocket(socket, String(response.headers["sec-websocket-protocol"]));
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    return { status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") };
  }

  send(payload: Buffer, opcode = 2): void {
    const size = payload.length < 126 ? Buffer.of(0x80 | payload.length) : Buffer.of(0x80 | 126, payload.length >> 8, payload.length & 255);
    const mask = Buffer.of(1, 2, 3, 4);
    const masked = payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0));
    this.#socket.write(Buffer.concat([Buffer.of(0x80 | opcode), size, mask, masked]));
  }

  /** The next message's opcode and payload; undefined at the end. */
  async next(): Promise<{ readonly opcode: number; readonly payload: Buffer } | undefined> {
    for (;;) {
      const frame = this.#takeFrame();
      if (frame !== undefined) return frame;
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk !== null) this.#buffered = Buffer.concat([this.#buffered, chunk]);
      else if (this.#socket.readableEnded) return undefined;
      else await Promise.race([once(this.#socket, "readable"), once(this.#socket, "end")]);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #takeFrame(): { readonly opcode: number; readonly payload: Buffer } | undefined {
    if (this.#buffered.length < 4) return undefined;
    const short = this.#buffered.readUInt8(1);
    const start = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (this.#buffered.length < start) return undefined;
    const length = short === 126 ? this.#buffered.readUInt16BE(2) : short === 127 ? Number(this.#buffered.readBigUInt64BE(2)) : short;
    if (this.#buffered.length < start + length) return undefined;
    const opcode = this.#buffered.readUInt8(0) & 15;
    const payload = this.#buffered.subarray(start, start + length);
    this.#buffered = this.#buffered.subarray(start + length);
    return { opcode, payload };
  }
}
