/** Standard input that a shell and the commands it starts can read in turns, by lines or by chunks. */
import type { Readable } from "node:stream";

/** Reads a stream without reading ahead of what was asked for. */
export class Input {
  readonly #stream: Readable;
  #buffered = Buffer.alloc(0);

  constructor(stream: Readable) {
    this.#stream = stream;
    stream.on("error", () => undefined); // the end follows
  }

  /** The next bytes; undefined at the end, or when the signal aborts. */
  async readChunk(signal?: AbortSignal): Promise<Buffer | undefined> {
    if (this.#buffered.length > 0) {
      const taken = this.#buffered;
      this.#buffered = Buffer.alloc(0);
      return taken;
    }
    for (;;) {
      const chunk = this.#stream.read() as Buffer | null; // the streams have no encoding set
      if (chunk !== null) return chunk;
      if (this.#stream.readableEnded || this.#stream.destroyed || signal?.aborted === true) return undefined;
      await this.#more(signal);
    }
  }

  /** The next line without its line feed; a last line without one counts. Undefined at the end or when the signal aborts. */
  async readLine(signal?: AbortSignal): Promise<string | undefined> {
    let line = Buffer.alloc(0);
    for (;;) {
      const chunk = await this.readChunk(signal);
      if (chunk === undefined) return line.length > 0 && signal?.aborted !== true ? line.toString() : undefined;
      const end = chunk.indexOf(0x0a);
      if (end >= 0) {
        this.#buffered = Buffer.from(chunk.subarray(end + 1));
        return Buffer.concat([line, chunk.subarray(0, end)]).toString();
      }
      line = Buffer.concat([line, chunk]);
    }
  }

  /** Everything up to the end. */
  async readAll(signal?: AbortSignal): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for (let chunk = await this.readChunk(signal); chunk !== undefined; chunk = await this.readChunk(signal)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  #more(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const events = ["readable", "end", "close"] as const;
      const done = (): void => {
        for (const event of events) this.#stream.off(event, done);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      for (const event of events) this.#stream.on(event, done);
      signal?.addEventListener("abort", done);
    });
  }
}
