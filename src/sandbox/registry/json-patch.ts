/** JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396) on read-only values. */
import { maxBodyBytes } from "#sandbox/limits.ts";
import { isEqual, isList, isObject, textAt } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";

/** A patched value, or a sentence that says which operation could not be applied. */
export type Patched = { readonly type: "patched"; readonly value: Json } | { readonly type: "refused"; readonly why: string };

/** Operations in one JSON patch at most, as kube-apiserver allows. */
const maxOperations = 10_000;

/** Applies a JSON Patch; all operations or none. */
export function applyJsonPatch(target: Json, patch: Json): Patched {
  if (!isList(patch)) return refused("a JSON patch is a list of operations");
  if (patch.length > maxOperations) return refused(`a JSON patch has at most ${maxOperations} operations`);
  let value = target;
  const budget: CopyBudget = { bytes: maxBodyBytes };
  for (const operation of patch) {
    const result = applyOperation(value, operation, budget);
    if (result.type === "refused") return result;
    value = result.value;
  }
  return patched(value);
}

/** Applies a JSON Merge Patch: objects are merged, null removes a field, anything else replaces. */
export function applyMergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const base: JsonObject = isObject(target) ? target : {};
  const kept = Object.entries(base).filter(([name]) => !Object.hasOwn(patch, name));
  const merged = Object.entries(patch)
    .filter((entry): entry is [string, Json] => entry[1] !== null && entry[1] !== undefined)
    .map(([name, inner]) => [name, applyMergePatch(Object.hasOwn(base, name) ? base[name] : undefined, inner)] as const);
  return Object.fromEntries([...kept, ...merged]);
}

/** What `copy` may still add: a chain of copies doubles an object each time (apiserver: --max-resource-write-bytes). */
interface CopyBudget {
  bytes: number;
}

function applyOperation(target: Json, operation: Json, budget: CopyBudget): Patched {
  if (!isObject(operation)) return refused("an operation of a JSON patch is an object");
  const { path, from, value } = operation;
  const op = textAt(operation, "op");
  const steps = parsePointer(path);
  if (steps === undefined) return refused(`bad path in a JSON patch: ${JSON.stringify(path ?? null)}`);
  switch (op) {
    case "add":
      return value === undefined ? refused(`add ${steps.join("/")} needs a value`) : edit(target, steps, { type: "add", value });
    case "replace":
      return value === undefined ? refused(`replace ${steps.join("/")} needs a value`) : edit(target, steps, { type: "replace", value });
    case "remove":
      return edit(target, steps, { type: "remove" });
    case "test": {
      const found = read(target, steps);
      return isEqual(found, value ?? null) ? patched(target) : refused(`testing value /${steps.join("/")} failed`);
    }
    case "copy":
    case "move":
      return copyOrMove(target, { op, from: parsePointer(from), to: steps, budget });
    default:
      return refused(`unexpected kind of operation: ${op}`);
  }
}

function copyOrMove(
  target: Json,
  plan: {
    readonly op: "copy" | "move";
    readonly from: readonly string[] | undefined;
    readonly to: readonly string[];
    readonly budget: CopyBudget;
  },
): Patched {
  const found = plan.from === undefined ? undefined : read(target, plan.from);
  if (found === undefined || plan.from === undefined) return refused(`${plan.op} needs a from that exists`);
  if (plan.op === "copy") plan.budget.bytes -= JSON.stringify(found).length;
  if (plan.budget.bytes < 0) return refused("the patch copies too much");
  const base = plan.op === "move" ? edit(target, plan.from, { type: "remove" }) : patched(target);
  return base.type === "refused" ? base : edit(base.value, plan.to, { type: "add", value: found });
}

type Edit = { readonly type: "add" | "replace"; readonly value: Json } | { readonly type: "remove" };

function edit(target: Json, steps: readonly string[], change: Edit): Patched {
  const [step, ...rest] = steps;
  if (step === undefined) return change.type === "remove" ? refused("the whole object cannot be removed") : patched(change.value);
  if (isList(target)) return editList(target, { step, rest, change });
  if (!isObject(target)) return refused(`no field ${step} in a plain value`);
  return editObject(target, { step, rest, change });
}

interface Move {
  readonly step: string;
  readonly rest: readonly string[];
  readonly change: Edit;
}

function editObject(target: JsonObject, { step, rest, change }: Move): Patched {
  const isNew = !Object.hasOwn(target, step) || target[step] === undefined;
  if (isNew && (rest.length > 0 || change.type !== "add")) return refused(`the path has no field ${step}`);
  const others = Object.entries(target).filter(([name]) => name !== step);
  if (rest.length === 0 && change.type === "remove") return patched(Object.fromEntries(others));
  const inner = edit(target[step] ?? null, rest, change);
  return inner.type === "refused" ? inner : patched(Object.fromEntries([...others, [step, inner.value]]));
}

function editList(list: readonly Json[], { step, rest, change }: Move): Patched {
  const isLast = rest.length === 0;
  const index = isLast && change.type === "add" && step === "-" ? list.length : indexOf(step);
  if (isLast && change.type === "add" && index <= list.length) return patched(list.toSpliced(index, 0, change.value));
  if (index >= list.length) return refused(`no index ${step} in a list of ${list.length}`);
  if (isLast && change.type === "remove") return patched(list.toSpliced(index, 1));
  const inner = edit(list[index] ?? null, rest, change);
  return inner.type === "refused" ? inner : patched(list.with(index, inner.value));
}

/** A list's index; Infinity for what is none. */
function indexOf(step: string): number {
  return /^(0|[1-9][0-9]*)$/.test(step) ? Number(step) : Infinity;
}

function read(target: Json, steps: readonly string[]): Json | undefined {
  let current: Json | undefined = target;
  for (const step of steps) {
    if (isList(current)) current = current[indexOf(step)];
    else if (isObject(current)) current = Object.hasOwn(current, step) ? current[step] : undefined;
    else return undefined;
  }
  return current;
}

/** The steps of a JSON Pointer (RFC 6901). */
function parsePointer(pointer: Json | undefined): readonly string[] | undefined {
  if (typeof pointer !== "string" || (pointer !== "" && !pointer.startsWith("/"))) return undefined;
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function patched(value: Json): Patched {
  return { type: "patched", value };
}

function refused(why: string): Patched {
  return { type: "refused", why };
}
