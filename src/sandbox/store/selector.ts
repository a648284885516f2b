/** Label and field selectors (apimachinery, pkg/labels and pkg/fields): text to a test of objects. */
import { textAt, textsAt, valueAt } from "#sandbox/objects/json.ts";
import type { Json } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import { badRequest, failed, ok } from "#sandbox/server/status.ts";
import type { Outcome } from "#sandbox/server/status.ts";

/** Whether an object is selected. */
export type Selector = (object: KubeObject) => boolean;

/** Whether labels are selected. */
export type LabelTest = (labels: Readonly<Record<string, string>>) => boolean;

const namePattern = String.raw`[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?`;
const setPattern = new RegExp(`^(${namePattern})\\s+(in|notin)\\s*\\(([^()]*)\\)$`);
const equalPattern = new RegExp(`^(${namePattern})\\s*(==|=|!=)\\s*([A-Za-z0-9]?[-A-Za-z0-9_.]*)$`);
const comparePattern = new RegExp(`^(${namePattern})\\s*([<>])\\s*(-?[0-9]+)$`);
const existsPattern = new RegExp(`^(!?)\\s*(${namePattern})$`);

/** Parses `labelSelector`, such as `app=cart,tier in (web, api),!old`. */
export function parseLabelSelector(text: string): Outcome<LabelTest> {
  const tests: LabelTest[] = [];
  for (const term of splitTerms(text)) {
    const test = labelTerm(term);
    if (test === undefined) return failed(badRequest(`unable to parse requirement: ${term} in labelSelector ${text}`));
    tests.push(test);
  }
  return ok((labels) => tests.every((test) => test(labels)));
}

/** A `selector` of the API (matchLabels and matchExpressions) as a test; an absent selector selects nothing. */
export function labelTestOf(selector: Json | undefined): LabelTest {
  if (selector === undefined || selector === null) return () => false;
  const wanted = Object.entries(textsAt(selector, "matchLabels"));
  const expressions = (valueAt(selector, "matchExpressions") ?? []) as readonly Json[]; // the field check lets only lists in
  return (labels) =>
    wanted.every(([name, value]) => labels[name] === value) && expressions.every((expression) => matchesExpression(expression, labels));
}

const fieldsOf: Readonly<Record<string, readonly string[]>> = {
  Pod: [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
  ],
  Event: [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
  ],
  Secret: ["type"],
  Node: ["spec.unschedulable"],
  Namespace: ["status.phase"],
  Service: ["spec.clusterIP", "spec.type"],
  ReplicaSet: ["status.replicas"],
};

/** Parses `fieldSelector`, such as `metadata.name=cart,status.phase!=Running`; only the fields that Kubernetes knows for the kind. */
export function parseFieldSelector(resource: Resource, text: string): Outcome<Selector> {
  const tests: Selector[] = [];
  for (const term of text.split(",").filter((part) => part !== "")) {
    const [, field = "", operator = "", wanted = ""] = /^([^=!]+)(==|=|!=)(.*)$/.exec(term) ?? [];
    if (operator === "") return failed(badRequest(`invalid selector: '${text}'; can't understand '${term}'`));
    const known = ["metadata.name", "metadata.namespace", ...(fieldsOf[resource.kind] ?? [])];
    if (!known.includes(field)) return failed(badRequest(`field label not supported: ${field}`));
    const isEqual = operator !== "!=";
    tests.push((object) => (fieldText(object, field) === wanted) === isEqual);
  }
  return ok((object) => tests.every((test) => test(object)));
}

/** The name that a field selector pins (`metadata.name=…`), which the authorizer then takes as the request's name. */
export function nameInFieldSelector(text: string): string | undefined {
  for (const term of text.split(",")) {
    const [, name] = /^metadata\.name==?([^=]+)$/.exec(term) ?? [];
    if (name !== undefined) return name;
  }
  return undefined;
}

function fieldText(object: KubeObject, field: string): string {
  if (field === "source") return textAt(object, "source", "component") || textAt(object, "reportingComponent");
  const value = valueAt(object, ...field.split("."));
  if (value === undefined && (field === "spec.unschedulable" || field === "spec.hostNetwork")) return "false";
  return typeof value === "string" ? value : JSON.stringify(value ?? "").replaceAll('"', ""); // a number or boolean
}

/** Splits at commas outside of parentheses. */
function splitTerms(text: string): readonly string[] {
  return (text.match(/(?:\([^()]*\)|[^,])+/g) ?? []).map((term) => term.trim()).filter((term) => term !== "");
}

function labelTerm(term: string): LabelTest | undefined {
  const set = setPattern.exec(term);
  if (set !== null) {
    const [, name = "", , operator, inner = ""] = set;
    const values = inner.split(",").map((value) => value.trim());
    return (labels) => values.includes(labels[name] ?? "\0") === (operator === "in");
  }
  const equal = equalPattern.exec(term);
  if (equal !== null) {
    const [, name = "", , operator, value = ""] = equal;
    return (labels) => (labels[name] === value) === (operator !== "!=");
  }
  const compare = comparePattern.exec(term);
  if (compare !== null) {
    const [, name = "", , operator, value = ""] = compare;
    return (labels) => (operator === "<" ? Number(labels[name]) < Number(value) : Number(labels[name]) > Number(value));
  }
  const [, negated, name] = existsPattern.exec(term) ?? [];
  if (name === undefined) return undefined;
  return (labels) => (labels[name] !== undefined) === (negated === "");
}

function matchesExpression(expression: Json, labels: Readonly<Record<string, string>>): boolean {
  const value = labels[textAt(expression, "key")];
  const values = (valueAt(expression, "values") ?? []) as readonly Json[]; // the field check lets only lists in
  switch (textAt(expression, "operator")) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    default:
      return false;
  }
}
