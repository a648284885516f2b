/** Where a request goes: as kubectl proxy's ServeMux, prefix stripping and filter decide, in their order. */
import { cleanPath, decodePath, isAmbiguous, parseRequestTarget } from "./request-target.ts";
import type { RequestFilter } from "./filter.ts";

/** What decides about requests. Prefixes begin and end with `/`. */
export interface RouteOptions {
  readonly apiPrefix: string;
  /** undefined without --www. */
  readonly filesPrefix: string | undefined;
  /** undefined with --disable-filter. */
  readonly filter: RequestFilter | undefined;
}

export type Route =
  /** The path and query to send to the apiserver, byte for byte. */
  | { readonly type: "api"; readonly target: string }
  /** A file, by its path below the directory, decoded. */
  | { readonly type: "file"; readonly path: string }
  | { readonly type: "redirect"; readonly location: string }
  | { readonly type: "notFound" }
  | { readonly type: "forbidden" }
  | { readonly type: "invalid" };

/** Decides about one request; `text` is the request line's target, `host` the Host header. */
export function routeRequest(
  request: { readonly method: string; readonly text: string; readonly host: string },
  options: RouteOptions,
): Route {
  const target = parseRequestTarget(request.text, request.host);
  if (target === undefined) return { type: "invalid" };
  const { path, query } = target;
  const prefixes = [options.apiPrefix, options.filesPrefix].filter((prefix) => prefix !== undefined);
  const cleaned = cleanPath(path);
  const prefix = longestPrefix(prefixes, cleaned);
  if (prefix === undefined && prefixes.includes(`${cleaned}/`)) return { type: "redirect", location: `${cleaned}/${query}` };
  if (cleaned !== path) return { type: "redirect", location: cleaned + query };
  if (prefix === undefined) return { type: "notFound" };
  if (prefix === options.filesPrefix) return routeFile(path.slice(prefix.length));
  // kubectl keeps a prefix that begins like the API's own.
  const sent = prefix.startsWith("/api") ? path : path.slice(prefix.length - 1);
  const decoded = decodePath(sent) ?? "";
  if (options.filter !== undefined && !options.filter(request.method, { ...target, path: sent, decoded })) return { type: "forbidden" };
  return { type: "api", target: sent + query };
}

function routeFile(path: string): Route {
  const decoded = decodePath(path);
  return decoded === undefined || isAmbiguous(decoded) ? { type: "notFound" } : { type: "file", path: decoded };
}

function longestPrefix(prefixes: readonly string[], path: string): string | undefined {
  return prefixes.filter((prefix) => path.startsWith(prefix)).toSorted((left, right) => right.length - left.length)[0];
}
