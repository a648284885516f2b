/**
 * The sandbox keeps Kubernetes objects as the JSON that clients sent, because that is what an apiserver must give back: every
 * field, also those that nothing here understands. What must stay true: stored JSON is never changed in place (a change makes a
 * new object, so that watch history and running lists keep what they saw), and every read of a nested field says what it does
 * when the field is missing or of another type.
 */

/** Any JSON value, read only. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

/** A JSON object, read only; an absent field and an undefined one are the same. */
export interface JsonObject {
  readonly [field: string]: Json | undefined;
}

/** Whether the value is a JSON object (not null, not an array). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether the value is a JSON array. */
export function isList(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

/** Parses text to JSON; undefined when it is not JSON. */
export function parseJson(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json; // JSON.parse makes nothing else
  } catch {
    return undefined; // a SyntaxError: the caller says which text was wrong
  }
}

/** The value at a path of own fields; undefined where the path ends early. */
export function valueAt(value: Json | undefined, ...path: readonly string[]): Json | undefined {
  let current = value;
  for (const name of path) {
    if (!isObject(current) || !Object.hasOwn(current, name)) return undefined;
    current = current[name];
  }
  return current;
}

/** The text at a path; "" when there is none. */
export function textAt(value: Json | undefined, ...path: readonly string[]): string {
  const found = valueAt(value, ...path);
  return typeof found === "string" ? found : "";
}

/** The number at a path; undefined when there is none. */
export function numberAt(value: Json | undefined, ...path: readonly string[]): number | undefined {
  const found = valueAt(value, ...path);
  return typeof found === "number" ? found : undefined;
}

/** The list at a path; empty when there is none. */
export function listAt(value: Json | undefined, ...path: readonly string[]): readonly Json[] {
  const found = valueAt(value, ...path);
  return isList(found) ? found : [];
}

/** The object at a path; empty when there is none. */
export function objectAt(value: Json | undefined, ...path: readonly string[]): JsonObject {
  const found = valueAt(value, ...path);
  return isObject(found) ? found : {};
}

/** The texts of a map such as labels; values of other types are left out. */
export function textsAt(value: Json | undefined, ...path: readonly string[]): Readonly<Record<string, string>> {
  const texts = Object.entries(objectAt(value, ...path)).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(texts);
}

/** The texts of a list; values of other types are left out. */
export function textListAt(value: Json | undefined, ...path: readonly string[]): readonly string[] {
  return listAt(value, ...path).filter((item): item is string => typeof item === "string");
}

/** A copy with one nested field set; objects on the way are made as needed, and undefined removes the field. */
export function withValue<T extends JsonObject>(object: T, path: readonly string[], value: Json | undefined): T {
  const [name, ...rest] = path;
  if (name === undefined) return object;
  const inner = rest.length === 0 ? value : withValue(objectAt(object, name), rest, value);
  const entries = Object.entries(object).filter(([field]) => field !== name);
  // Object.fromEntries defines own fields, so a field named `__proto__` stays plain data.
  return Object.fromEntries(inner === undefined ? entries : [...entries, [name, inner]]) as T; // same object but for the field
}

/** Deep equality of JSON; the order of an object's fields does not count. */
export function isEqual(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (isList(a) && isList(b)) return a.length === b.length && a.every((item, index) => isEqual(item, b[index]));
  if (!isObject(a) || !isObject(b)) return false;
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].every((name) => isEqual(valueAt(a, name), valueAt(b, name)));
}
