/**
 * An upgrade to another protocol than WebSocket, such as old kubectl's SPDY, to a cluster behind the gateway. No Worker can switch to it,
 * so it is carried in a WebSocket whose binary messages are the bytes of the switched connection (core/kube/raw-upgrade.ts).
 *
 * As on every upgrade, nothing of the client's passes before the apiserver's own 101, and any other answer is the end. The gateway cannot
 * make a WebSocket wait, so what may be sent before it tells of its taking is limited here.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { headerProblem, headerValues } from "#core/kube/headers.ts";
import type { HeaderPairs } from "#core/kube/headers.ts";
import { answerText } from "./answer.ts";
import { carriedSilenceMs, refusedUpgradeTimeoutMs } from "./limits.ts";
import { SpdyEnding } from "./spdy-ending.ts";
import { relayRefusal } from "./upgrade.ts";
import { upstreamErrorText } from "./upstream.ts";

export interface Carrying {
  /** The client's connection. */
  readonly socket: Duplex;
  /** What came behind the client's request. */
  readonly head: Buffer;
  /** A response on the client's connection, for an answer that is no upgrade. */
  readonly response: ServerResponse;
  /** What the client asked for, such as `SPDY/3.1`. */
  readonly protocol: string;
  /** Whether the connection runs a command, which fails when the connection does. */
  readonly runsCommand: boolean;
  /** The way to the gateway, which is just being opened. */
  readonly webSocket: WebSocket;
  readonly keepAliveMs: number;
  readonly onStatus: (status: number) => void;
  /** Told why a stream that was open ended before its time. */
  readonly onLost: (reason: string) => void;
}

/** Joins a client's connection to the WebSocket once the apiserver has switched. */
export function carry(carrying: Carrying): void {
  const { socket, response, webSocket, onStatus } = carrying;
  const carrier = new Carrier(carrying);
  socket.on("error", () => socket.destroy());
  socket.on("close", () => carrier.clientGone());
  webSocket.on("unexpected-response", (_request, answer: IncomingMessage) => {
    onStatus(answer.statusCode ?? 0);
    relayRefusal(answer, response);
  });
  webSocket.on("error", (error) => {
    if (carrier.isSwitched || response.headersSent || socket.destroyed) return;
    answerText(response, 500, `error dialing backend: ${upstreamErrorText(error)}`);
  });
  webSocket.on("message", (data: Buffer, isBinary: boolean) => {
    if (isBinary) carrier.receive(data);
    else carrier.told(data.toString("utf8"));
  });
  webSocket.on("pong", () => carrier.heard());
  webSocket.on("close", (code, reason) => carrier.gatewayClosed(code, reason.toString("utf8")));
  if (socket.destroyed) webSocket.terminate();
}

/** A close with this code is the end of the apiserver's side; any other is a failure. */
const normalClosure = 1000;

class Carrier {
  readonly #options: Carrying;
  #isSwitched = false;
  #isOver = false;
  #window = 0;
  #sentBytes = 0;
  #takenBytes = 0;
  #heardMs = 0;
  #keepAlive: NodeJS.Timeout | undefined;
  #ending: SpdyEnding | undefined;

  constructor(options: Carrying) {
    this.#options = options;
  }

  get isSwitched(): boolean {
    return this.#isSwitched;
  }

  /** A text of the gateway's: first the apiserver's head, then how many bytes have been taken. */
  told(text: string): void {
    this.heard();
    const told = parseText(text);
    if (told.type === "opening" && !this.#isSwitched) this.#switch(told.headers, told.window);
    else if (told.type === "taken" && this.#isSwitched && told.bytes <= this.#sentBytes) {
      this.#takenBytes = told.bytes;
      this.#flow();
    } else this.#violated();
  }

  receive(data: Buffer): void {
    const { socket, webSocket } = this.#options;
    this.heard();
    if (!this.#isSwitched) return this.#violated();
    this.#ending?.pass(data);
    if (socket.destroyed || socket.writableEnded || socket.write(data)) return;
    webSocket.pause();
    socket.once("drain", () => webSocket.resume());
  }

  heard(): void {
    this.#heardMs = performance.now();
  }

  clientGone(): void {
    if (this.#isOver) return;
    this.#finish();
    this.#options.webSocket.terminate();
  }

  gatewayClosed(code: number, reason: string): void {
    const { socket, response } = this.#options;
    if (this.#isOver) return;
    this.#finish();
    if (!this.#isSwitched) {
      if (!response.headersSent && !socket.destroyed) answerText(response, 502, "the gateway closed the stream before it was open");
      return;
    }
    if (code !== normalClosure) {
      this.#options.onLost(reason === "" ? `closed with ${code}` : reason);
      const failure = this.#ending?.failure(reason);
      if (failure === undefined) {
        socket.destroy();
        return;
      }
      socket.write(failure);
    }
    // What the client still sends is read: closing over unread bytes would reset the connection, and take from the client what it has not read.
    socket.end();
    socket.removeAllListeners("data");
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), refusedUpgradeTimeoutMs);
    socket.on("end", () => socket.destroy());
    socket.on("close", () => clearTimeout(timer));
  }

  #switch(headers: HeaderPairs, window: number): void {
    const { socket, response, protocol, head, keepAliveMs, runsCommand } = this.#options;
    this.#isSwitched = true;
    if (runsCommand) this.#ending = new SpdyEnding(headerValues(headers, "x-stream-protocol-version")[0] ?? "");
    this.#window = window;
    response.detachSocket(socket as Socket); // as it was assigned
    const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${protocol}\r\n${lines}\r\n`, "latin1");
    this.#keepAlive = setInterval(() => this.#ping(), keepAliveMs);
    if (head.length > 0) this.#send(head);
    socket.on("data", (chunk: Buffer) => this.#send(chunk));
    // A message without bytes is the end of this direction.
    socket.on("end", () => {
      if (!this.#isOver) this.#options.webSocket.send(Buffer.alloc(0));
    });
    this.#flow();
  }

  #send(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#sentBytes += chunk.length;
    this.#options.webSocket.send(chunk);
    this.#flow();
  }

  #flow(): void {
    const { socket } = this.#options;
    if (this.#sentBytes - this.#takenBytes >= this.#window) socket.pause();
    else socket.resume();
  }

  #ping(): void {
    const { webSocket } = this.#options;
    if (webSocket.isPaused) this.heard(); // what was not read cannot be held against the gateway
    if (performance.now() - this.#heardMs > carriedSilenceMs) webSocket.terminate();
    else webSocket.ping();
  }

  #violated(): void {
    this.#options.webSocket.close(1002, "not what a carried upgrade brings");
    this.gatewayClosed(1002, "the gateway sent what a carried upgrade does not bring");
  }

  #finish(): void {
    this.#isOver = true;
    clearInterval(this.#keepAlive);
  }
}

type Told =
  | { readonly type: "opening"; readonly headers: HeaderPairs; readonly window: number }
  | { readonly type: "taken"; readonly bytes: number }
  | { readonly type: "invalid" };

function parseText(text: string): Told {
  const value = parseObject(text);
  const { headers, window, taken } = value;
  if (typeof taken === "number" && Number.isSafeInteger(taken)) return { type: "taken", bytes: taken };
  if (typeof window !== "number" || !Number.isSafeInteger(window) || window < 1 || !Array.isArray(headers)) return { type: "invalid" };
  const pairs = headers.flatMap((pair: unknown): HeaderPairs => {
    if (!Array.isArray(pair)) return [];
    const [name, content]: unknown[] = pair;
    return typeof name === "string" && typeof content === "string" ? [[name, content]] : [];
  });
  const isWhole = pairs.length === headers.length && headerProblem(pairs) === undefined;
  return isWhole ? { type: "opening", headers: pairs, window } : { type: "invalid" };
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {}; // no JSON
  }
}
