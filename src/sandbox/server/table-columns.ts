/** The columns of each kind's table (kubernetes, pkg/printers/internalversion/printers.go). */
import { listAt, numberAt, objectAt, textAt, textListAt, textsAt, valueAt } from "#sandbox/objects/json.ts";
import type { Json } from "#sandbox/objects/json.ts";
import { isTerminating } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { podReady, podRestarts, podStatus } from "./pod-cells.ts";
import { ageOf, ageSince } from "./age.ts";

/** A column and how its cell is read from an object. */
export interface Column {
  readonly name: string;
  readonly type?: string;
  readonly format?: string;
  /** 1 is shown only with `-o wide`. */
  readonly priority?: number;
  readonly description?: string;
  readonly cell: (object: KubeObject, nowMs: number) => Json;
}

/** The columns of a kind; kinds without a row of their own have name and creation time, as in Kubernetes. */
export function columnsOf(kind: string): readonly Column[] {
  return byKind[kind] ?? [name, { name: "Created At", type: "date", cell: (object) => object.metadata.creationTimestamp }];
}

const none = "<none>";
const name: Column = { name: "Name", format: "name", cell: (object) => object.metadata.name };
const age: Column = { name: "Age", cell: ageOf };
const text = (title: string, ...path: readonly string[]): Column => ({
  name: title,
  cell: (object) => textAt(object, ...path) || none,
});
const count = (title: string, ...path: readonly string[]): Column => ({
  name: title,
  type: "integer",
  cell: (object) => numberAt(object, ...path) ?? 0,
});
const size = (title: string, ...path: readonly string[]): Column => ({
  name: title,
  type: "integer",
  cell: (object) => Object.keys(objectAt(object, ...path)).length,
});
const wide = (column: Column): Column => ({ ...column, priority: 1 });

const containers: Column = { name: "Containers", cell: (object) => containerTexts(object, "name") };
const images: Column = { name: "Images", cell: (object) => containerTexts(object, "image") };
const selector: Column = { name: "Selector", cell: (object) => pairs(textsAt(object, "spec", "selector", "matchLabels")) };

const byKind: Readonly<Record<string, readonly Column[]>> = {
  Pod: [
    name,
    { name: "Ready", cell: podReady },
    { name: "Status", cell: podStatus },
    { name: "Restarts", cell: podRestarts },
    age,
    wide(text("IP", "status", "podIP")),
    wide(text("Node", "spec", "nodeName")),
    wide(text("Nominated Node", "status", "nominatedNodeName")),
    wide({ name: "Readiness Gates", cell: () => none }),
  ],
  Deployment: [
    name,
    { name: "Ready", cell: (object) => `${numberAt(object, "status", "readyReplicas") ?? 0}/${numberAt(object, "spec", "replicas") ?? 0}` },
    count("Up-to-date", "status", "updatedReplicas"),
    count("Available", "status", "availableReplicas"),
    age,
    wide(containers),
    wide(images),
    wide(selector),
  ],
  ReplicaSet: [
    name,
    count("Desired", "spec", "replicas"),
    count("Current", "status", "replicas"),
    count("Ready", "status", "readyReplicas"),
    age,
    wide(containers),
    wide(images),
    wide(selector),
  ],
  Service: [
    name,
    text("Type", "spec", "type"),
    text("Cluster-IP", "spec", "clusterIP"),
    { name: "External-IP", cell: externalAddress },
    { name: "Port(s)", cell: (object) => listAt(object, "spec", "ports").map(servicePort).join(",") || none },
    age,
    wide({ name: "Selector", cell: (object) => pairs(textsAt(object, "spec", "selector")) }),
  ],
  Endpoints: [name, { name: "Endpoints", cell: endpointAddresses }, age],
  EndpointSlice: [
    name,
    text("AddressType", "addressType"),
    { name: "Ports", cell: (object) => joined(listAt(object, "ports").map((port) => String(numberAt(port, "port") ?? "*"))) },
    { name: "Endpoints", cell: (object) => joined(listAt(object, "endpoints").flatMap((endpoint) => textListAt(endpoint, "addresses"))) },
    age,
  ],
  Node: [
    name,
    { name: "Status", cell: nodeStatus },
    { name: "Roles", cell: nodeRoles },
    age,
    text("Version", "status", "nodeInfo", "kubeletVersion"),
    wide({ name: "Internal-IP", cell: (object) => nodeAddress(object, "InternalIP") }),
    wide({ name: "External-IP", cell: (object) => nodeAddress(object, "ExternalIP") }),
    wide(text("OS-Image", "status", "nodeInfo", "osImage")),
    wide(text("Kernel-Version", "status", "nodeInfo", "kernelVersion")),
    wide(text("Container-Runtime", "status", "nodeInfo", "containerRuntimeVersion")),
  ],
  Event: [
    { name: "Last Seen", cell: (object, nowMs) => ageSince(textAt(object, "lastTimestamp") || textAt(object, "eventTime"), nowMs) },
    text("Type", "type"),
    text("Reason", "reason"),
    {
      name: "Object",
      cell: (object) => `${textAt(object, "involvedObject", "kind").toLowerCase()}/${textAt(object, "involvedObject", "name")}`,
    },
    wide({ name: "Subobject", cell: (object) => textAt(object, "involvedObject", "fieldPath") }),
    wide({ name: "Source", cell: (object) => textAt(object, "source", "component") || textAt(object, "reportingComponent") }),
    { name: "Message", cell: (object) => (textAt(object, "message") || textAt(object, "note")).trim() },
    wide({ name: "First Seen", cell: (object, nowMs) => ageSince(textAt(object, "firstTimestamp") || textAt(object, "eventTime"), nowMs) }),
    wide(count("Count", "count")),
    wide(name),
  ],
  Namespace: [name, text("Status", "status", "phase"), age],
  ConfigMap: [
    name,
    {
      name: "Data",
      type: "integer",
      cell: (object) => Object.keys(objectAt(object, "data")).length + Object.keys(objectAt(object, "binaryData")).length,
    },
    age,
  ],
  Secret: [name, text("Type", "type"), size("Data", "data"), age],
  ServiceAccount: [name, { name: "Secrets", type: "integer", cell: (object) => listAt(object, "secrets").length }, age],
  Lease: [name, text("Holder", "spec", "holderIdentity"), age],
  RoleBinding: bindingColumns(),
  ClusterRoleBinding: bindingColumns(),
};

function bindingColumns(): readonly Column[] {
  const subjects = (kind: string) => (object: KubeObject) =>
    listAt(object, "subjects")
      .filter((subject) => textAt(subject, "kind") === kind)
      .map((subject) =>
        kind === "ServiceAccount" ? `${textAt(subject, "namespace")}/${textAt(subject, "name")}` : textAt(subject, "name"),
      )
      .join(", ");
  return [
    name,
    { name: "Role", cell: (object) => `${textAt(object, "roleRef", "kind")}/${textAt(object, "roleRef", "name")}` },
    age,
    wide({ name: "Users", cell: subjects("User") }),
    wide({ name: "Groups", cell: subjects("Group") }),
    wide({ name: "ServiceAccounts", cell: subjects("ServiceAccount") }),
  ];
}

function containerTexts(object: KubeObject, field: string): string {
  return listAt(object, "spec", "template", "spec", "containers")
    .map((container) => textAt(container, field))
    .join(",");
}

function pairs(map: Readonly<Record<string, string>>): string {
  const entries = Object.entries(map).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return entries.map(([key, value]) => `${key}=${value}`).join(",") || none;
}

/** At most three, then how many more there are. */
function joined(items: readonly string[]): string {
  if (items.length === 0) return "<unset>";
  const shown = items.slice(0, 3).join(",");
  return items.length > 3 ? `${shown} + ${items.length - 3} more...` : shown;
}

function servicePort(port: Json): string {
  const nodePort = numberAt(port, "nodePort");
  const number = numberAt(port, "port") ?? 0;
  return `${nodePort === undefined ? number : `${number}:${nodePort}`}/${textAt(port, "protocol")}`;
}

function externalAddress(object: KubeObject): string {
  const external = textListAt(object, "spec", "externalIPs").join(",");
  switch (textAt(object, "spec", "type")) {
    case "ExternalName":
      return textAt(object, "spec", "externalName");
    case "LoadBalancer":
      return (
        listAt(object, "status", "loadBalancer", "ingress")
          .map((item) => textAt(item, "ip") || textAt(item, "hostname"))
          .join(",") || "<pending>"
      );
    default:
      return external || none;
  }
}

function endpointAddresses(object: KubeObject): string {
  const pairsOfSubset = (subset: Json): readonly string[] => {
    const addresses = listAt(subset, "addresses").map((address) => textAt(address, "ip"));
    const ports = listAt(subset, "ports").map((port) => numberAt(port, "port") ?? 0);
    return ports.length === 0 ? addresses : ports.flatMap((port) => addresses.map((address) => `${address}:${port}`));
  };
  const all = listAt(object, "subsets").flatMap(pairsOfSubset);
  return all.length === 0 ? none : joined(all);
}

function nodeStatus(object: KubeObject): string {
  const ready = listAt(object, "status", "conditions").find((condition) => textAt(condition, "type") === "Ready");
  const status = ready === undefined ? "Unknown" : textAt(ready, "status") === "True" ? "Ready" : "NotReady";
  return valueAt(object, "spec", "unschedulable") === true
    ? `${status},SchedulingDisabled`
    : isTerminating(object)
      ? `${status},Terminating`
      : status;
}

function nodeRoles(object: KubeObject): string {
  const prefix = "node-role.kubernetes.io/";
  const roles = Object.keys(objectAt(object, "metadata", "labels")).filter((label) => label.startsWith(prefix));
  return (
    roles
      .map((label) => label.slice(prefix.length))
      .toSorted()
      .join(",") || none
  );
}

function nodeAddress(object: KubeObject, type: string): string {
  const found = listAt(object, "status", "addresses").find((address) => textAt(address, "type") === type);
  return found === undefined ? none : textAt(found, "address");
}
