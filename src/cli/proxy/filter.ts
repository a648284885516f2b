/**
 * Which requests pass: by Host, against a page that reaches this proxy under a name of its own (DNS rebinding); by path, since a
 * WebSocket to exec is not bound by the browser's same-origin policy; and by method. The expressions are Go's (RE2), matched in linear
 * time by the same engine that reads Kubernetes' CEL; what it cannot read exactly as Go does, it refuses.
 */
import { parseRegularExpression } from "#identity/regular-expression.ts";
import type { RegularExpression } from "#identity/regular-expression.ts";
import { isAmbiguous } from "./request-target.ts";
import type { RequestTarget } from "./request-target.ts";

/** The four lists of kubectl proxy's flags; each a comma-separated list of expressions, split before they are read. */
export interface FilterLists {
  readonly acceptHosts: string;
  readonly acceptPaths: string;
  readonly rejectPaths: string;
  readonly rejectMethods: string;
}

/** kubectl proxy's defaults (kubectl `pkg/proxy/proxy_server.go`). */
export const defaultFilter: FilterLists = {
  acceptHosts: String.raw`^localhost$,^127\.0\.0\.1$,^\[::1\]$`,
  acceptPaths: "^.*",
  rejectPaths: "^/api/.*/pods/.*/exec,^/api/.*/pods/.*/attach",
  rejectMethods: "^$",
};

/** Says whether a request passes. */
export type RequestFilter = (method: string, target: RequestTarget) => boolean;

/** Compiled lists, or the first expression that cannot be read and why. */
export type FilterResult =
  | { readonly type: "filter"; readonly accepts: RequestFilter }
  | { readonly type: "invalid"; readonly flag: string; readonly expression: string; readonly message: string };

type Expressions = readonly RegularExpression[];

/** Compiles the lists. Rejections outrank acceptances; an empty list matches nothing, an empty expression everything. */
export function parseFilter(lists: FilterLists): FilterResult {
  const compiled: Record<keyof FilterLists, Expressions> = { acceptHosts: [], acceptPaths: [], rejectPaths: [], rejectMethods: [] };
  for (const [list, flag] of listFlags) {
    const expressions: RegularExpression[] = [];
    for (const expression of lists[list] === "" ? [] : lists[list].split(",")) {
      const result = parseRegularExpression(expression);
      if (result.type === "unsupported") return { type: "invalid", flag, expression, message: result.message };
      expressions.push(result.expression);
    }
    compiled[list] = expressions;
  }
  return { type: "filter", accepts: (method, target) => accepts(compiled, method, target) };
}

const listFlags = [
  ["acceptHosts", "--accept-hosts"],
  ["acceptPaths", "--accept-paths"],
  ["rejectPaths", "--reject-paths"],
  ["rejectMethods", "--reject-methods"],
] as const;

function accepts(lists: Readonly<Record<keyof FilterLists, Expressions>>, method: string, { decoded, host }: RequestTarget): boolean {
  if (isAmbiguous(decoded)) return false;
  if (matches(lists.rejectPaths, decoded) || matches(lists.rejectMethods, method)) return false;
  return matches(lists.acceptPaths, decoded) && hostNames(host).some((name) => matches(lists.acceptHosts, name));
}

function matches(expressions: Expressions, text: string): boolean {
  return expressions.some((expression) => expression.test(text));
}

/**
 * What the host expressions are matched against: the name without the port. kubectl takes the brackets off an IPv6 address with a port
 * and leaves them on one without, so that its own default refuses `[::1]:8001`; here either form may match.
 */
export function hostNames(host: string): readonly string[] {
  const bracketed = /^\[([^[\]]*)\](?::[^:[\]]*)?$/.exec(host);
  if (bracketed !== null) return [`[${bracketed[1] ?? ""}]`, bracketed[1] ?? ""];
  const named = /^([^:[\]]*):[^:[\]]*$/.exec(host);
  return [named?.[1] ?? host];
}
