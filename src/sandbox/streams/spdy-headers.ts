/** Header blocks of SPDY/3: names and values, compressed with one zlib stream for each direction that is never reset. */
import { constants, createDeflate, createInflate } from "node:zlib";
import type { Deflate, Inflate } from "node:zlib";
import { maxSpdyFrameBytes } from "#sandbox/limits.ts";
import { spdyDictionary } from "./spdy-dictionary.ts";

/** Lower-case names; a name's values are joined by NUL on the wire, here by a comma. */
export type SpdyHeaders = Readonly<Record<string, string>>;

/** Reads header blocks; they must be given in the order in which they came, each after the one before is done. */
export class HeaderReader {
  readonly #inflate: Inflate = createInflate({ dictionary: spdyDictionary(), finishFlush: constants.Z_SYNC_FLUSH });
  #failed = false;

  constructor() {
    this.#inflate.on("error", () => (this.#failed = true));
  }

  /** The block's headers; undefined when it is broken or too large. */
  async read(block: Buffer): Promise<SpdyHeaders | undefined> {
    const text = await pump(this.#inflate, block);
    return this.#failed || text === undefined ? undefined : parseBlock(text);
  }

  close(): void {
    this.#inflate.close();
  }
}

/** Writes header blocks. */
export class HeaderWriter {
  readonly #deflate: Deflate = createDeflate({ dictionary: spdyDictionary(), flush: constants.Z_SYNC_FLUSH });

  async write(headers: SpdyHeaders): Promise<Buffer> {
    return (await pump(this.#deflate, encodeBlock(headers))) ?? Buffer.alloc(0);
  }

  close(): void {
    this.#deflate.close();
  }
}

/** Puts bytes through zlib and gives what comes out of them; undefined when that is too much. */
async function pump(stream: Deflate | Inflate, bytes: Buffer): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  const take = (chunk: Buffer): void => {
    size += chunk.length;
    if (size <= maxSpdyFrameBytes) chunks.push(chunk);
  };
  stream.on("data", take);
  await new Promise<void>((resolve) => {
    stream.once("close", resolve); // zlib destroys a stream whose input is broken, without calling back
    stream.write(bytes, () => resolve());
  });
  stream.removeAllListeners("close");
  stream.off("data", take);
  return size > maxSpdyFrameBytes ? undefined : Buffer.concat(chunks);
}

function parseBlock(block: Buffer): SpdyHeaders | undefined {
  let offset = 0;
  const readNumber = (): number | undefined => {
    if (offset + 4 > block.length) return undefined;
    offset += 4;
    return block.readUInt32BE(offset - 4);
  };
  const readText = (): string | undefined => {
    const length = readNumber();
    if (length === undefined || offset + length > block.length) return undefined;
    offset += length;
    return block.toString("utf8", offset - length, offset);
  };
  const count = readNumber() ?? -1;
  const entries: [string, string][] = [];
  for (let index = 0; index < count; index += 1) {
    const name = readText();
    const value = readText();
    if (name === undefined || value === undefined) return undefined;
    entries.push([name.toLowerCase(), value.replaceAll("\0", ",")]);
  }
  return count < 0 ? undefined : Object.fromEntries(entries);
}

function encodeBlock(headers: SpdyHeaders): Buffer {
  const number = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const text = (value: string): Buffer => Buffer.concat([number(Buffer.byteLength(value)), Buffer.from(value)]);
  const entries = Object.entries(headers);
  return Buffer.concat([number(entries.length), ...entries.flatMap(([name, value]) => [text(name.toLowerCase()), text(value)])]);
}
