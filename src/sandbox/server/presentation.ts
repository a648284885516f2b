/** In which form objects are given back: as they are, as a table, or only their metadata (content negotiation by Accept). */
import type { JsonObject } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { apiVersionOf } from "#sandbox/objects/resources.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import type { Page } from "./snapshots.ts";
import { parseIncludeObject, toPartialObject, toTable } from "./table.ts";
import type { IncludeObject } from "./table.ts";

/** A form of answer. */
export type Presentation =
  | { readonly type: "object" }
  | { readonly type: "partial" }
  | { readonly type: "table"; readonly includeObject: IncludeObject };

/** Chooses the first form of an Accept header that the sandbox has; undefined when it has none of them. */
export function parsePresentation(accept: string, query: URLSearchParams): Presentation | undefined {
  if (accept === "") return { type: "object" };
  for (const entry of accept.split(",")) {
    const [mediaType = "", ...parameters] = entry.split(";").map((part) => part.trim());
    if (!["application/json", "application/*", "*/*"].includes(mediaType)) continue;
    const form = parameters.find((parameter) => parameter.startsWith("as="))?.slice(3);
    if (form === undefined) return { type: "object" };
    if (!parameters.includes("v=v1") || !parameters.includes("g=meta.k8s.io")) continue;
    if (form === "Table") return { type: "table", includeObject: parseIncludeObject(query) };
    if (form === "PartialObjectMetadata" || form === "PartialObjectMetadataList") return { type: "partial" };
  }
  return undefined;
}

/** One object in a form. */
export function presentObject(object: KubeObject, presentation: Presentation, nowMs: number): JsonObject {
  switch (presentation.type) {
    case "object":
      return object;
    case "partial":
      return toPartialObject(object);
    case "table": {
      const table = toTable(object.kind, [object], { includeObject: presentation.includeObject, nowMs });
      return { ...table, metadata: { resourceVersion: object.metadata.resourceVersion } };
    }
  }
}

/** A page of a list in a form. */
export function presentList(
  resource: Resource,
  page: Page,
  view: { readonly presentation: Presentation; readonly nowMs: number },
): JsonObject {
  const { presentation, nowMs } = view;
  const paging = page.next === "" ? {} : { continue: page.next, remainingItemCount: page.remaining };
  const metadata = { resourceVersion: String(page.revision), ...paging };
  switch (presentation.type) {
    case "object":
      // Items of a list do not repeat apiVersion and kind, as Go's typed lists do not.
      return { kind: `${resource.kind}List`, apiVersion: apiVersionOf(resource), metadata, items: page.items.map(withoutType) };
    case "partial":
      return { kind: "PartialObjectMetadataList", apiVersion: "meta.k8s.io/v1", metadata, items: page.items.map(toPartialObject) };
    case "table":
      return { ...toTable(resource.kind, page.items, { includeObject: presentation.includeObject, nowMs }), metadata };
  }
}

function withoutType(object: KubeObject): JsonObject {
  const { apiVersion: _apiVersion, kind: _kind, ...rest } = object;
  return rest;
}
