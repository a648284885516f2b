/**
 * What a GET of a collection asks for: a list or a watch, and whether `fieldSelector=metadata.name=x` makes it one object's.
 * Kubernetes reads the name only when all of the list's options decode; a request whose other options do not is refused here
 * (the apiserver answers it 400 too), so that nobody has to guess whether the name counts.
 */
import { firstText, isTrue } from "./query.ts";
import type { Query } from "./query.ts";

/** The scope of a collection request. */
export type ListScope =
  | { readonly type: "scope"; readonly isWatch: boolean; readonly name: string }
  | { readonly type: "invalid"; readonly message: string };

/** Reads `watch` and the field selector's `metadata.name` from a query. */
export function readListScope(query: Query): ListScope {
  const watch = firstText(query, "watch");
  // Go compares `false` by case folding in one place and by lower case in another; they differ outside ASCII.
  if (watch === undefined || !/^[\0-\x7f]*$/.test(watch)) return { type: "invalid", message: "the parameter watch is not ASCII" };
  const isWatch = isTrue(query, "watch");
  const fieldSelector = firstText(query, "fieldSelector");
  if (fieldSelector === undefined) return { type: "invalid", message: "a selector is not UTF-8" };
  const name = selectedName(fieldSelector);
  if (name === "" || !isPathSegmentName(name)) return { type: "scope", isWatch, name: "" };
  if (!isLabelSelector(firstText(query, "labelSelector") ?? "\0")) {
    return { type: "invalid", message: "the label selector beside a field selector for metadata.name is malformed" };
  }
  if (!isInteger(query, "limit") || !isInteger(query, "timeoutSeconds")) {
    return { type: "invalid", message: "limit or timeoutSeconds is not an integer" };
  }
  return { type: "scope", isWatch, name };
}

/** The value that a field selector requires of metadata.name; empty when it requires none or does not parse. */
export function selectedName(fieldSelector: string): string {
  let found: string | undefined;
  for (const part of splitTerms(fieldSelector).toSorted(compareCodePoints)) {
    if (part === "") continue;
    const term = splitTerm(part);
    const value = term === undefined ? undefined : unescapeValue(term.value);
    if (term === undefined || value === undefined) return "";
    if (term.isEqual && term.field === "metadata.name") found ??= value;
  }
  return found ?? "";
}

/** Splits at commas that no backslash escapes. */
function splitTerms(selector: string): readonly string[] {
  const terms: string[] = [];
  let start = 0;
  for (let at = 0; at < selector.length; at++) {
    if (selector[at] === "\\") at++;
    else if (selector[at] === ",") {
      terms.push(selector.slice(start, at));
      start = at + 1;
    }
  }
  terms.push(selector.slice(start));
  return terms;
}

/** `field`, then the first of `!=`, `==`, `=`, then the value. */
function splitTerm(term: string): { readonly field: string; readonly isEqual: boolean; readonly value: string } | undefined {
  const operator = /!=|==|=/.exec(term);
  if (operator === null) return undefined;
  const value = term.slice(operator.index + operator[0].length);
  return { field: term.slice(0, operator.index), isEqual: operator[0] !== "!=", value };
}

/** A value with `\\`, `\,` and `\=` resolved; undefined for any other backslash and for a bare `,` or `=`. */
function unescapeValue(value: string): string | undefined {
  if (!/^(?:[^\\,=]|\\[\\,=])*$/.test(value)) return undefined;
  return value.replaceAll(/\\([\\,=])/g, "$1");
}

/** Go sorts strings by bytes, which for UTF-8 is by code point. */
function compareCodePoints(left: string, right: string): number {
  const a = Array.from(left, (character) => character.codePointAt(0) ?? 0);
  const b = Array.from(right, (character) => character.codePointAt(0) ?? 0);
  const differs = a.findIndex((point, index) => point !== b[index]);
  if (differs === -1) return a.length - b.length;
  return (a[differs] ?? 0) - (b[differs] ?? -1);
}

/** apimachinery pkg/api/validation/path: IsValidPathSegmentName. */
function isPathSegmentName(name: string): boolean {
  return name !== "." && name !== ".." && !/[/%]/.test(name);
}

/** Longest label selector that is looked at beside metadata.name: one object's labels are few, and matching stays cheap. */
const maximumSelectorLength = 4096;

const keyPattern =
  /^(?:(?<prefix>[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*)\/)?(?<name>[A-Za-z0-9](?:[-\w.]*[A-Za-z0-9])?)$/;
const valuePattern = /^(?:[A-Za-z0-9](?:[-\w.]*[A-Za-z0-9])?)?$/;
const requirementPattern =
  /^\s*(?:!\s*(?<absent>[-\w./]+)|(?<key>[-\w./]+)(?:\s*(?:==|=|!=)\s*(?<value>[-\w.]*)|\s+(?:in|notin)\s*\((?<list>[-\w.,\s]*)\)|\s*[<>]\s*\d{1,18})?)\s*$/;

/**
 * Whether a label selector is well formed (Kubernetes labels.Parse). Sound rather than complete: odd forms that Kubernetes
 * also takes, such as empty values in a list, are left out.
 */
export function isLabelSelector(selector: string): boolean {
  if (selector.length > maximumSelectorLength || !/^[\t\n\r\x20-\x7e]*$/.test(selector)) return false;
  if (selector.trim() === "") return true;
  return selector.split(/,(?![^(]*\))/).every((requirement) => {
    const parts = requirementPattern.exec(requirement)?.groups;
    return parts !== undefined && isLabelKey(parts["absent"] ?? parts["key"] ?? "") && areLabelValues(parts["value"], parts["list"]);
  });
}

/** A label key's name has at most 63 characters, and its DNS prefix 253. */
function isLabelKey(key: string): boolean {
  if (key.length > 253 + 1 + 63) return false;
  const parts = keyPattern.exec(key)?.groups;
  return parts !== undefined && (parts["name"] ?? "").length <= 63 && (parts["prefix"] ?? "").length <= 253;
}

/** The one value of an equation may be empty; those of a list may not, unless the list is. */
function areLabelValues(single: string | undefined, list: string | undefined): boolean {
  if (single !== undefined) return isLabelValue(single);
  if (list === undefined || list.trim() === "") return true;
  return list.split(",").every((value) => value.trim() !== "" && isLabelValue(value.trim()));
}

function isLabelValue(value: string): boolean {
  return value.length <= 63 && valuePattern.test(value);
}

function isInteger(query: Query, key: string): boolean {
  return !query.has(key) || /^[+-]?\d{1,18}$/.test(firstText(query, key) ?? "");
}
