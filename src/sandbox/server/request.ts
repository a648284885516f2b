/** What a request asks for, read from its method and URL as kube-apiserver reads it (apiserver, endpoints/request/requestinfo.go). */
import type { Attributes } from "#sandbox/identity/authorizer.ts";
import { nameInFieldSelector } from "#sandbox/store/selector.ts";

/** A request's target: a resource, or any other path. */
export type RequestInfo = ResourceRequest | PathRequest;

/** A request for a resource. Absent parts are "". */
export interface ResourceRequest {
  readonly type: "resource";
  readonly verb: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly group: string;
  readonly version: string;
  readonly namespace: string;
  readonly plural: string;
  readonly name: string;
  readonly subresource: string;
}

/** A request for anything else, such as /version. */
export interface PathRequest {
  readonly type: "path";
  readonly verb: string;
  readonly path: string;
  readonly query: URLSearchParams;
}

const namespaceSubresources = new Set(["status", "finalize"]);
const verbPrefixes = new Set(["watch", "proxy"]);
const verbs: Readonly<Record<string, string>> = {
  POST: "create",
  GET: "get",
  HEAD: "get",
  PUT: "update",
  PATCH: "patch",
  DELETE: "delete",
};

/** Parses a request line; undefined when the URL or its escapes are broken. */
export function parseRequest(method: string, target: string): RequestInfo | undefined {
  const url = parseUrl(target);
  if (url === undefined) return undefined;
  const { path, query } = url;
  const rooted = splitRoot(path);
  if (rooted === undefined) return { type: "path", verb: method.toLowerCase(), path, query };
  const { group, version } = rooted;
  const place = splitPlace(rooted.rest);
  const verb = verbOf(method, place.name, query);
  const name = place.name === "" && (verb === "list" || verb === "watch") ? pinnedName(query) : place.name;
  return { type: "resource", verb, path, query, group, version, ...place, name };
}

/** A request as the authorizer sees it. */
export function attributesOf(info: RequestInfo): Attributes {
  if (info.type === "path") return { type: "path", verb: info.verb, path: info.path };
  const { verb, group, plural, subresource, namespace, name } = info;
  return { type: "resource", verb, group, plural, subresource, namespace, name };
}

function parseUrl(target: string): { readonly path: string; readonly query: URLSearchParams } | undefined {
  if (!target.startsWith("/")) return undefined;
  const mark = target.indexOf("?");
  const rawPath = mark < 0 ? target : target.slice(0, mark);
  try {
    return { path: decodeURIComponent(rawPath), query: new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1)) };
  } catch {
    return undefined; // a URIError: a broken escape or bytes that are not UTF-8
  }
}

interface Rooted {
  readonly group: string;
  readonly version: string;
  readonly rest: readonly string[];
}

/** The parts below /api/v1 or /apis/group/version; undefined for what is no resource path, or one of the old verb prefixes, which the sandbox does not have. */
function splitRoot(path: string): Rooted | undefined {
  const parts = path.replace(/^\/|\/$/g, "").split("/");
  const [root, first = "", second = "", third = ""] = parts;
  if (parts.includes("")) return undefined;
  if (root === "api" && second !== "" && !verbPrefixes.has(second)) return { group: "", version: first, rest: parts.slice(2) };
  if (root === "apis" && third !== "" && !verbPrefixes.has(third)) return { group: first, version: second, rest: parts.slice(3) };
  return undefined;
}

function splitPlace(parts: readonly string[]): Pick<ResourceRequest, "name" | "namespace" | "plural" | "subresource"> {
  const [first = "", second = "", third = "", fourth = "", fifth = ""] = parts;
  if (first !== "namespaces" || second === "") return { namespace: "", plural: first, name: second, subresource: third };
  // A namespace as an object counts as inside of itself, so that a Role in it can let people read it.
  if (third === "" || namespaceSubresources.has(third)) {
    return { namespace: second, plural: "namespaces", name: second, subresource: third };
  }
  return { namespace: second, plural: third, name: fourth, subresource: fifth };
}

function verbOf(method: string, name: string, query: URLSearchParams): string {
  const verb = verbs[method] ?? "";
  if (name !== "") return verb;
  if (verb === "get") return isTrue(query.get("watch")) ? "watch" : "list";
  return verb === "delete" ? "deletecollection" : verb;
}

function pinnedName(query: URLSearchParams): string {
  const name = nameInFieldSelector(query.get("fieldSelector") ?? "") ?? "";
  return /[/%]/.test(name) || name === "." || name === ".." ? "" : name;
}

/** Booleans in queries as Go's conversion takes them: present and neither "0" nor "false". */
export function isTrue(value: string | null): boolean {
  return value !== null && value !== "0" && value.toLowerCase() !== "false";
}
