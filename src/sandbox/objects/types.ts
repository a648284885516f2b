/**
 * What fields the served kinds have. types.json names them (derived from the OpenAPI document of Kubernetes 1.34, Apache-2.0,
 * without its prose), so that the sandbox refuses a misspelt field, merges lists and tells clients its schema as a
 * kube-apiserver does. A type is written `core.v1.Container[]~name*`: `[]` is a list, `{…}` a map, `~name` the patch merge key
 * (`~` alone merges plain values), `!` or `?retainKeys` the patch strategy retainKeys, `*` a required field. Before it is the field's
 * number in protobuf, `2.28` for field 28 of the message in field 2, with a `p` where Go has a pointer, whose zero is a value.
 */
import table from "./types.json" with { type: "json" };

/** The type of a value. */
export type FieldType =
  | { readonly type: "scalar"; readonly name: string }
  | { readonly type: "struct"; readonly name: string }
  | { readonly type: "list"; readonly item: FieldType; readonly merge: ListMerge }
  | { readonly type: "map"; readonly value: FieldType };

/** How a strategic merge patch treats a list: replaced whole, merged by a key, or as a set of plain values. */
export type ListMerge =
  | { readonly type: "replace" }
  | { readonly type: "set" }
  | { readonly type: "byKey"; readonly key: string; readonly retainsKeys: boolean };

/** A field of a struct. */
export interface Field {
  readonly fieldType: FieldType;
  readonly isRequired: boolean;
  /** Field numbers in protobuf, outermost first; empty when the sandbox reads the field only from JSON. */
  readonly numbers: readonly number[];
  /** Whether 0, "" and false are values that were set, rather than Go's way to write nothing. */
  readonly isPointer: boolean;
  readonly retainsKeys: boolean;
}

const expressions: Readonly<Record<string, Readonly<Record<string, string>>>> = table;

/** The fields of a struct type by name. */
export function fieldsOf(struct: string): ReadonlyMap<string, Field> {
  return new Map(Object.entries(expressions[struct] ?? {}).map(([name, expression]) => [name, parseField(expression)]));
}

/** One field of a struct; undefined when the struct has no such field. */
export function fieldOf(struct: string, name: string): Field | undefined {
  const fields = expressions[struct];
  const expression = fields !== undefined && Object.hasOwn(fields, name) ? fields[name] : undefined;
  return expression === undefined ? undefined : parseField(expression);
}

function parseField(expression: string): Field {
  const [, numbers = "", pointer, rest = ""] = /^(?:([0-9.]+)(p)? )?(.*)$/.exec(expression) ?? [];
  const isRequired = rest.endsWith("*");
  const [typeText = "", strategy] = (isRequired ? rest.slice(0, -1) : rest).split("?");
  return {
    fieldType: parseType(typeText),
    isRequired,
    numbers: numbers === "" ? [] : numbers.split(".").map(Number),
    isPointer: pointer !== undefined,
    retainsKeys: strategy === "retainKeys",
  };
}

function parseType(text: string): FieldType {
  if (text.startsWith("{") && text.endsWith("}")) return { type: "map", value: parseType(text.slice(1, -1)) };
  const [, item, mark, key = "", retain] = /^(.*)\[\](~)?([A-Za-z]*)(!)?$/.exec(text) ?? [];
  if (item !== undefined) return { type: "list", item: parseType(item), merge: mergeOf(mark, key, retain) };
  return Object.hasOwn(expressions, text) ? { type: "struct", name: text } : { type: "scalar", name: text };
}

function mergeOf(mark: string | undefined, key: string, retain: string | undefined): ListMerge {
  if (mark === undefined) return { type: "replace" };
  return key === "" ? { type: "set" } : { type: "byKey", key, retainsKeys: retain !== undefined };
}
