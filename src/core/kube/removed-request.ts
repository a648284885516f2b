/**
 * Requests that Kubernetes no longer serves, and what serves them now. Both stood before a resource: `/api/v1/proxy/namespaces/a/pods/b/`
 * until 1.10, and `/api/v1beta3/redirect/…`, which sent the client to the pod's own address, until 1.0.
 */
import type { KubeRequest, ResourceRequest } from "./request-path.ts";

const proxiedResources: ReadonlySet<string> = new Set(["nodes", "pods", "services"]);

/** A sentence that says what replaced the request; undefined for any other request. */
export function removedRequestNotice(request: KubeRequest): string | undefined {
  if (request.type !== "resource" || request.apiGroup !== "") return undefined;
  if (request.verb === "proxy") return `/api/v1/proxy was removed in Kubernetes 1.10: use ${replacement(request)}`;
  if (request.resource !== "redirect") return undefined;
  return `redirects to a pod's own address were removed before Kubernetes 1.0: use ${replacement(undefined)}, or \`kubectl port-forward\``;
}

/** The path with the `/proxy` subresource, as far as the request says for what. */
function replacement(request: ResourceRequest | undefined): string {
  const { namespace = "", resource = "", name = "" } = request ?? {};
  const isKnown = proxiedResources.has(resource) && isName(name) && (resource === "nodes" || isName(namespace));
  if (!isKnown) return "the proxy subresource, /api/v1/namespaces/NAMESPACE/services/NAME/proxy/";
  return resource === "nodes" ? `/api/v1/nodes/${name}/proxy/` : `/api/v1/namespaces/${namespace}/${resource}/${name}/proxy/`;
}

/** What goes into a sentence of ours: the names of objects, with a scheme and a port. */
function isName(text: string): boolean {
  return /^[a-z0-9][a-z0-9.:-]{0,252}$/.test(text);
}
