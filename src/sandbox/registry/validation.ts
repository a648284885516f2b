/** The rules that an object's fields must keep beyond their types: the ones that the sandbox itself relies on, in Kubernetes' words. */
import { isEqual, isObject, listAt, numberAt, objectAt, textAt, textsAt, valueAt, withValue } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { isLabelValue, isQualifiedName, nameProblem } from "./names.ts";
import type { FieldError } from "#sandbox/server/status.ts";
import { labelTestOf } from "#sandbox/store/selector.ts";

/** What is wrong with an object; empty when nothing is. `old` is what it replaces, if anything. */
export function validate(kind: string, object: JsonObject, old: JsonObject | undefined): readonly FieldError[] {
  const rules = rulesByKind[kind] ?? [];
  return [...metadataErrors(kind, object), ...rules.flatMap((rule) => [...rule(object, old)])];
}

type Rule = (object: JsonObject, old: JsonObject | undefined) => Iterable<FieldError>;

const rulesByKind: Readonly<Record<string, readonly Rule[]>> = {
  Pod: [(pod) => podSpecErrors(objectAt(pod, "spec"), "spec"), podIsUnchanged],
  Deployment: [workloadErrors, (object, old) => immutable(object, old, "spec", "selector")],
  ReplicaSet: [workloadErrors, (object, old) => immutable(object, old, "spec", "selector")],
  Service: [serviceErrors],
  ConfigMap: [dataKeyErrors, immutableData],
  Secret: [dataKeyErrors, immutableData, secretValueErrors, (object, old) => immutable(object, old, "type")],
  Role: [ruleErrors],
  ClusterRole: [ruleErrors],
  RoleBinding: [bindingErrors, (object, old) => immutable(object, old, "roleRef")],
  ClusterRoleBinding: [bindingErrors, (object, old) => immutable(object, old, "roleRef")],
};

function* metadataErrors(kind: string, object: JsonObject): Generator<FieldError> {
  const name = textAt(object, "metadata", "name");
  const problem = name === "" ? undefined : nameProblem(kind, name);
  if (problem !== undefined) yield invalidValue("metadata.name", name, problem);
  for (const [key, value] of Object.entries(textsAt(object, "metadata", "labels"))) {
    if (!isQualifiedName(key))
      yield invalidValue("metadata.labels", key, "name part must consist of alphanumeric characters, '-', '_' or '.'");
    if (!isLabelValue(value))
      yield invalidValue(
        "metadata.labels",
        value,
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'",
      );
  }
  for (const key of Object.keys(objectAt(object, "metadata", "annotations"))) {
    if (!isQualifiedName(key))
      yield invalidValue("metadata.annotations", key, "name part must consist of alphanumeric characters, '-', '_' or '.'");
  }
}

function* podSpecErrors(spec: JsonObject, path: string): Generator<FieldError> {
  const containers = listAt(spec, "containers");
  if (containers.length === 0) yield required(`${path}.containers`);
  const seen = new Set<string>();
  for (const [index, container] of containers.entries()) {
    const name = textAt(container, "name");
    const at = `${path}.containers[${index}]`;
    if (name === "") yield required(`${at}.name`);
    else if (nameProblem("Service", name) !== undefined) yield invalidValue(`${at}.name`, name, nameProblem("Service", name) ?? "");
    if (seen.has(name)) yield { field: `${at}.name`, message: `Duplicate value: ${JSON.stringify(name)}`, reason: "FieldValueDuplicate" };
    seen.add(name);
    if (textAt(container, "image") === "") yield required(`${at}.image`);
    for (const [portIndex, port] of listAt(container, "ports").entries()) {
      if (!isPort(numberAt(port, "containerPort")))
        yield portError(`${at}.ports[${portIndex}].containerPort`, valueAt(port, "containerPort"));
    }
  }
  const policy = textAt(spec, "restartPolicy");
  if (!["Always", "OnFailure", "Never"].includes(policy))
    yield unsupported(`${path}.restartPolicy`, policy, ["Always", "OnFailure", "Never"]);
}

/** A pod's spec stays as it is, but for the images and what graceful deletion needs. */
function* podIsUnchanged(pod: JsonObject, old: JsonObject | undefined): Generator<FieldError> {
  if (old === undefined || textAt(old, "spec", "nodeName") === "") return;
  const frozen = (object: JsonObject): JsonObject => {
    const containers = listAt(object, "spec", "containers").map((container) =>
      isObject(container) ? { ...container, image: "" } : container,
    );
    const bare = withValue(objectAt(object, "spec"), ["containers"], containers);
    return ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "ephemeralContainers"].reduce(
      (spec, field) => withValue(spec, [field], undefined),
      bare,
    );
  };
  if (isEqual(frozen(pod), frozen(old))) return;
  const message =
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
  yield { field: "spec", message, reason: "FieldValueForbidden" };
}

function* workloadErrors(object: JsonObject): Generator<FieldError> {
  const replicas = numberAt(object, "spec", "replicas") ?? 1;
  if (replicas < 0) yield invalidValue("spec.replicas", replicas, "must be greater than or equal to 0");
  const selector = objectAt(object, "spec", "selector");
  const labels = textsAt(object, "spec", "template", "metadata", "labels");
  if (Object.keys(selector).length === 0) yield required("spec.selector");
  else if (!labelTestOf(selector)(labels))
    yield invalidValue("spec.template.metadata.labels", labels, "`selector` does not match template `labels`");
  const policy = textAt(object, "spec", "template", "spec", "restartPolicy");
  if (policy !== "Always") yield unsupported("spec.template.spec.restartPolicy", policy, ["Always"]);
  yield* podSpecErrors(objectAt(object, "spec", "template", "spec"), "spec.template.spec");
}

function* serviceErrors(service: JsonObject, old: JsonObject | undefined): Generator<FieldError> {
  const type = textAt(service, "spec", "type");
  const types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
  if (!types.includes(type)) yield unsupported("spec.type", type, types);
  const ports = listAt(service, "spec", "ports");
  if (ports.length === 0 && type !== "ExternalName" && textAt(service, "spec", "clusterIP") !== "None") yield required("spec.ports");
  for (const [index, port] of ports.entries()) {
    if (!isPort(numberAt(port, "port"))) yield portError(`spec.ports[${index}].port`, valueAt(port, "port"));
    if (ports.length > 1 && textAt(port, "name") === "") yield required(`spec.ports[${index}].name`);
  }
  const address = textAt(service, "spec", "clusterIP");
  const before = textAt(old, "spec", "clusterIP");
  if (before !== "" && address !== before && type !== "ExternalName")
    yield invalidValue("spec.clusterIPs[0]", address, "may not change once set");
}

function* dataKeyErrors(object: JsonObject): Generator<FieldError> {
  for (const field of ["data", "binaryData"]) {
    for (const key of Object.keys(objectAt(object, field))) {
      const isGood = /^[-._a-zA-Z0-9]+$/.test(key) && key.length <= 253;
      if (!isGood)
        yield invalidValue(`${field}[${key}]`, key, "a valid config key must consist of alphanumeric characters, '-', '_' or '.'");
    }
  }
}

function* secretValueErrors(object: JsonObject): Generator<FieldError> {
  for (const [key, value] of Object.entries(textsAt(object, "data"))) {
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value) || value.length % 4 !== 0) yield invalidValue(`data[${key}]`, "<redacted>", "must be base64");
  }
}

function* immutableData(object: JsonObject, old: JsonObject | undefined): Generator<FieldError> {
  if (valueAt(old, "immutable") !== true) return;
  for (const field of ["data", "binaryData", "immutable"]) {
    if (isEqual(valueAt(object, field), valueAt(old, field))) continue;
    yield { field, message: "Forbidden: field is immutable when `immutable` is set", reason: "FieldValueForbidden" };
  }
}

function* ruleErrors(object: JsonObject): Generator<FieldError> {
  for (const [index, rule] of listAt(object, "rules").entries()) {
    const at = `rules[${index}]`;
    if (listAt(rule, "verbs").length === 0) yield required(`${at}.verbs`);
    if (listAt(rule, "nonResourceURLs").length > 0) {
      if (textAt(object, "metadata", "namespace") !== "")
        yield invalidValue(`${at}.nonResourceURLs`, "", "namespaced rules cannot apply to non-resource URLs");
      continue;
    }
    if (listAt(rule, "apiGroups").length === 0) yield required(`${at}.apiGroups`);
    if (listAt(rule, "resources").length === 0) yield required(`${at}.resources`);
  }
}

function* bindingErrors(object: JsonObject): Generator<FieldError> {
  const isNamespaced = textAt(object, "metadata", "namespace") !== "";
  const kinds = isNamespaced ? ["ClusterRole", "Role"] : ["ClusterRole"];
  if (!kinds.includes(textAt(object, "roleRef", "kind"))) yield unsupported("roleRef.kind", textAt(object, "roleRef", "kind"), kinds);
  if (textAt(object, "roleRef", "name") === "") yield required("roleRef.name");
  for (const [index, subject] of listAt(object, "subjects").entries()) {
    const at = `subjects[${index}]`;
    const kind = textAt(subject, "kind");
    const known = ["Group", "ServiceAccount", "User"];
    if (!known.includes(kind)) yield unsupported(`${at}.kind`, kind, known);
    if (textAt(subject, "name") === "") yield required(`${at}.name`);
    if (kind === "ServiceAccount" && textAt(subject, "namespace") === "" && !isNamespaced) yield required(`${at}.namespace`);
  }
}

function* immutable(object: JsonObject, old: JsonObject | undefined, ...path: readonly string[]): Generator<FieldError> {
  if (old === undefined || isEqual(valueAt(object, ...path), valueAt(old, ...path))) return;
  yield invalidValue(path.join("."), valueAt(object, ...path) ?? null, "field is immutable");
}

function isPort(port: number | undefined): boolean {
  return port !== undefined && Number.isInteger(port) && port >= 1 && port <= 65_535;
}

function portError(field: string, value: Json | undefined): FieldError {
  return invalidValue(field, value ?? null, "must be between 1 and 65535, inclusive");
}

function required(field: string): FieldError {
  return { field, message: "Required value", reason: "FieldValueRequired" };
}

function invalidValue(field: string, value: Json, why: string): FieldError {
  return { field, message: `Invalid value: ${JSON.stringify(value)}: ${why}`, reason: "FieldValueInvalid" };
}

function unsupported(field: string, value: string, supported: readonly string[]): FieldError {
  const shown = supported.map((item) => JSON.stringify(item)).join(", ");
  return { field, message: `Unsupported value: ${JSON.stringify(value)}: supported values: ${shown}`, reason: "FieldValueNotSupported" };
}
