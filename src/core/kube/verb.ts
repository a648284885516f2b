/** HTTP methods and the verbs that RBAC knows them by. */
import type { ErrorCode } from "#core/errors.ts";

/** The verb of a resource request (Kubernetes authorization overview, "Determine the request verb"); empty: see `ResourceRequest`. */
export type ResourceVerb = "get" | "list" | "watch" | "create" | "update" | "patch" | "delete" | "deletecollection" | "proxy" | "";

/** Longest method: far above any that is registered. */
const maximumMethodLength = 32;

const verbsByMethod: ReadonlyMap<string, ResourceVerb> = new Map([
  ["GET", "get"],
  ["HEAD", "get"],
  ["POST", "create"],
  ["PUT", "update"],
  ["PATCH", "patch"],
  ["DELETE", "delete"],
]);

/** Methods that runtimes rewrite from other cases (fetch standard, "normalize a method") or treat as a hop's own business. */
const guardedMethods: ReadonlySet<string> = new Set([...verbsByMethod.keys(), "OPTIONS", "CONNECT", "TRACE"]);

/** Whether the Kubernetes API routes the method. */
export function isRoutableMethod(method: string): boolean {
  return verbsByMethod.has(method);
}

/** The verb of a method on one named object; empty for a method that the API does not route. */
export function methodVerb(method: string): ResourceVerb {
  return verbsByMethod.get(method) ?? "";
}

/** Why a method is refused on any path, a proxied application's too: no token, CONNECT or TRACE, or another's name in other case. */
export function refuseMethod(
  method: string,
): { readonly code: Extract<ErrorCode, "METHOD_NOT_ALLOWED">; readonly message: string } | undefined {
  const isToken = method.length <= maximumMethodLength && /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method);
  if (!isToken) return { code: "METHOD_NOT_ALLOWED", message: "the method is not an HTTP token" };
  const upper = method.toUpperCase();
  if (upper === "CONNECT" || upper === "TRACE") return { code: "METHOD_NOT_ALLOWED", message: `${upper} is never forwarded` };
  if (upper !== method && guardedMethods.has(upper)) {
    return { code: "METHOD_NOT_ALLOWED", message: `methods are case-sensitive: ${upper} is written in capitals` };
  }
  return undefined;
}
