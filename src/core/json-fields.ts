/** Fields of JSON objects from elsewhere: each reader gives the type that it names, and an empty value for anything else. */

export type JsonObject = Readonly<Record<string, unknown>>;

/** An object's field as an object; empty when it is not one. */
export function objectField(object: JsonObject, name: string): JsonObject {
  const value = object[name];
  return isObject(value) ? value : {};
}

/** An object's field as a list; empty when it is not one. */
export function listField(object: JsonObject, name: string): readonly unknown[] {
  const value = object[name];
  return Array.isArray(value) ? value : [];
}

/** An object's field as text; empty when it is not text. */
export function textField(object: JsonObject, name: string): string {
  const value = object[name];
  return typeof value === "string" ? value : "";
}

/** An object's field as a list of texts; other elements are left out. */
export function textsField(object: JsonObject, name: string): readonly string[] {
  return listField(object, name).filter((value) => typeof value === "string");
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
