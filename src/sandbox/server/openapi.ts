/** OpenAPI v3: the fields of the served kinds and the parameters of their requests, which kubectl reads before it creates or applies. */
import { createHash } from "node:crypto";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { apiVersionOf, groups, resources } from "#sandbox/objects/resources.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import { fieldsOf } from "#sandbox/objects/types.ts";
import type { Field, FieldType } from "#sandbox/objects/types.ts";

/** The index of /openapi/v3: each group's document with a hash that changes when the document does. */
export function openApiIndex(): JsonObject {
  const names = ["api/v1", ...groups.filter((group) => inGroup(group).length > 0).map((group) => `apis/${group}/v1`)];
  const entries = names.map((name) => {
    const hash = createHash("sha256")
      .update(JSON.stringify(openApiDocument(name)))
      .digest("hex")
      .slice(0, 32);
    return [name, { serverRelativeURL: `/openapi/v3/${name}?hash=${hash}` }];
  });
  return { paths: Object.fromEntries(entries) as JsonObject }; // text keys, object values
}

/** The document of `api/v1` or `apis/group/v1`; undefined for a group without stored kinds. */
export function openApiDocument(name: string): JsonObject | undefined {
  const [, group = ""] = /^(?:api|apis\/([^/]+))\/v1$/.exec(name) ?? ["", "none"];
  const served = inGroup(group);
  if (served.length === 0) return undefined;
  const paths = served.flatMap((resource) => pathsOf(resource));
  const schemas = schemasFor(served);
  const info = { title: "Sallyport sandbox", version: "v1.34.0+sandbox", description: "A sandbox that follows the Kubernetes API." };
  return { openapi: "3.0.0", info, paths: Object.fromEntries(paths), components: { schemas } };
}

function inGroup(group: string): readonly Resource[] {
  return resources.filter((resource) => resource.group === group);
}

function pathsOf(resource: Resource): readonly (readonly [string, JsonObject])[] {
  const root = resource.group === "" ? "/api/v1" : `/apis/${resource.group}/v1`;
  const base = `${root}${resource.namespaced ? "/namespaces/{namespace}" : ""}/${resource.plural}`;
  const kind = { "x-kubernetes-group-version-kind": { group: resource.group, version: "v1", kind: resource.kind } };
  const operation = (action: string, types: readonly string[]): JsonObject => ({
    ...kind,
    "x-kubernetes-action": action,
    parameters: writeParameters,
    ...(types.length === 0 ? {} : { requestBody: { content: contentOf(resource, types) } }),
    responses: { "200": { description: "OK", content: contentOf(resource, ["application/json"]) } },
  });
  const reads = { ...kind, responses: { "200": { description: "OK", content: contentOf(resource, ["application/json"]) } } };
  return [
    [base, { get: { ...reads, "x-kubernetes-action": "list" }, post: operation("post", ["application/json"]) }],
    [
      `${base}/{name}`,
      {
        get: { ...reads, "x-kubernetes-action": "get" },
        put: operation("put", ["application/json"]),
        patch: operation("patch", patchTypes),
        delete: operation("delete", []),
      },
    ],
  ];
}

const patchTypes = ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];
const writeParameters = ["dryRun", "fieldManager", "fieldValidation"].map((name) => ({
  name,
  in: "query",
  schema: { type: "string", uniqueItems: true },
}));

function contentOf(resource: Resource, types: readonly string[]): JsonObject {
  const schema = { $ref: `#/components/schemas/${schemaName(resource.type)}` };
  return Object.fromEntries(types.map((type) => [type, { schema }]));
}

/** The schemas that a group's kinds need, and no others. */
function schemasFor(served: readonly Resource[]): JsonObject {
  const needed = new Set<string>();
  const visit = (type: FieldType): void => {
    if (type.type === "list") visit(type.item);
    if (type.type === "map") visit(type.value);
    if (type.type !== "struct" || needed.has(type.name)) return;
    needed.add(type.name);
    for (const field of fieldsOf(type.name).values()) visit(field.fieldType);
  };
  for (const resource of served) visit({ type: "struct", name: resource.type });
  return Object.fromEntries([...needed].map((name) => [schemaName(name), schemaOf(name, served)]));
}

function schemaOf(struct: string, served: readonly Resource[]): JsonObject {
  const fields = [...fieldsOf(struct)];
  const resource = served.find(({ type }) => type === struct);
  const required = fields.filter(([, field]) => field.isRequired).map(([name]) => name);
  const kinds =
    resource === undefined ? {} : { "x-kubernetes-group-version-kind": [{ group: resource.group, version: "v1", kind: resource.kind }] };
  const description = resource === undefined ? {} : { description: `${apiVersionOf(resource)} ${resource.kind}, as the sandbox knows it.` };
  const properties = Object.fromEntries(fields.map(([name, field]) => [name, propertyOf(field)]));
  return { type: "object", ...description, ...(required.length > 0 ? { required } : {}), properties, ...kinds };
}

function propertyOf({ fieldType, retainsKeys }: Field): JsonObject {
  const strategy = retainsKeys ? { "x-kubernetes-patch-strategy": "retainKeys" } : {};
  return { ...typeSchema(fieldType), ...strategy };
}

function typeSchema(type: FieldType): JsonObject {
  switch (type.type) {
    case "struct":
      return { allOf: [{ $ref: `#/components/schemas/${schemaName(type.name)}` }] };
    case "map":
      return { type: "object", additionalProperties: typeSchema(type.value) };
    case "list":
      return { type: "array", items: typeSchema(type.item), ...mergeExtensions(type) };
    case "scalar":
      return scalarSchemas[type.name] ?? { type: "object" };
  }
}

function mergeExtensions(type: Extract<FieldType, { type: "list" }>): JsonObject {
  switch (type.merge.type) {
    case "replace":
      return {};
    case "set":
      return { "x-kubernetes-patch-strategy": "merge" };
    case "byKey":
      return {
        "x-kubernetes-patch-merge-key": type.merge.key,
        "x-kubernetes-patch-strategy": type.merge.retainsKeys ? "merge,retainKeys" : "merge",
      };
  }
}

const scalarSchemas: Readonly<Record<string, JsonObject>> = {
  string: { type: "string" },
  integer: { type: "integer" },
  number: { type: "number" },
  boolean: { type: "boolean" },
  bytes: { type: "string", format: "byte" },
  time: { type: "string", format: "date-time" },
  quantity: { oneOf: [{ type: "string" }, { type: "number" }] },
  "int-or-string": { oneOf: [{ type: "integer" }, { type: "string" }], format: "int-or-string" },
};

/** The name that Kubernetes gives a schema. */
function schemaName(type: string): string {
  return type.startsWith("meta.") ? `io.k8s.apimachinery.pkg.apis.${type}` : `io.k8s.api.${type}`;
}
