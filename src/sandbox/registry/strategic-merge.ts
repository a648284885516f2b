/**
 * Strategic merge patch (apimachinery, util/strategicpatch): a merge patch that knows which lists are merged by a key. It is what
 * `kubectl apply`, `edit`, `set` and `rollout restart` send for the kinds served here. Its directives: `$patch: replace|delete|merge`,
 * `$retainKeys`, `$deleteFromPrimitiveList/<field>`, `$setElementOrder/<field>`.
 */
import { isEqual, isList, isObject } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { fieldOf } from "#sandbox/objects/types.ts";
import type { Field, FieldType, ListMerge } from "#sandbox/objects/types.ts";

/** Applies a patch to an object of a struct type of types.json. */
export function applyStrategicMerge(target: JsonObject, patch: JsonObject, struct: string): JsonObject {
  return mergeObject(target, patch, { type: "struct", name: struct });
}

const deletePrefix = "$deleteFromPrimitiveList/";
const orderPrefix = "$setElementOrder/";

function mergeObject(target: JsonObject, patch: JsonObject, type: FieldType): JsonObject {
  const { $patch: directive, $retainKeys: retained, ...changes } = patch;
  if (directive === "replace") return changes;
  if (directive === "delete") return {};
  const kept = isList(retained) ? Object.fromEntries(Object.entries(target).filter(([name]) => retained.includes(name))) : target;
  const result = new Map<string, Json | undefined>(Object.entries(kept));
  for (const [name, change] of Object.entries(changes)) {
    if (name.startsWith("$") || change === undefined) continue;
    const merged = mergeField(result.get(name), change, typeOfField(type, name));
    if (merged === undefined) result.delete(name);
    else result.set(name, merged);
  }
  applyListDirectives(result, patch, type);
  return Object.fromEntries(result);
}

/** The value of a field after the patch; undefined when the patch removes it. */
function mergeField(current: Json | undefined, change: Json, type: FieldType | undefined): Json | undefined {
  if (change === null) return undefined;
  if (isObject(change)) {
    if (change["$patch"] === "delete") return undefined;
    return mergeObject(isObject(current) ? current : {}, change, type ?? { type: "scalar", name: "object" });
  }
  if (isList(change) && type?.type === "list") return mergeList(isList(current) ? current : [], change, type);
  return change;
}

function mergeList(current: readonly Json[], change: readonly Json[], type: Extract<FieldType, { type: "list" }>): readonly Json[] {
  switch (type.merge.type) {
    case "replace":
      return change;
    case "set":
      return [...current, ...change.filter((item) => !current.some((known) => isEqual(known, item)))];
    case "byKey":
      return mergeByKey(current, change, { key: type.merge.key, itemType: type.item });
  }
}

function mergeByKey(
  current: readonly Json[],
  change: readonly Json[],
  { key, itemType }: { readonly key: string; readonly itemType: FieldType },
): readonly Json[] {
  const changes = change.filter(isObject);
  if (changes.some((item) => item["$patch"] === "replace" && Object.keys(item).length === 1)) {
    return changes.filter((item) => item["$patch"] === undefined);
  }
  const sameKey = (a: Json | undefined, b: JsonObject): boolean => isObject(a) && isEqual(a[key], b[key]);
  let result = [...current];
  for (const item of changes) {
    const index = result.findIndex((known) => sameKey(known, item));
    const known = result[index];
    if (item["$patch"] === "delete") result = result.filter((other) => !sameKey(other, item));
    else if (isObject(known)) result[index] = mergeObject(known, item, itemType);
    else result.push(mergeObject({}, item, itemType));
  }
  return result;
}

/** Removes plain values and puts lists into the order that the patch asks for. */
function applyListDirectives(result: Map<string, Json | undefined>, patch: JsonObject, type: FieldType): void {
  for (const [name, values] of Object.entries(patch)) {
    if (!isList(values)) continue;
    if (name.startsWith(deletePrefix)) {
      const field = name.slice(deletePrefix.length);
      const list = result.get(field);
      if (isList(list))
        result.set(
          field,
          list.filter((item) => !values.some((value) => isEqual(value, item))),
        );
    } else if (name.startsWith(orderPrefix)) {
      const field = name.slice(orderPrefix.length);
      const list = result.get(field);
      const listType = typeOfField(type, field);
      if (isList(list) && listType?.type === "list") result.set(field, reorder(list, values, listType.merge));
    }
  }
}

/** The items that the order names in that order; items that only the server has stay behind the item they followed. */
function reorder(list: readonly Json[], order: readonly Json[], merge: ListMerge): readonly Json[] {
  const identity = (item: Json | undefined): Json | undefined => (merge.type === "byKey" && isObject(item) ? item[merge.key] : item);
  const rankOf = (item: Json): number => order.findIndex((wanted) => isEqual(identity(wanted), identity(item)));
  let last = -1;
  const ranked = list.map((item) => {
    const rank = rankOf(item);
    if (rank >= 0) last = rank;
    return { item, rank: rank >= 0 ? rank : last + 0.5 };
  });
  return ranked.toSorted((a, b) => a.rank - b.rank).map(({ item }) => item);
}

function typeOfField(type: FieldType, name: string): FieldType | undefined {
  if (type.type === "map") return type.value;
  const field: Field | undefined = type.type === "struct" ? fieldOf(type.name, name) : undefined;
  return field?.fieldType;
}
