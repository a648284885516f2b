/** A user stream's bytes as a response body: read from the cluster as fast as the client takes them, and no faster. */
import type { Content, UserStream } from "./user-stream.ts";

export interface BodyOptions {
  /** What a failure in the middle looks like: a clean end where clients resume (watch), else an abort, because a cut list is data loss. */
  readonly onFailure: "end" | "abort";
  /** Sees every byte that passes. */
  readonly onBytes?: (bytes: Uint8Array) => void;
  /** The body is over: `completed`, or why not. */
  readonly onEnd: (outcome: "completed" | "cancelled" | "failed") => void;
  /** The agent says that the user's credential lasts longer. */
  readonly onExtend: (expiresAtMs: number) => void;
}

/** Starts listening to a stream whose head has come. All of a short answer is there at once, and is then given as bytes. */
export function readBody(stream: UserStream, options: BodyOptions): Uint8Array | ReadableStream<Uint8Array> {
  const reader = new BodyReader(stream, options);
  stream.listen({ take: (content) => reader.take(content), settled: () => reader.advance() });
  return reader.whole() ?? reader.stream();
}

class BodyReader {
  readonly #stream: UserStream;
  readonly #options: BodyOptions;
  #chunks: { readonly bytes: Uint8Array; readonly cost: number }[] = [];
  #end: "open" | "completed" | "failed" = "open";
  #error: Error | undefined;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #pulled: (() => void) | undefined;
  /** What the client was given last, and has taken when it asks for more. */
  #owed = 0;

  constructor(stream: UserStream, options: BodyOptions) {
    this.#stream = stream;
    this.#options = options;
  }

  take(content: Content): void {
    switch (content.type) {
      case "data":
        this.#options.onBytes?.(content.payload);
        this.#chunks.push({ bytes: content.payload, cost: content.cost });
        break;
      case "end":
        this.#end = "completed";
        break;
      case "failed":
        this.#end = "failed";
        this.#error = content.error;
        break;
      case "extend":
        this.#options.onExtend(content.expiresAtMs);
        return;
      case "datagram":
        return; // only forwards have them
    }
  }

  /** The body when all of it has come already. */
  whole(): Uint8Array | undefined {
    if (this.#end !== "completed") return undefined;
    this.#options.onEnd("completed");
    const [first] = this.#chunks;
    if (this.#chunks.length === 1 && first !== undefined) return first.bytes;
    return concatenate(this.#chunks.map((chunk) => chunk.bytes));
  }

  stream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () =>
          new Promise<void>((resolve) => {
            this.#pulled = resolve;
            this.#repay();
            this.advance();
          }),
        cancel: () => {
          this.#controller = undefined;
          this.#stream.cancel();
          this.#options.onEnd("cancelled");
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** Gives a client that asks for more all that waits, because each giving costs the runtime as much as some ten KiB; or the end behind it. */
  advance(): void {
    const controller = this.#controller;
    if (controller === undefined) return;
    const pulled = this.#pulled;
    if (pulled !== undefined && this.#chunks.length > 0) {
      for (const { bytes, cost } of this.#chunks.splice(0)) {
        controller.enqueue(bytes);
        this.#owed += cost;
      }
    } else if (this.#end === "open" || this.#chunks.length > 0) return;
    else this.#finish(controller);
    this.#pulled = undefined;
    pulled?.();
  }

  #repay(): void {
    if (this.#owed > 0) this.#stream.consumed(this.#owed);
    this.#owed = 0;
  }

  #finish(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#controller = undefined;
    if (this.#end === "failed" && this.#options.onFailure === "abort") controller.error(this.#error);
    else controller.close();
    this.#options.onEnd(this.#end === "failed" ? "failed" : "completed");
  }
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
