/** The query of list and watch requests (meta/v1 ListOptions), checked. */
import type { Resource } from "#sandbox/objects/resources.ts";
import { textsAt } from "#sandbox/objects/json.ts";
import { parseFieldSelector, parseLabelSelector } from "#sandbox/store/selector.ts";
import type { Selector } from "#sandbox/store/selector.ts";
import { isTrue } from "./request.ts";
import { badRequest, failed, ok } from "./status.ts";
import type { Outcome } from "./status.ts";

/** What to list or watch. */
export interface ListOptions {
  readonly selects: Selector;
  /** Undefined: the newest. */
  readonly revision: number | undefined;
  readonly match: "" | "Exact" | "NotOlderThan";
  /** 0: no pages. */
  readonly limit: number;
  readonly continueToken: string;
  readonly timeoutMs: number | undefined;
  readonly allowsBookmarks: boolean;
  readonly sendsInitialEvents: boolean;
}

/** Parses ListOptions; a failure for what an apiserver refuses too. */
export function parseListOptions(resource: Resource, query: URLSearchParams): Outcome<ListOptions> {
  const labels = parseLabelSelector(query.get("labelSelector") ?? "");
  if (labels.type === "failure") return labels;
  const fields = parseFieldSelector(resource, query.get("fieldSelector") ?? "");
  if (fields.type === "failure") return fields;
  const version = parseVersion(query);
  if (version.type === "failure") return version;
  const seconds = toCount(query.get("timeoutSeconds"));
  const { value: hasLabels } = labels;
  const { value: hasFields } = fields;
  return ok({
    selects: (object) => hasFields(object) && hasLabels(textsAt(object, "metadata", "labels")),
    ...version.value,
    limit: toCount(query.get("limit")),
    continueToken: query.get("continue") ?? "",
    timeoutMs: seconds === 0 ? undefined : seconds * 1000,
    allowsBookmarks: isTrue(query.get("allowWatchBookmarks")),
    sendsInitialEvents: isTrue(query.get("sendInitialEvents")),
  });
}

function parseVersion(query: URLSearchParams): Outcome<Pick<ListOptions, "match" | "revision">> {
  const revision = query.get("resourceVersion") ?? "";
  const match = query.get("resourceVersionMatch") ?? "";
  if (!/^[0-9]*$/.test(revision)) return failed(badRequest(`invalid resource version: ${revision}`));
  if (match !== "" && match !== "Exact" && match !== "NotOlderThan")
    return failed(badRequest(`resourceVersionMatch ${match} is not supported`));
  return ok({ revision: revision === "" ? undefined : Number(revision), match });
}

function toCount(text: string | null): number {
  const count = Number(text ?? 0);
  return Number.isInteger(count) && count > 0 ? count : 0;
}
