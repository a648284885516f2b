/**
 * What of an apiserver's answer reaches the client. The bytes are the apiserver's; these fields are not taken as they are:
 * those of the hop, cache permissions (an answer to one user must not be stored for another), and redirects that would carry a
 * client's bearer token off the gateway (CVE-2022-3172). It runs before the gateway adds fields of its own, so nothing that the
 * apiserver or an application names in `Connection` can remove those.
 */
import type { ErrorCode } from "#core/errors.ts";
import { headerProblem, headerValues, withoutHopByHop } from "./headers.ts";
import type { HeaderPair, HeaderPairs } from "./headers.ts";
import { gatewayCookiePrefix } from "./impersonation.ts";
import type { KubeRequest } from "./request-path.ts";

/** An answer's headers as they came from the apiserver. */
export interface ResponseHeaderInput {
  readonly request: KubeRequest;
  readonly headers: HeaderPairs;
  /** The gateway's origin that the client used, such as `https://prod.gateway.example`: a Location may name it. */
  readonly publicOrigin?: string | undefined;
}

/** The headers for the client, or why the answer cannot be passed on. */
export type ResponseHeaders =
  | { readonly type: "headers"; readonly headers: HeaderPairs }
  | { readonly type: "refused"; readonly code: Extract<ErrorCode, "UPSTREAM_INVALID">; readonly message: string };

/**
 * Makes an apiserver's headers fit for a client. Repeated fields (`Warning`) stay apart. An application behind `/proxy` may
 * redirect where it likes, but its pages are sandboxed: they run on the origin of the API.
 */
export function sanitizeResponseHeaders(input: ResponseHeaderInput): ResponseHeaders {
  const isProxied = input.request.type === "resource" && input.request.proxyTail !== undefined;
  const problem = headerProblem(input.headers) ?? lengthProblem(input.headers) ?? (isProxied ? undefined : locationProblem(input));
  if (problem !== undefined) return { type: "refused", code: "UPSTREAM_INVALID", message: problem };
  const kept = withoutHopByHop(input.headers).filter(([name, value]) => isPassedOn(name.toLowerCase(), value, isProxied));
  const cacheControl: HeaderPair = ["Cache-Control", privateCacheControl(headerValues(input.headers, "cache-control"))];
  return { type: "headers", headers: [...kept, cacheControl, ...(isProxied ? sandboxLines : [])] };
}

/**
 * Cache-Control for an answer to one user: what the values say, without leave for shared caches (`public`, `s-maxage`,
 * `immutable`; RFC 9111 section 5.2.2), with `private`, and with `no-transform`, because a cache that recompresses or minifies would
 * change the apiserver's bytes.
 */
export function privateCacheControl(values: readonly string[]): string {
  const directives = values.flatMap((value) => value.match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? []).map((directive) => directive.trim());
  const kept = directives.filter((directive) => {
    const name = /^(?<name>[A-Za-z0-9-]+)(?:=(?:[\w.-]+|"[^"]*"))?$/.exec(directive)?.groups?.["name"]?.toLowerCase();
    return name !== undefined && !replacedDirectives.has(name);
  });
  return [...kept, "private", "no-transform"].join(", ");
}

const replacedDirectives: ReadonlySet<string> = new Set(["public", "s-maxage", "immutable", "private", "no-transform"]);

/**
 * Fields that speak for the whole host, to caches in front of the gateway, or as the gateway: an apiserver or an application
 * behind it speaks for none of them.
 */
const withheldNamePattern =
  /^(?:cache-control|(?:.*-)?cdn-cache-control|surrogate-control|alt-svc|strict-transport-security|clear-site-data|service-worker-allowed|public-key-pins|nel|report-to|reporting-endpoints|refresh|x-accel-.*|cf-.*|(?:x-)?sallyport-.*)$/;

/** A page of an application must not act as the API's origin: a sandbox without `allow-same-origin` has an origin of its own. */
const sandboxLines: readonly HeaderPair[] = [
  ["Content-Security-Policy", "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts"],
  ["X-Content-Type-Options", "nosniff"],
];

function isPassedOn(name: string, value: string, isProxied: boolean): boolean {
  if (withheldNamePattern.test(name)) return false;
  if (name === "x-content-type-options") return !isProxied;
  return name !== "set-cookie" || (isProxied && isOwnCookie(value));
}

/** A cookie of an application stays on its host and off the gateway's names. */
function isOwnCookie(value: string): boolean {
  const isReserved = new RegExp(`^\\s*(?:__Host-|__Secure-)?(?:${gatewayCookiePrefix}|_*cf_)`, "i").test(value);
  return !isReserved && !/;\s*domain\s*=/i.test(value);
}

function lengthProblem(headers: HeaderPairs): string | undefined {
  const lengths = headerValues(headers, "content-length");
  const isPlain = lengths.length === 0 || (lengths.length === 1 && /^\d{1,15}$/.test(lengths[0] ?? ""));
  return isPlain ? undefined : "the answer's Content-Length is repeated or no number";
}

/** A redirect of the API may lead to a path of the same origin and nowhere else; browsers read `//`, `/\` and tabs as more. */
function locationProblem(input: ResponseHeaderInput): string | undefined {
  const locations = headerValues(input.headers, "location");
  const [location] = locations;
  if (location === undefined) return undefined;
  const origin = input.publicOrigin === undefined ? "" : `${input.publicOrigin}/`;
  const path = origin !== "" && location.startsWith(origin) ? location.slice(origin.length - 1) : location;
  const isSameOrigin = locations.length === 1 && /^(?:\/(?![/\\])|\?|$)[\x21-\x5b\x5d-\x7e]*$/.test(path);
  return isSameOrigin ? undefined : "the answer redirects to another origin";
}
