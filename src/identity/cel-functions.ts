import type { Environment } from "@marcbachmann/cel-js";
import type { RegularExpression } from "./regular-expression.ts";

/**
 * Kubernetes' CEL functions, written after cel-go's. The library's own functions of the same names count UTF-16 units, fold
 * case and match regular expressions as JavaScript does, so none of them is ever called: expressions are rewritten to call
 * these, which bear the prefix.
 */
export const functionPrefix = "kubernetes_";

/** Names of the global functions that expressions may call. */
export const globalFunctions: ReadonlySet<string> = new Set(["bool", "double", "dyn", "int", "size", "string"]);

/** Types of the operands of the methods that expressions may call, beside the macros; the last ones may be left out. */
export const methodFunctions: ReadonlyMap<string, readonly string[]> = new Map([
  ["charAt", ["int"]],
  ["contains", ["string"]],
  ["endsWith", ["string"]],
  ["indexOf", ["string", "int"]],
  ["join", ["string"]],
  ["lastIndexOf", ["string", "int"]],
  ["lowerAscii", []],
  ["matches", ["string"]],
  ["replace", ["string", "string", "int"]],
  ["size", []],
  ["split", ["string", "int"]],
  ["startsWith", ["string"]],
  ["substring", ["int", "int"]],
  ["trim", []],
  ["upperAscii", []],
]);

/** Elements that split() may give: a bound on nested loops over them. */
const maxParts = 1000;

/** What the functions of one environment share with the compiler of its expressions. */
export interface FunctionState {
  /** The compiled patterns of all matches() calls; patterns are literals, so all are known before evaluation. */
  readonly patterns: ReadonlyMap<string, RegularExpression>;
  /** Lists that come straight from split(): cel-go holds them in another type, which Kubernetes refuses as a mapping's result. */
  readonly splitLists: WeakSet<object>;
}

class EvaluationFault extends Error {}

/** Registers all functions with an environment. */
export function registerKubernetesFunctions(environment: Environment, state: FunctionState): void {
  registerConversions(environment);
  registerTextMethods(environment, state);
  registerPositionMethods(environment);
}

function registerConversions(environment: Environment): void {
  const register = registrar(environment, "");
  register("dyn(dyn): dyn", (value: unknown) => value);
  register("bool(bool): bool", (value: boolean) => value);
  register("bool(string): bool", parseBool);
  register("double(double): double", (value: number) => value);
  register("double(int): double", Number);
  register("double(string): double", parseDouble);
  register("int(int): int", (value: bigint) => value);
  register("int(double): int", truncate);
  register("int(string): int", parseInteger);
  register("string(string): string", (value: string) => value);
  register("string(bool): string", String);
  register("string(int): string", String);
  register("string(double): string", formatDouble);
  register("size(string): int", countCodePoints);
  register("size(list): int", countElements);
  register("size(map): int", countElements);
  const method = registrar(environment, "string.");
  method("size(): int", countCodePoints);
  registrar(environment, "list.")("size(): int", countElements);
  registrar(environment, "map.")("size(): int", countElements);
}

function registerTextMethods(environment: Environment, state: FunctionState): void {
  const method = registrar(environment, "string.");
  method("startsWith(string): bool", (text: string, prefix: string) => text.startsWith(prefix));
  method("endsWith(string): bool", (text: string, suffix: string) => text.endsWith(suffix));
  method("contains(string): bool", (text: string, part: string) => text.includes(part));
  method("lowerAscii(): string", (text: string) => text.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase()));
  method("upperAscii(): string", (text: string) => text.replaceAll(/[a-z]+/g, (letters) => letters.toUpperCase()));
  method("trim(): string", (text: string) => text.replaceAll(outerSpace, ""));
  method("replace(string, string): string", (text: string, old: string, next: string) => replace(text, old, { next, count: -1n }));
  method("replace(string, string, int): string", (text: string, old: string, next: string, count: bigint) =>
    replace(text, old, { next, count }),
  );
  method("matches(string): bool", (text: string, pattern: string) => {
    const expression = state.patterns.get(pattern);
    if (expression === undefined) throw new EvaluationFault("matches() needs a literal pattern");
    return expression.test(text);
  });
  const remember = (parts: string[]): string[] => {
    if (parts.length > maxParts) throw new EvaluationFault(`split() gives more than ${maxParts} parts`);
    state.splitLists.add(parts);
    return parts;
  };
  method("split(string): list<string>", (text: string, separator: string) => remember(split(text, separator, -1n)));
  method("split(string, int): list<string>", (text: string, separator: string, limit: bigint) => remember(split(text, separator, limit)));
  const listMethod = registrar(environment, "list<string>.");
  listMethod("join(): string", (texts: readonly unknown[]) => join(texts, ""));
  listMethod("join(string): string", join);
}

function registerPositionMethods(environment: Environment): void {
  const method = registrar(environment, "string.");
  method("charAt(int): string", (text: string, index: bigint) => {
    const characters = Array.from(text);
    return characters[toIndex(index, characters.length)] ?? "";
  });
  method("indexOf(string): int", (text: string, part: string) => indexOf(text, part, 0n));
  method("indexOf(string, int): int", indexOf);
  method("lastIndexOf(string): int", (text: string, part: string) => {
    if (part === "") return countCodePoints(text);
    return text === "" ? -1n : lastIndexOf(text, part, countCodePoints(text) - 1n);
  });
  method("lastIndexOf(string, int): int", lastIndexOf);
  method("substring(int): string", (text: string, start: bigint) => substring(text, start, countCodePoints(text)));
  method("substring(int, int): string", substring);
}

type Handler = (...values: never[]) => unknown;

/** Registers functions under their prefixed names, as methods of `receiver` when that is not empty. */
function registrar(environment: Environment, receiver: string): (signature: string, handler: Handler) => void {
  return (signature, handler) => {
    // The library types handlers as taking any values; its overload resolution gives them those of the signature.
    environment.registerFunction(`${receiver}${functionPrefix}${signature}`, handler as (...values: unknown[]) => unknown);
  };
}

/** Go's unicode.IsSpace at both ends: unlike JavaScript's, with U+0085 and without U+FEFF. */
const space = "[\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const outerSpace = new RegExp(`^${space}|${space}$`, "gu");

function countCodePoints(text: string): bigint {
  return BigInt(Array.from(text).length);
}

function countElements(value: readonly unknown[] | ReadonlyMap<unknown, unknown> | object): bigint {
  if (Array.isArray(value)) return BigInt(value.length);
  return BigInt(value instanceof Map ? value.size : Object.keys(value).length);
}

function toIndex(index: bigint, length: number): number {
  if (index < 0n || index > BigInt(length)) throw new EvaluationFault("index out of range");
  return Number(index);
}

function substring(text: string, start: bigint, end: bigint): string {
  const characters = Array.from(text);
  if (start > end) throw new EvaluationFault("invalid substring range");
  return characters.slice(toIndex(start, characters.length), toIndex(end, characters.length)).join("");
}

function indexOf(text: string, part: string, from: bigint): bigint {
  if (part === "") return from;
  const characters = Array.from(text);
  if (from < 0n) throw new EvaluationFault("index out of range");
  if (from >= BigInt(characters.length)) return -1n;
  const rest = characters.slice(Number(from)).join("");
  const unit = rest.indexOf(part);
  return unit === -1 ? -1n : from + countCodePoints(rest.slice(0, unit));
}

function lastIndexOf(text: string, part: string, from: bigint): bigint {
  if (part === "") return from;
  const characters = Array.from(text);
  if (from < 0n) throw new EvaluationFault("index out of range");
  if (from >= BigInt(characters.length)) return -1n;
  const unit = text.lastIndexOf(part, characters.slice(0, Number(from)).join("").length);
  return unit === -1 ? -1n : countCodePoints(text.slice(0, unit));
}

/** Go's strings.SplitN: at most `limit` parts, all for a negative limit; an empty separator splits after each character. */
function split(text: string, separator: string, limit: bigint): string[] {
  if (limit === 0n) return [];
  const parts = separator === "" ? Array.from(text) : text.split(separator);
  if (limit < 0n || BigInt(parts.length) <= limit) return parts;
  const kept = Number(limit) - 1;
  return [...parts.slice(0, kept), parts.slice(kept).join(separator)];
}

/** Go's strings.Replace: the first `count` occurrences, all for a negative count; an empty text occurs before and after each character. */
function replace(text: string, old: string, by: { readonly next: string; readonly count: bigint }): string {
  if (by.count === 0n) return text;
  const pieces = old === "" ? ["", ...Array.from(text), ""] : text.split(old);
  if (text === "" && old === "") return by.next;
  const replaced = by.count < 0n ? pieces.length - 1 : Math.min(Number(by.count), pieces.length - 1);
  return (
    pieces.slice(0, replaced + 1).join(by.next) +
    pieces
      .slice(replaced + 1)
      .map((piece) => old + piece)
      .join("")
  );
}

function join(texts: readonly unknown[], separator: string): string {
  if (!texts.every((text) => typeof text === "string")) throw new EvaluationFault("join() needs a list of strings");
  return texts.join(separator);
}

function parseBool(text: string): boolean {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  throw new EvaluationFault("not a bool");
}

function parseInteger(text: string): bigint {
  if (!/^[+-]?[0-9]{1,16}$/.test(text)) throw new EvaluationFault("not an integer of at most 16 digits");
  return BigInt(text.replace(/^\+/, ""));
}

function parseDouble(text: string): number {
  const value = /^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isFinite(value)) throw new EvaluationFault("not a number");
  return value;
}

function truncate(value: number): bigint {
  if (!(Math.abs(value) <= Number.MAX_SAFE_INTEGER)) throw new EvaluationFault("number out of range");
  return BigInt(Math.trunc(value));
}

/** Go's %g: the shortest digits that give the number, with an exponent of at least two digits below 1e-4 and from 1e6 on. */
function formatDouble(value: number): string {
  const [mantissa = "", exponent = "0"] = value.toExponential().split("e");
  const power = Number(exponent);
  if (Object.is(value, -0)) return "-0";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  if (power >= -4 && power < 6) return String(value);
  return `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}
