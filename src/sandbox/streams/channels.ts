/** exec and attach over WebSocket: one byte names the channel of each message (`v4.channel.k8s.io`, `v5.channel.k8s.io`; KEP-4006). */
import type { Readable } from "node:stream";
import type { WebSocket } from "ws";
import { isObject, numberAt, parseJson } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";

/** Protocols in the order of preference. v5 can half-close a channel, v4 cannot. */
export const channelProtocols = ["v5.channel.k8s.io", "v4.channel.k8s.io"] as const;

const channel = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

/** Unsent bytes above which a program's output is not read any more. */
const highWaterBytes = 1024 * 1024;

/** Which streams the client asked for. */
export interface StreamOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** The process at the other end. */
export interface ChannelTarget {
  stdinData(chunk: Buffer): void;
  /** The client sends no more input. */
  stdinEnd(): void;
  resize(columns: number, rows: number): void;
  /** The client is gone. */
  abandoned(): void;
}

/** A client's end of an exec or attach. */
export class ChannelSession {
  readonly #ws: WebSocket;
  #ended = false;

  constructor(ws: WebSocket, options: StreamOptions, target: ChannelTarget) {
    this.#ws = ws;
    ws.on("message", (message: Buffer) => this.#take(message, options, target));
    ws.on("error", () => ws.terminate());
    ws.once("close", () => {
      this.#ended = true;
      target.abandoned();
    });
    // The first message is an empty one, which tells the client that the streams are open.
    this.#send(options.stdout ? channel.stdout : options.stderr ? channel.stderr : channel.error, Buffer.alloc(0));
  }

  /** Sends a program's output; reads no more of it than the client takes. */
  pipe(stream: Readable, name: "stderr" | "stdout"): void {
    stream.on("data", (chunk: Buffer) => {
      this.#send(channel[name], chunk, () => stream.resume());
      if (this.#ws.bufferedAmount > highWaterBytes) stream.pause();
    });
  }

  /** Sends output that goes to other listeners too; a client that does not read is cut off instead of holding them up. */
  broadcast(chunk: Buffer, name: "stderr" | "stdout"): void {
    this.#send(channel[name], chunk);
    if (this.#ws.bufferedAmount > highWaterBytes * 8) this.#ws.close(1008, "the client does not read");
  }

  /** Ends the session with the process' exit code. */
  finish(code: number): void {
    this.#finish(code === 0 ? { metadata: {}, status: "Success" } : exitStatus(code));
  }

  /** Ends the session with a failure that is not an exit code. */
  fail(message: string): void {
    this.#finish({ metadata: {}, status: "Failure", message, reason: "InternalError", code: 500 });
  }

  /** The Status goes before the close: a close alone would mean success to kubectl. */
  #finish(status: JsonObject): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#send(channel.error, Buffer.from(JSON.stringify(status)));
    this.#ws.close(1000);
  }

  #take(message: Buffer, options: StreamOptions, target: ChannelTarget): void {
    const [kind] = message;
    const payload = message.subarray(1);
    if (kind === channel.stdin && options.stdin) target.stdinData(payload);
    else if (kind === channel.resize && options.tty) applySizes(payload, target);
    else if (kind === channel.close && this.#ws.protocol === channelProtocols[0]) this.#closed(payload, target);
  }

  /** v5: `FF nn` ends channel nn. */
  #closed(payload: Buffer, target: ChannelTarget): void {
    if (payload.length !== 1 || (payload[0] ?? 255) > channel.resize) return this.#ws.close(1002, "a close message that names no channel");
    if (payload[0] === channel.stdin) target.stdinEnd();
  }

  #send(kind: number, payload: Buffer, sent?: () => void): void {
    if (this.#ws.readyState === this.#ws.OPEN) this.#ws.send(Buffer.concat([Buffer.of(kind), payload]), { binary: true }, () => sent?.());
    else sent?.();
  }
}

function applySizes(payload: Buffer, target: ChannelTarget): void {
  for (const line of payload.toString("utf8").split("\n")) {
    const size = parseJson(line);
    const columns = numberAt(size, "Width") ?? 0;
    const rows = numberAt(size, "Height") ?? 0;
    if (isObject(size) && columns > 0 && rows > 0) target.resize(columns, rows); // a client without a terminal says 0 × 0
  }
}

function exitStatus(code: number): JsonObject {
  const message = `command terminated with non-zero exit code: exit status ${code}`;
  const details = { causes: [{ reason: "ExitCode", message: String(code) }] };
  return { metadata: {}, status: "Failure", message, reason: "NonZeroExitCode", details };
}
