/** Label selectors as kubectl takes them: `pool=edge, zone in (a, b), !spot`. */

/** One requirement; `values` empty: the label alone. */
interface Requirement {
  readonly key: string;
  readonly operator: "in" | "notIn" | "exists" | "notExists";
  readonly values: readonly string[];
}

export type LabelSelector = readonly Requirement[];

const name = "[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?";
const key = `(?:[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?/)?${name}`;
const value = `(?:${name})?`;
const equality = new RegExp(`^(${key})\\s*(==|=|!=)\\s*(${value})$`);
const set = new RegExp(`^(${key})\\s+(in|notin)\\s*\\(([^()]*)\\)$`);
const existence = new RegExp(`^(!?)\\s*(${key})$`);
const wholeValue = new RegExp(`^${value}$`);

/** A selector is a line that somebody wrote: the text of a Service's annotation must not cost more than this. */
const maxSelectorCharacters = 1_024;

/** Parses a selector; undefined when it is none. The empty text selects everything. */
export function parseLabelSelector(text: string): LabelSelector | undefined {
  if (text.length > maxSelectorCharacters) return undefined;
  if (text.trim() === "") return [];
  const requirements = splitOutsideParentheses(text).map((part) => parseRequirement(part.trim()));
  return requirements.every((requirement) => requirement !== undefined) ? requirements : undefined;
}

/** Whether labels fit all requirements. */
export function matchesLabels(selector: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  return selector.every(({ key: label, operator, values }) => {
    const found = Object.hasOwn(labels, label) ? labels[label] : undefined;
    switch (operator) {
      case "in":
        return found !== undefined && values.includes(found);
      case "notIn":
        return found === undefined || !values.includes(found);
      case "exists":
        return found !== undefined;
      case "notExists":
        return found === undefined;
    }
  });
}

function parseRequirement(text: string): Requirement | undefined {
  return parseEquality(text) ?? parseSet(text) ?? parseExistence(text);
}

function parseEquality(text: string): Requirement | undefined {
  const match = equality.exec(text);
  if (match === null) return undefined;
  const [, label = "", operator, only = ""] = match;
  return { key: label, operator: operator === "!=" ? "notIn" : "in", values: [only] };
}

function parseSet(text: string): Requirement | undefined {
  const match = set.exec(text);
  if (match === null) return undefined;
  const [, label = "", operator, list = ""] = match;
  const values = list.split(",").map((part) => part.trim());
  if (!values.every((part) => wholeValue.test(part))) return undefined;
  return { key: label, operator: operator === "in" ? "in" : "notIn", values };
}

function parseExistence(text: string): Requirement | undefined {
  const match = existence.exec(text);
  if (match === null) return undefined;
  const [, not, label = ""] = match;
  return { key: label, operator: not === "!" ? "notExists" : "exists", values: [] };
}

function splitOutsideParentheses(text: string): readonly string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (let index = 0; index < text.length; index += 1) {
    const character = text[index];
    if (character === "(") depth += 1;
    if (character === ")") depth -= 1;
    if (character !== "," || depth !== 0) continue;
    parts.push(text.slice(from, index));
    from = index + 1;
  }
  return [...parts, text.slice(from)];
}
