/** metav1.Table: what `kubectl get` prints (API reference, meta/v1 Table). */
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { columnsOf } from "./table-columns.ts";
import type { Column } from "./table-columns.ts";

/** What the rows of a table carry besides their cells (`includeObject`). */
export type IncludeObject = "Metadata" | "None" | "Object";

/** How a table is to be made. */
export interface TableOptions {
  readonly includeObject: IncludeObject;
  readonly nowMs: number;
}

/** A Table of objects of one kind. */
export function toTable(kind: string, objects: readonly KubeObject[], options: TableOptions): JsonObject {
  const columns = columnsOf(kind);
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata: {},
    columnDefinitions: columns.map(toDefinition),
    rows: objects.map((object) => toRow(columns, object, options)),
  };
}

/** Only the metadata of an object (meta/v1 PartialObjectMetadata). */
export function toPartialObject(object: KubeObject): JsonObject {
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata };
}

function toDefinition(column: Column): JsonObject {
  const { name, type = "string", format = "", priority = 0 } = column;
  return { name, type, format, description: column.description ?? "", priority };
}

function toRow(columns: readonly Column[], object: KubeObject, options: TableOptions): JsonObject {
  const cells: readonly Json[] = columns.map((column) => column.cell(object, options.nowMs));
  switch (options.includeObject) {
    case "None":
      return { cells };
    case "Metadata":
      return { cells, object: toPartialObject(object) };
    case "Object":
      return { cells, object };
  }
}

/** Parses `includeObject`; anything unknown is the default. */
export function parseIncludeObject(query: URLSearchParams): IncludeObject {
  const wanted = query.get("includeObject");
  return wanted === "None" || wanted === "Object" ? wanted : "Metadata";
}
