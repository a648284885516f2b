/** Takes the objects out of a list's JSON as its bytes come, one by one, so that no list is ever in memory as a whole. */
import { isObject } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { maxListFrameBytes, maxWatchedObjectBytes } from "./limits.ts";

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openings: ReadonlySet<number> = new Set([0x5b, 0x7b]); // [ {
const closings: ReadonlySet<number> = new Set([0x5d, 0x7d]); // ] }
const openingBracket = 0x5b;

/** Depth within the list's object, and within its array of items. */
const topDepth = 1;
const itemsDepth = 2;

/**
 * Reads `{"kind":"…List","metadata":{…},"items":[{…},{…}]}`. What stands between the items is kept and read as JSON at the end: so a
 * list that breaks off, or is not a list, is never taken for a complete one. Throws what says why it is none.
 */
export class ListReader {
  readonly #onItem: (item: JsonObject) => void;
  readonly #item = new Bytes(maxWatchedObjectBytes, "an object of the list");
  readonly #frame = new Bytes(maxListFrameBytes, "the list around its objects");
  #depth = 0;
  #inText = false;
  #isEscaped = false;
  #inItems = false;

  constructor(onItem: (item: JsonObject) => void) {
    this.#onItem = onItem;
  }

  /** Takes the next bytes. */
  read(chunk: Uint8Array): void {
    let from = 0;
    for (let at = 0; at < chunk.length; at += 1) {
      const byte = chunk[at] ?? 0;
      if (this.#inText) {
        this.#readText(byte);
      } else if (byte === quote) {
        this.#inText = true;
      } else if (openings.has(byte)) {
        from = this.#open(chunk, from, at);
      } else if (closings.has(byte)) {
        from = this.#close(chunk, from, at);
      } else if (byte === comma && this.#betweenItems) {
        from = at + 1;
      }
    }
    this.#keep(chunk.subarray(from));
  }

  /** The list without its items, once all bytes are read. */
  end(): JsonObject {
    const frame: unknown = JSON.parse(this.#frame.take());
    if (!isObject(frame)) throw new Error("the list is not a JSON object");
    const { items } = frame;
    // Go writes a nil slice as null.
    if (items !== null && !(Array.isArray(items) && items.length === 0))
      throw new Error("the list has no items, or some that are no objects");
    return frame;
  }

  get #betweenItems(): boolean {
    return this.#inItems && this.#depth === itemsDepth;
  }

  #readText(byte: number): void {
    if (this.#isEscaped) this.#isEscaped = false;
    else if (byte === backslash) this.#isEscaped = true;
    else if (byte === quote) this.#inText = false;
  }

  #open(chunk: Uint8Array, from: number, at: number): number {
    let start = from;
    if (this.#betweenItems) {
      this.#keep(chunk.subarray(from, at));
      start = at;
    } else if (this.#depth === topDepth && chunk[at] === openingBracket) {
      this.#keep(chunk.subarray(from, at));
      start = at;
      if (/"items"\s*:\s*$/.test(this.#frame.tail(64))) {
        this.#frame.add(chunk.subarray(at, at + 1));
        this.#inItems = true;
        start = at + 1;
      }
    }
    this.#depth += 1;
    return start;
  }

  #close(chunk: Uint8Array, from: number, at: number): number {
    if (!this.#inItems) {
      this.#depth -= 1;
      return from;
    }
    if (this.#depth === itemsDepth) {
      this.#keep(chunk.subarray(from, at));
      this.#inItems = false;
      this.#depth -= 1;
      return at;
    }
    this.#depth -= 1;
    if (this.#depth > itemsDepth) return from;
    this.#item.add(chunk.subarray(from, at + 1));
    const item: unknown = JSON.parse(this.#item.take());
    if (!isObject(item)) throw new Error("an item of the list is not an object");
    this.#onItem(item);
    return at + 1;
  }

  #keep(bytes: Uint8Array): void {
    if (this.#inItems && this.#depth > itemsDepth) this.#item.add(bytes);
    else this.#frame.add(bytes);
  }
}

/** Bytes that are collected, up to a limit. */
export class Bytes {
  readonly #limit: number;
  readonly #what: string;
  #parts: Uint8Array[] = [];
  #length = 0;

  constructor(limit: number, what: string) {
    this.#limit = limit;
    this.#what = what;
  }

  add(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#length += bytes.length;
    if (this.#length > this.#limit) throw new Error(`${this.#what} is longer than ${this.#limit} bytes`);
    this.#parts.push(bytes);
  }

  /** The last bytes as text. */
  tail(count: number): string {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (let index = this.#parts.length - 1; index >= 0 && length < count; index -= 1) {
      const part = this.#parts[index] ?? new Uint8Array();
      parts.unshift(part);
      length += part.length;
    }
    return Buffer.concat(parts).toString("utf8").slice(-count);
  }

  /** Everything as text; then it is empty. */
  take(): string {
    const text = Buffer.concat(this.#parts, this.#length).toString("utf8");
    this.#parts = [];
    this.#length = 0;
    return text;
  }
}
