/** Makes a client's JSON fit its kind: unknown fields are found (and left out, as Go's decoder does), values of a wrong type refused. */
import { isList, isObject, valueAt } from "./json.ts";
import type { Json, JsonObject } from "./json.ts";
import { fieldOf, fieldsOf } from "./types.ts";
import type { FieldType } from "./types.ts";

/** A value with only known fields, and what was wrong with it. */
export interface Conformed {
  readonly object: JsonObject;
  /** Paths of fields that the kind does not have. */
  readonly unknown: readonly string[];
  /** Sentences about values of a wrong type. */
  readonly mismatches: readonly string[];
  /** Paths of required fields that are missing. */
  readonly missing: readonly string[];
}

interface Findings {
  readonly unknown: string[];
  readonly mismatches: string[];
  readonly missing: string[];
}

/** Checks an object against a struct type of types.json. */
export function conform(struct: string, value: JsonObject): Conformed {
  const findings: Findings = { unknown: [], mismatches: [], missing: [] };
  const object = conformStruct(struct, value, { path: "", findings });
  return { object, ...findings };
}

interface Place {
  readonly path: string;
  readonly findings: Findings;
}

function conformStruct(struct: string, value: JsonObject, { path, findings }: Place): JsonObject {
  const entries: [string, Json][] = [];
  for (const [name, inner] of Object.entries(value)) {
    const field = fieldOf(struct, name);
    const innerPath = path === "" ? name : `${path}.${name}`;
    if (field === undefined) {
      if (name !== "managedFields") findings.unknown.push(innerPath); // meta/v1 has it; the sandbox does not track field managers
    } else if (inner !== undefined && inner !== null) {
      entries.push([name, conformValue(field.fieldType, inner, { path: innerPath, findings })]);
    }
  }
  findMissing(struct, value, { path, findings });
  return Object.fromEntries(entries);
}

function findMissing(struct: string, value: JsonObject, { path, findings }: Place): void {
  for (const [name, field] of fieldsOf(struct)) {
    if (field.isRequired && (valueAt(value, name) ?? null) === null) findings.missing.push(path === "" ? name : `${path}.${name}`);
  }
}

function conformValue(type: FieldType, value: Json, place: Place): Json {
  switch (type.type) {
    case "struct":
      return isObject(value) ? conformStruct(type.name, value, place) : mismatch(value, "object", place);
    case "list":
      if (!isList(value)) return mismatch(value, "list", place);
      return value.map((item, index) => conformValue(type.item, item, { ...place, path: `${place.path}[${index}]` }));
    case "map":
      if (!isObject(value)) return mismatch(value, "map", place);
      return Object.fromEntries(
        Object.entries(value).map(([name, inner]) => [
          name,
          conformValue(type.value, inner ?? "", { ...place, path: `${place.path}.${name}` }),
        ]),
      );
    case "scalar":
      return isScalar(type.name, value) ? value : mismatch(value, type.name, place);
  }
}

function isScalar(name: string, value: Json): boolean {
  switch (name) {
    case "string":
    case "time":
    case "bytes":
      return typeof value === "string";
    case "integer":
      return Number.isInteger(value);
    case "number":
      return typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
    case "int-or-string":
    case "quantity":
      return typeof value === "string" || typeof value === "number";
    default:
      return true; // "object": any JSON
  }
}

function mismatch(value: Json, wanted: string, { path, findings }: Place): Json {
  const shown = isList(value) ? "array" : typeof value;
  findings.mismatches.push(`json: cannot unmarshal ${shown} into field ${path} of type ${wanted}`);
  return value;
}
