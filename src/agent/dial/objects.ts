/** The fields of Kubernetes objects that say where a target is, read from what the apiserver answers (core/v1, apps/v1, discovery.k8s.io/v1). */
import { isObject, listField, objectField, textField } from "#core/json-fields.ts";
import type { JsonObject } from "#core/json-fields.ts";
import type { TransportProtocol } from "#core/kube/forward-target.ts";

export interface PodFacts {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly nodeName: string;
  readonly phase: string;
  readonly isHostNetwork: boolean;
  readonly isReady: boolean;
  readonly isTerminating: boolean;
  readonly addresses: readonly string[];
  readonly ports: readonly NamedPort[];
}

/** A port that an object names. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: TransportProtocol | "other";
  readonly port: number;
}

export interface ServiceFacts {
  readonly isExternalName: boolean;
  readonly hasSelector: boolean;
  readonly hasAffinity: boolean;
  readonly ports: readonly NamedPort[];
}

/** An endpoint of an EndpointSlice, with the slice's ports. */
export interface EndpointFacts {
  readonly address: string;
  /** The pod that it is said to be; undefined for an endpoint that is none. */
  readonly pod: { readonly namespace: string; readonly name: string; readonly uid: string } | undefined;
  readonly state: "ready" | "terminating" | "unusable";
  readonly ports: readonly NamedPort[];
}

export function readPod(pod: JsonObject): PodFacts {
  const [metadata, spec, status] = [objectField(pod, "metadata"), objectField(pod, "spec"), objectField(pod, "status")];
  const isReady = objects(status, "conditions").some(
    (condition) => textField(condition, "type") === "Ready" && textField(condition, "status") === "True",
  );
  return {
    namespace: textField(metadata, "namespace"),
    name: textField(metadata, "name"),
    uid: textField(metadata, "uid"),
    nodeName: textField(spec, "nodeName"),
    phase: textField(status, "phase"),
    isHostNetwork: spec["hostNetwork"] === true,
    isReady,
    isTerminating: metadata["deletionTimestamp"] !== undefined,
    addresses: objects(status, "podIPs").map((entry) => textField(entry, "ip")),
    ports: objects(spec, "containers").flatMap((container) => readPorts(objects(container, "ports"), "containerPort")),
  };
}

export function readService(service: JsonObject): ServiceFacts {
  const spec = objectField(service, "spec");
  return {
    isExternalName: textField(spec, "type") === "ExternalName",
    hasSelector: Object.keys(objectField(spec, "selector")).length > 0,
    hasAffinity: textField(spec, "sessionAffinity") === "ClientIP",
    ports: readPorts(objects(spec, "ports"), "port"),
  };
}

/** The endpoints of a list of EndpointSlices; slices of names (`FQDN`) have none. */
export function readEndpoints(list: JsonObject): readonly EndpointFacts[] {
  const slices = objects(list, "items").filter((slice) => ["IPv4", "IPv6"].includes(textField(slice, "addressType")));
  return slices.flatMap((slice) => {
    const ports = readPorts(objects(slice, "ports"), "port");
    return objects(slice, "endpoints").map((endpoint) => {
      const reference = objectField(endpoint, "targetRef");
      const pod = {
        namespace: textField(reference, "namespace"),
        name: textField(reference, "name"),
        uid: textField(reference, "uid"),
      };
      const [address] = listField(endpoint, "addresses");
      return {
        address: typeof address === "string" ? address : "",
        pod: textField(reference, "kind") === "Pod" && pod.name !== "" ? pod : undefined,
        state: endpointState(objectField(endpoint, "conditions")),
        ports,
      };
    });
  });
}

/** A node's addresses of the type InternalIP. */
export function readNodeAddresses(node: JsonObject): readonly string[] {
  return objects(objectField(node, "status"), "addresses")
    .filter((entry) => textField(entry, "type") === "InternalIP")
    .map((entry) => textField(entry, "address"));
}

/** A Deployment's selector as the text that lists take; undefined for one that selects nothing or cannot be read. */
export function readSelector(deployment: JsonObject): string | undefined {
  const selector = objectField(objectField(deployment, "spec"), "selector");
  const labels = Object.entries(objectField(selector, "matchLabels"));
  const equal = labels.map(([key, value]) => (typeof value === "string" ? `${key}=${value}` : undefined));
  const terms = [...equal, ...objects(selector, "matchExpressions").map(expressionTerm)];
  if (terms.length === 0 || terms.includes(undefined)) return undefined;
  return terms.join(",");
}

/** metav1.LabelSelectorRequirement. */
function expressionTerm(expression: JsonObject): string | undefined {
  const key = textField(expression, "key");
  const values = listField(expression, "values").join(",");
  switch (textField(expression, "operator")) {
    case "In":
      return `${key} in (${values})`;
    case "NotIn":
      return `${key} notin (${values})`;
    case "Exists":
      return key;
    case "DoesNotExist":
      return `!${key}`;
    default:
      return undefined;
  }
}

/** EndpointConditions: an unset `ready` or `serving` is true. */
function endpointState(conditions: JsonObject): EndpointFacts["state"] {
  if (conditions["ready"] !== false && conditions["terminating"] !== true) return "ready";
  return conditions["serving"] !== false && conditions["terminating"] === true ? "terminating" : "unusable";
}

function readPorts(ports: readonly JsonObject[], numberField: string): readonly NamedPort[] {
  return ports.map((entry) => {
    const port = entry[numberField];
    const isPort = typeof port === "number" && Number.isInteger(port) && port > 0 && port <= 65_535;
    return { name: textField(entry, "name"), protocol: readProtocol(textField(entry, "protocol")), port: isPort ? port : 0 };
  });
}

function readProtocol(text: string): NamedPort["protocol"] {
  if (text === "" || text === "TCP") return "tcp";
  return text === "UDP" ? "udp" : "other";
}

function objects(object: JsonObject, name: string): readonly JsonObject[] {
  return listField(object, name).filter(isObject);
}
