/**
 * The one place where a request to a Kubernetes API is understood.
 *
 * Every decision (policy, audit, timeouts, the lane of the tunnel, what is asked of the apiserver first) is made on what
 * `parseRequest` returns, and what is forwarded is its `target`: the text that was parsed, byte for byte. Gateways fall when two
 * of their parts read one path differently: a router that keeps `%2f` and an apiserver that decodes it see two requests.
 *
 * What must stay true:
 * - The grammar is total. A request is for a resource, for something else, or it is invalid, and invalid is refused.
 * - What passes means here exactly what Kubernetes' RequestInfoFactory takes it for (k8s.io/apiserver
 *   pkg/endpoints/request/requestinfo.go); test/cluster/requestinfo compares the two.
 * - What has two readings does not pass: dot segments, empty segments, backslashes, `;`, and encodings of separators, controls,
 *   `%`, or of characters that nobody needs to encode (RFC 3986 section 2.3). Encodings of other characters are decoded for the
 *   decision and forwarded as they came: many clients write `system:node` as `system%3Anode`.
 * - Behind a `/proxy` subresource the path belongs to somebody's application. It is opaque there, but it cannot change what was
 *   read before it.
 */
import type { ErrorCode } from "#core/errors.ts";
import { readListScope } from "./list-scope.ts";
import { maximumParameters, parseQuery, firstText } from "./query.ts";
import type { Query } from "./query.ts";
import { isRoutableMethod, methodVerb, refuseMethod } from "./verb.ts";
import type { ResourceVerb } from "./verb.ts";

/** Longest request target in bytes: Cloudflare's limit for a URL, so no gateway can be sent more. */
export const maximumTargetBytes = 16 * 1024;

/** A request for an API resource; every text is decoded except `query`, `target` and `proxyTail`. */
export interface ResourceRequest {
  readonly type: "resource";
  /** The HTTP method, as sent. */
  readonly method: string;
  /** RBAC's verb. Empty only under a `/proxy` subresource with a method that Kubernetes has no verb for. */
  readonly verb: ResourceVerb;
  /** Empty for the core group. */
  readonly apiGroup: string;
  readonly apiVersion: string;
  /** Empty for cluster scope; for `/api/v1/namespaces/a` itself it is `a`. */
  readonly namespace: string;
  readonly resource: string;
  readonly subresource: string;
  /** Empty for a collection; a list or watch of `metadata.name=x` has the name x. */
  readonly name: string;
  /** As the authorizer sees it: only for list, watch and deletecollection, and not for `/watch/` paths. */
  readonly fieldSelector: string;
  readonly labelSelector: string;
  /** What follows a `/proxy` subresource, as sent: empty, or text that starts with `/`. Undefined for any other request. */
  readonly proxyTail: string | undefined;
  /** The decoded path; a proxy tail in it stays as sent. */
  readonly path: string;
  /** The query as sent, without `?`. */
  readonly query: string;
  /** Path and query as sent: what is forwarded. */
  readonly target: string;
}

/** A request for anything else that an apiserver answers: discovery, `/version`, `/healthz`, `/metrics`. */
export interface NonResourceRequest {
  readonly type: "nonResource";
  readonly method: string;
  /** RBAC's verb for non-resource URLs: the method in lower case. */
  readonly verb: string;
  /** The decoded path, which RBAC's `nonResourceURLs` are compared with. */
  readonly path: string;
  readonly query: string;
  readonly target: string;
}

/** A request that has no one reading, or none that the gateway carries. */
export interface InvalidRequest {
  readonly type: "invalid";
  readonly code: Extract<ErrorCode, "REQUEST_INVALID" | "METHOD_NOT_ALLOWED" | "URI_TOO_LONG">;
  /** Names the part that is wrong; holds no client text. */
  readonly message: string;
}

/** A request that may be forwarded. */
export type KubeRequest = ResourceRequest | NonResourceRequest;

/** What `parseRequest` returns. */
export type ParsedRequest = KubeRequest | InvalidRequest;

/**
 * Parses an HTTP method and a request target (path and query in origin form, RFC 9112 section 3.2.1, as it will be forwarded):
 * `GET /api/v1/namespaces/a/pods?watch=1` is a watch of pods in namespace a.
 */
export function parseRequest(method: string, target: string): ParsedRequest {
  const refusal = refuseMethod(method) ?? refuseTarget(target);
  if (refusal !== undefined) return invalid(refusal.code, refusal.message);
  const mark = target.indexOf("?");
  const rawPath = mark === -1 ? target : target.slice(0, mark);
  const query = mark === -1 ? "" : target.slice(mark + 1);
  const route = splitRoute(rawPath);
  const problem = refuseRoute(route, method, query);
  if (problem !== undefined) return problem;
  const decoded = decodeSegments(route.segments);
  if (decoded.type === "invalid") return decoded;
  const text: RequestText = { method, query, target, path: `/${decoded.segments.join("/")}${route.tail ?? route.slash}` };
  return classify(decoded.segments, route.tail, text);
}

/** The parts of a request that every kind carries. */
interface RequestText {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly target: string;
}

/** A path before decoding: the segments that the grammar reads, one trailing slash at most, and the opaque rest. */
interface Route {
  readonly segments: readonly string[];
  readonly slash: "" | "/";
  readonly tail: string | undefined;
}

function refuseTarget(target: string): { readonly code: InvalidRequest["code"]; readonly message: string } | undefined {
  if (target.length > maximumTargetBytes) {
    return { code: "URI_TOO_LONG", message: `the URL is longer than ${maximumTargetBytes} bytes` };
  }
  if (!target.startsWith("/")) return { code: "REQUEST_INVALID", message: "the request target does not start with a slash" };
  if (!/^[\x21-\x7e]*$/.test(target)) {
    return { code: "REQUEST_INVALID", message: "the URL holds a space, a control character or a character that is not ASCII" };
  }
  return target.includes("#") ? { code: "REQUEST_INVALID", message: "the URL holds a fragment" } : undefined;
}

function splitRoute(rawPath: string): Route {
  const segments = rawPath.slice(1).split("/");
  const proxyAt = proxyIndex(segments);
  if (proxyAt !== undefined) {
    const rest = segments.slice(proxyAt + 1);
    return { segments: segments.slice(0, proxyAt + 1), slash: "", tail: rest.length === 0 ? "" : `/${rest.join("/")}` };
  }
  if (segments.at(-1) !== "") return { segments, slash: "", tail: undefined };
  return { segments: segments.slice(0, -1), slash: segments.length === 1 ? "" : "/", tail: undefined };
}

/** A proxied application takes any method and query, but only a path that the apiserver can decode. */
function refuseRoute(route: Route, method: string, query: string): InvalidRequest | undefined {
  if (route.tail !== undefined) {
    const isEscaped = !/%(?![0-9a-fA-F]{2})/.test(route.tail);
    return isEscaped ? undefined : invalid("REQUEST_INVALID", "the path behind the proxy subresource holds a % that starts no escape");
  }
  if (!isRoutableMethod(method)) return invalid("METHOD_NOT_ALLOWED", "the Kubernetes API has no such method");
  if (query.split("&", maximumParameters + 1).length <= maximumParameters) return undefined;
  return invalid("REQUEST_INVALID", `the query has more than ${maximumParameters} parameters`);
}

/**
 * Where `proxy` stands as a subresource. Raw segments suffice: a keyword that is written with escapes is refused later,
 * because its letters need none.
 */
function proxyIndex(segments: readonly string[]): number | undefined {
  const resourceAt = resourceIndex(segments);
  if (resourceAt === undefined || isVerbPrefix(segments[resourceAt])) return undefined;
  return segments[resourceAt + 2] === "proxy" ? resourceAt + 2 : undefined;
}

/** Where the resource's name stands after `api/v1` or `apis/group/version` and a namespace. */
function resourceIndex(segments: readonly string[]): number | undefined {
  if (segments[0] !== "api" && segments[0] !== "apis") return undefined;
  const first = segments[0] === "api" ? 2 : 3;
  const isShifted = segments[first] === "namespaces" && segments.length > first + 2 && !isNamespaceSubresource(segments[first + 2]);
  return isShifted ? first + 2 : first;
}

function isVerbPrefix(segment: string | undefined): segment is "watch" | "proxy" {
  return segment === "watch" || segment === "proxy";
}

function isNamespaceSubresource(segment: string | undefined): boolean {
  return segment === "status" || segment === "finalize";
}

function decodeSegments(raw: readonly string[]): { readonly type: "decoded"; readonly segments: readonly string[] } | InvalidRequest {
  const segments: string[] = [];
  for (const [index, segment] of raw.entries()) {
    const problem = segmentProblem(segment);
    if (problem !== undefined) return invalid("REQUEST_INVALID", `path segment ${index + 1} ${problem}`);
    segments.push(decodeURIComponent(segment));
  }
  return { type: "decoded", segments };
}

/** What keeps a segment from having one reading; undefined when it can be decoded. */
function segmentProblem(segment: string): string | undefined {
  if (segment === "") return "is empty";
  if (segment === "." || segment === "..") return "is a dot segment";
  if (!/^[A-Za-z0-9\-._~!$&'()*+,=:@%]*$/.test(segment)) return "holds a character that a path cannot hold unencoded";
  if (/%(?![0-9a-fA-F]{2})/.test(segment)) return "holds a % that starts no escape";
  // Separators, `%` and `;`; then controls; then letters, digits and `-._~`, which have no honest reason to be encoded.
  if (/%(?:2[fF5]|5[cC]|3[bB])/.test(segment)) return "holds an encoded separator or percent sign";
  if (/%(?:[01][0-9a-fA-F]|7[fF])/.test(segment)) return "holds an encoded control character";
  if (/%(?:2[dDeE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF]|7[eE])/.test(segment)) return "encodes a character that needs no encoding";
  return isDecodable(segment) ? undefined : "holds escapes that are not UTF-8";
}

function isDecodable(segment: string): boolean {
  try {
    decodeURIComponent(segment); // strict: overlong forms and surrogates throw
    return true;
  } catch {
    return false; // URIError: not UTF-8
  }
}

/** The reading of RequestInfoFactory.NewRequestInfo, step by step. */
function classify(segments: readonly string[], tail: string | undefined, text: RequestText): ParsedRequest {
  const prefixLength = segments[0] === "api" ? 2 : 3;
  const isApi = segments[0] === "api" || segments[0] === "apis";
  if (!isApi || segments.length <= prefixLength) return { type: "nonResource", verb: text.method.toLowerCase(), ...text };
  const apiVersion = segments[prefixLength - 1] ?? "";
  const group = { apiGroup: prefixLength === 2 ? "" : (segments[1] ?? ""), apiVersion };
  const prefix = segments[prefixLength];
  if (!isVerbPrefix(prefix)) {
    const place = { ...group, ...placeOf(segments.slice(prefixLength)), proxyTail: tail };
    return withListScope({ type: "resource", verb: methodVerb(text.method), fieldSelector: "", labelSelector: "", ...place, ...text });
  }
  if (segments.length === prefixLength + 1) return invalid("REQUEST_INVALID", `the path ends after the verb ${prefix}`);
  const place = placeOf(segments.slice(prefixLength + 1));
  const subresource = prefix === "proxy" ? "" : place.subresource;
  const selectors = { fieldSelector: "", labelSelector: "", proxyTail: undefined };
  return { type: "resource", verb: prefix, ...group, ...place, subresource, ...selectors, ...text };
}

/** Namespace, resource, name and subresource of the segments after the version (and a verb). */
function placeOf(segments: readonly string[]): Pick<ResourceRequest, "namespace" | "resource" | "name" | "subresource"> {
  const isNamespaced = segments[0] === "namespaces" && segments.length > 1;
  const isShifted = isNamespaced && segments.length > 2 && !isNamespaceSubresource(segments[2]);
  const parts = isShifted ? segments.slice(2) : segments;
  return {
    namespace: isNamespaced ? (segments[1] ?? "") : "",
    resource: parts[0] ?? "",
    name: parts[1] ?? "",
    subresource: parts[2] ?? "",
  };
}

/** A collection's verb is list, watch or deletecollection, and its selectors count. */
function withListScope(request: ResourceRequest): ResourceRequest | InvalidRequest {
  if (request.name !== "" || (request.verb !== "get" && request.verb !== "delete")) return request;
  const query = parseQuery(request.query);
  if (request.verb === "delete") return withSelectors({ ...request, verb: "deletecollection" }, query);
  const scope = readListScope(query);
  if (scope.type === "invalid") return invalid("REQUEST_INVALID", scope.message);
  return withSelectors({ ...request, verb: scope.isWatch ? "watch" : "list", name: scope.name }, query);
}

function withSelectors(request: ResourceRequest, query: Query): ResourceRequest | InvalidRequest {
  const fieldSelector = firstText(query, "fieldSelector");
  const labelSelector = firstText(query, "labelSelector");
  if (fieldSelector === undefined || labelSelector === undefined) return invalid("REQUEST_INVALID", "a selector is not UTF-8");
  return { ...request, fieldSelector, labelSelector };
}

function invalid(code: InvalidRequest["code"], message: string): InvalidRequest {
  return { type: "invalid", code, message };
}
