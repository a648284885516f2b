/** Which pods a Service leads to: its EndpointSlice and, for older clients, its Endpoints. */
import { isEqual, listAt, numberAt, textAt, textsAt, valueAt } from "#sandbox/objects/json.ts";
import type { Json, JsonObject } from "#sandbox/objects/json.ts";
import { controllerReference, isTerminating, keyOf } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import type { Resource } from "#sandbox/objects/resources.ts";
import type { Registry } from "#sandbox/registry/registry.ts";
import { isReady } from "./replica-set.ts";
import { fromKey } from "./work-queue.ts";

/** Writes the endpoints of the Service of a key, or removes them with it. */
export function reconcileEndpoints(registry: Registry, key: string): void {
  const { store } = registry;
  const place = fromKey(key);
  const service = store.get(resourceOf("Service"), place);
  if (service === undefined) {
    store.remove(resourceOf("Endpoints"), place);
    return;
  }
  const selector = textsAt(service, "spec", "selector");
  if (Object.keys(selector).length === 0 || isTerminating(service)) return;
  const isChosen = (pod: KubeObject): boolean =>
    Object.entries(selector).every(([name, value]) => textAt(pod, "metadata", "labels", name) === value);
  const pods = store
    .list(resourceOf("Pod"), place.namespace)
    .filter((pod) => isChosen(pod) && textAt(pod, "status", "podIP") !== "" && !isTerminating(pod));
  const labels = textsAt(service, "metadata", "labels");
  write(registry, resourceOf("Endpoints"), {
    ...place,
    body: { metadata: { name: place.name, labels }, subsets: subsetsOf(service, pods) },
  });
  const metadata = {
    name: `${place.name}-sandbox`,
    labels: {
      ...labels,
      "kubernetes.io/service-name": place.name,
      "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    },
    ownerReferences: [controllerReference(service)],
  };
  const [sample] = pods;
  const ports = listAt(service, "spec", "ports").map((port) => endpointPort(port, sample));
  const slice = { metadata, addressType: "IPv4", endpoints: pods.map(sliceEndpoint), ports };
  write(registry, resourceOf("EndpointSlice"), { namespace: place.namespace, name: metadata.name, body: slice });
}

function write(
  registry: Registry,
  resource: Resource,
  { namespace, name, body }: { readonly namespace: string; readonly name: string; readonly body: JsonObject },
): void {
  const known = registry.store.get(resource, { namespace, name });
  if (known === undefined) {
    registry.create(resource, namespace, body);
    return;
  }
  const changed = Object.entries(body).some(([field, value]) => field !== "metadata" && !isEqual(value, known[field] ?? []));
  if (changed) registry.update(resource, keyOf(known), { body: { ...known, ...body, metadata: known.metadata }, part: "main" });
}

function subsetsOf(service: KubeObject, pods: readonly KubeObject[]): readonly JsonObject[] {
  if (pods.length === 0) return [];
  const addresses = (wanted: boolean): readonly JsonObject[] =>
    pods
      .filter((pod) => isReady(pod) === wanted)
      .map((pod) => ({ ip: textAt(pod, "status", "podIP"), nodeName: textAt(pod, "spec", "nodeName"), targetRef: targetOf(pod) }));
  const ready = addresses(true);
  const unready = addresses(false);
  const ports = listAt(service, "spec", "ports").map((port) => endpointPort(port, pods[0]));
  return [{ ...(ready.length > 0 ? { addresses: ready } : {}), ...(unready.length > 0 ? { notReadyAddresses: unready } : {}), ports }];
}

function sliceEndpoint(pod: KubeObject): JsonObject {
  const ready = isReady(pod);
  return {
    addresses: [textAt(pod, "status", "podIP")],
    conditions: { ready, serving: ready, terminating: false },
    nodeName: textAt(pod, "spec", "nodeName"),
    targetRef: targetOf(pod),
  };
}

function targetOf(pod: KubeObject): JsonObject {
  const { name, namespace = "", uid } = pod.metadata;
  return { kind: "Pod", name, namespace, uid };
}

/** The port that a Service's port means on its pods: a number, or the name of a container's port. */
function endpointPort(port: Json, pod: KubeObject | undefined): JsonObject {
  const target = valueAt(port, "targetPort");
  const named = listAt(pod, "spec", "containers")
    .flatMap((container) => listAt(container, "ports"))
    .find((candidate) => textAt(candidate, "name") === target);
  const number = typeof target === "number" ? target : (numberAt(named, "containerPort") ?? numberAt(port, "port") ?? 0);
  const name = textAt(port, "name");
  return { ...(name === "" ? {} : { name }), port: number, protocol: textAt(port, "protocol") || "TCP" };
}
