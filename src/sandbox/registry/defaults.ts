/** The values that a kind gives its absent fields (kubernetes, pkg/apis/*\/v1/defaults.go), for the kinds that have some. */
import { isObject, listAt, numberAt, objectAt, textAt, textsAt, valueAt, withValue } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";

/** The object with its kind's defaults; what is set is kept. */
export function withDefaults<T extends JsonObject>(kind: string, object: T): T {
  switch (kind) {
    case "Pod":
      return withValue(object, ["spec"], podSpec(objectAt(object, "spec")));
    case "Deployment":
      return withTemplate(withStrategy(withFields(object, ["spec"], deploymentSpec)));
    case "ReplicaSet":
      return withTemplate(withFields(object, ["spec"], { replicas: 1 }));
    case "Service":
      return withValue(object, ["spec"], serviceSpec(objectAt(object, "spec")));
    case "Secret":
      return secret(object);
    case "RoleBinding":
    case "ClusterRoleBinding":
      return binding(object);
    default:
      return object;
  }
}

const deploymentSpec: JsonObject = {
  replicas: 1,
  revisionHistoryLimit: 10,
  progressDeadlineSeconds: 600,
};

const rollingUpdate: JsonObject = { maxSurge: "25%", maxUnavailable: "25%" };

const podDefaults: JsonObject = {
  restartPolicy: "Always",
  dnsPolicy: "ClusterFirst",
  terminationGracePeriodSeconds: 30,
  schedulerName: "default-scheduler",
  enableServiceLinks: true,
  securityContext: {},
};

function withStrategy<T extends JsonObject>(deployment: T): T {
  const typed = withFields(deployment, ["spec", "strategy"], { type: "RollingUpdate" });
  return textAt(typed, "spec", "strategy", "type") === "RollingUpdate"
    ? withFields(typed, ["spec", "strategy", "rollingUpdate"], rollingUpdate)
    : typed;
}

function withTemplate<T extends JsonObject>(object: T): T {
  const spec = podSpec(objectAt(object, "spec", "template", "spec"));
  return withValue(object, ["spec", "template", "spec"], spec);
}

function podSpec(spec: JsonObject): JsonObject {
  const containers = listAt(spec, "containers").map((container) => (isObject(container) ? containerDefaults(container) : container));
  return { ...podDefaults, ...spec, containers };
}

function containerDefaults(container: JsonObject): JsonObject {
  const image = textAt(container, "image");
  const hasLatest = image.endsWith(":latest") || !image.slice(image.lastIndexOf("/") + 1).includes(":");
  const ports = listAt(container, "ports").map((port) => (isObject(port) ? { protocol: "TCP", ...port } : port));
  return {
    imagePullPolicy: hasLatest ? "Always" : "IfNotPresent",
    resources: {},
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
    ...container,
    ...(ports.length === 0 ? {} : { ports }),
  };
}

function serviceSpec(spec: JsonObject): JsonObject {
  const type = textAt(spec, "type") || "ClusterIP";
  const ports = listAt(spec, "ports").map((port) =>
    isObject(port) ? { protocol: "TCP", ...port, targetPort: valueAt(port, "targetPort") || (numberAt(port, "port") ?? 0) } : port,
  );
  const isExternalName = type === "ExternalName";
  const addresses: JsonObject = isExternalName
    ? {}
    : { ipFamilies: ["IPv4"], ipFamilyPolicy: "SingleStack", internalTrafficPolicy: "Cluster" };
  return { sessionAffinity: "None", ...addresses, ...spec, type, ...(ports.length === 0 ? {} : { ports }) };
}

/** stringData is written only: it becomes data. */
function secret<T extends JsonObject>(object: T): T {
  const texts = Object.entries(textsAt(object, "stringData")).map(([name, text]) => [name, Buffer.from(text).toString("base64")] as const);
  const data = { ...objectAt(object, "data"), ...Object.fromEntries(texts) };
  const typed = withFields(withValue(object, ["stringData"], undefined), [], { type: "Opaque" });
  return Object.keys(data).length === 0 ? typed : withValue(typed, ["data"], data);
}

function binding<T extends JsonObject>(object: T): T {
  const group = "rbac.authorization.k8s.io";
  const subjects = listAt(object, "subjects").map((subject) => {
    if (!isObject(subject) || textAt(subject, "kind") === "ServiceAccount") return subject;
    return { apiGroup: group, ...subject };
  });
  const bound = withFields(object, ["roleRef"], { apiGroup: group });
  return subjects.length === 0 ? bound : withValue(bound, ["subjects"], subjects);
}

/** Sets the fields that are absent. */
function withFields<T extends JsonObject>(object: T, path: readonly string[], defaults: JsonObject): T {
  let result = object;
  for (const [name, value] of Object.entries(defaults)) {
    const at = [...path, name];
    if (valueAt(result, ...at) === undefined) result = withValue(result, at, value);
  }
  return result;
}
