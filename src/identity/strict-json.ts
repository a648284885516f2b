/** A JSON value; objects are Maps in document order, so that no member name can touch a prototype. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;

/** A JSON object. */
export type JsonObject = ReadonlyMap<string, JsonValue>;

/** A document's value, or why it is none; the message holds nothing of the document. */
export type JsonResult = { readonly type: "parsed"; readonly value: JsonValue } | { readonly type: "malformed"; readonly message: string };

/** Limits of one document. */
export interface JsonLimits {
  /** Nesting of objects and arrays. */
  readonly maxDepth: number;
  /** Elements of one array. */
  readonly maxElements: number;
}

/** The value as an object; undefined when it is none. */
export function toJsonObject(value: JsonValue | undefined): JsonObject | undefined {
  return value instanceof Map ? value : undefined;
}

/**
 * Parses UTF-8 JSON (RFC 8259) more strictly than JSON.parse: two members of one name, a byte order mark, invalid UTF-8,
 * a lone surrogate, a number beyond a double and too deep nesting are malformed, because parsers disagree about their meaning.
 */
export function parseStrictJson(bytes: Uint8Array, limits: JsonLimits): JsonResult {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return { type: "parsed", value: new JsonReader(text, limits).readDocument() };
  } catch (thrown) {
    const message = thrown instanceof JsonFault ? thrown.message : "it is not valid UTF-8";
    return { type: "malformed", message };
  }
}

class JsonFault extends Error {}

const numberPattern = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const stringPattern = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y; // eslint-disable-line no-control-regex
const spacePattern = /[ \t\n\r]*/y;

/** Reads one document; positions only move forward, and recursion is bounded by the depth limit. */
class JsonReader {
  readonly #text: string;
  readonly #limits: JsonLimits;
  #position = 0;

  constructor(text: string, limits: JsonLimits) {
    this.#text = text;
    this.#limits = limits;
  }

  readDocument(): JsonValue {
    const value = this.#readValue(0);
    this.#skipSpace();
    if (this.#position !== this.#text.length) throw new JsonFault("there is text after the JSON value");
    return value;
  }

  #readValue(depth: number): JsonValue {
    this.#skipSpace();
    switch (this.#text.charAt(this.#position)) {
      case "{":
        return this.#readObject(depth + 1);
      case "[":
        return this.#readArray(depth + 1);
      case '"':
        return this.#readString();
      case "t":
        return this.#readWord("true", true);
      case "f":
        return this.#readWord("false", false);
      case "n":
        return this.#readWord("null", null);
      default:
        return this.#readNumber();
    }
  }

  #readObject(depth: number): JsonObject {
    this.#enter(depth);
    const members = new Map<string, JsonValue>();
    if (this.#take("}")) return members;
    do {
      this.#skipSpace();
      const name = this.#readString();
      if (members.has(name)) throw new JsonFault("an object has two members of the same name");
      if (!this.#take(":")) throw new JsonFault("it is not valid JSON");
      members.set(name, this.#readValue(depth));
    } while (this.#take(","));
    if (!this.#take("}")) throw new JsonFault("it is not valid JSON");
    return members;
  }

  #readArray(depth: number): readonly JsonValue[] {
    this.#enter(depth);
    const elements: JsonValue[] = [];
    if (this.#take("]")) return elements;
    do {
      if (elements.length === this.#limits.maxElements) {
        throw new JsonFault(`an array has more than ${this.#limits.maxElements} elements`);
      }
      elements.push(this.#readValue(depth));
    } while (this.#take(","));
    if (!this.#take("]")) throw new JsonFault("it is not valid JSON");
    return elements;
  }

  #enter(depth: number): void {
    if (depth > this.#limits.maxDepth) throw new JsonFault(`it is nested deeper than ${this.#limits.maxDepth} levels`);
    this.#position += 1;
  }

  #readString(): string {
    const raw = this.#match(stringPattern);
    const value: unknown = raw.includes("\\") ? JSON.parse(raw) : raw.slice(1, -1);
    if (typeof value !== "string" || !value.isWellFormed()) throw new JsonFault("a string holds a lone surrogate");
    return value;
  }

  #readNumber(): number {
    const value = Number(this.#match(numberPattern));
    if (!Number.isFinite(value)) throw new JsonFault("a number is too large");
    return value;
  }

  #readWord<Value extends JsonValue>(word: string, value: Value): Value {
    if (!this.#text.startsWith(word, this.#position)) throw new JsonFault("it is not valid JSON");
    this.#position += word.length;
    return value;
  }

  #take(character: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#position] !== character) return false;
    this.#position += 1;
    return true;
  }

  #skipSpace(): void {
    spacePattern.lastIndex = this.#position;
    spacePattern.exec(this.#text);
    this.#position = spacePattern.lastIndex;
  }

  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#position;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) throw new JsonFault("it is not valid JSON");
    this.#position = pattern.lastIndex;
    return found;
  }
}
