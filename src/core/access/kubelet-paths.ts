/**
 * Which of a kubelet's paths a user reaches through `nodes/proxy`. The apiserver asks the kubelet with its own credential there, so
 * RBAC's `get nodes/proxy` alone means any command in any pod of the node, unseen by the rules and the audit of `pods/exec`
 * (kubernetes/kubernetes 133515). So the agent looks at the path too: what only tells something passes, all else has to be allowed by
 * name. Whatever port of the node the request names, the same holds: which of them is the kubelet's, only the node knows.
 */
import type { KubeRequest } from "#core/kube/request-path.ts";

/** What a kubelet only reads: GET and HEAD pass without being allowed. (pkg/kubelet/server/server.go of Kubernetes 1.34) */
export const readablePaths: readonly string[] = [
  "/configz",
  "/containerLogs/*",
  "/healthz",
  "/healthz/*",
  "/logs/*",
  "/metrics",
  "/metrics/*",
  "/pods",
  "/runningpods/*",
  "/stats/*",
];

/** What was parsed, and whether it changes to another protocol than HTTP. */
export interface NodeRequest {
  readonly request: KubeRequest;
  readonly isUpgrade: boolean;
}

/**
 * Why a request may not reach a node, or undefined when it may, or is none to a node.
 * @param allowed paths that every method and upgrade may reach: `/run/*` for all behind `/run/`, `*` for all
 */
export function nodeProxyProblem({ request, isUpgrade }: NodeRequest, allowed: readonly string[]): string | undefined {
  if (request.type !== "resource" || request.apiGroup !== "" || request.resource !== "nodes") return undefined;
  const { proxyTail: path } = request;
  if (path === undefined || allowed.includes("*")) return undefined;
  if (!isPlain(path)) return "a path behind nodes/proxy is written without escapes, empty segments and dot segments";
  if (matches(path, allowed)) return undefined;
  const isReading = !isUpgrade && (request.method === "GET" || request.method === "HEAD");
  if (isReading && matches(path, readablePaths)) return undefined;
  return `this cluster's agent lets only reading of ${readablePaths.join(", ")} through behind nodes/proxy`;
}

/** A pattern of `--allow-kubelet-path`: `*`, or a plain path that may end with `/*`. */
export function isKubeletPathPattern(text: string): boolean {
  return text === "*" || (text.startsWith("/") && isPlain(text) && !text.slice(0, -1).includes("*"));
}

/** The apiserver decodes and cleans the path before it asks the kubelet; a path with one reading stays what was decided on. */
function isPlain(path: string): boolean {
  return /^(?:\/[A-Za-z0-9\-._~!$&'()*+,;=:@]+)*\/?$/.test(path) && !path.split("/").some((segment) => segment === "." || segment === "..");
}

function matches(path: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => (pattern.endsWith("/*") ? path.startsWith(pattern.slice(0, -1)) : path === pattern));
}
