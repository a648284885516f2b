/** Reads the objects that targets name, with the agent's own rights. */
import { GatewayError } from "#core/errors.ts";
import { isObject, listField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { isObjectName } from "#core/kube/forward-target.ts";
import { maxListed, maxSlices } from "./limits.ts";
import { readEndpoints, readNodeAddresses, readPod, readSelector, readService } from "./objects.ts";
import type { EndpointFacts, PodFacts, ServiceFacts } from "./objects.ts";

/** The agent's own requests to its cluster, as this folder uses them. */
export interface ObjectApi {
  get(
    target: string,
  ): Promise<
    | { readonly type: "object"; readonly object: JsonObject }
    | { readonly type: "refused"; readonly status: number; readonly reason: string }
  >;
}

/** Each answers undefined for an object that is not there, and rejects when the cluster cannot be asked. */
export class ObjectReader {
  readonly #api: ObjectApi;

  constructor(api: ObjectApi) {
    this.#api = api;
  }

  async pod(namespace: string, name: string): Promise<PodFacts | undefined> {
    const pod = await this.#read(`/api/v1/namespaces/${segment(namespace)}/pods/${segment(name)}`, "pods");
    return pod === undefined ? undefined : readPod(pod);
  }

  async service(namespace: string, name: string): Promise<ServiceFacts | undefined> {
    const service = await this.#read(`/api/v1/namespaces/${segment(namespace)}/services/${segment(name)}`, "services");
    return service === undefined ? undefined : readService(service);
  }

  async endpoints(namespace: string, service: string): Promise<readonly EndpointFacts[]> {
    const query = `labelSelector=${encodeURIComponent(`kubernetes.io/service-name=${segment(service)}`)}&limit=${maxSlices}`;
    const list = await this.#read(`/apis/discovery.k8s.io/v1/namespaces/${segment(namespace)}/endpointslices?${query}`, "endpointslices");
    return readEndpoints(list ?? {});
  }

  /** The InternalIPs of a node. */
  async nodeAddresses(name: string): Promise<readonly string[] | undefined> {
    const node = await this.#read(`/api/v1/nodes/${segment(name)}`, "nodes");
    return node === undefined ? undefined : readNodeAddresses(node);
  }

  /** The pods that a Deployment selects. */
  async deploymentPods(namespace: string, name: string): Promise<readonly PodFacts[] | undefined> {
    const path = `/apis/apps/v1/namespaces/${segment(namespace)}/deployments/${segment(name)}`;
    const deployment = await this.#read(path, "deployments");
    if (deployment === undefined) return undefined;
    const selector = readSelector(deployment);
    if (selector === undefined) return [];
    const query = `labelSelector=${encodeURIComponent(selector)}&limit=${maxListed}`;
    const list = await this.#read(`/api/v1/namespaces/${segment(namespace)}/pods?${query}`, "pods");
    return listField(list ?? {}, "items")
      .filter(isObject)
      .map((pod) => readPod(pod));
  }

  async #read(target: string, resource: string): Promise<JsonObject | undefined> {
    const answer = await this.#api.get(target);
    if (answer.type === "object") return answer.object;
    if (answer.status === 404) return undefined;
    const hint = answer.status === 403 ? "; the agent's manifests give it this right" : "";
    throw new GatewayError("AGENT_CREDENTIAL", `the apiserver refused the agent to read ${resource} with ${answer.status}${hint}`);
  }
}

/** A name as a path segment. Names in EndpointSlices and pods are what somebody wrote: one with a slash would read another object as the agent. */
function segment(name: string): string {
  if (!isObjectName(name)) throw new GatewayError("TARGET_REFUSED", "an object names another by what is no name");
  return name;
}
