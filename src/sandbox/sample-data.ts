/** What is in the sandbox at its start: nodes, namespaces, and a few workloads that show something. */
import type { JsonObject } from "./objects/json.ts";
import { toTime } from "./objects/object.ts";
import { resourceOf } from "./objects/resources.ts";
import type { Registry } from "./registry/registry.ts";
import { version } from "./server/discovery.ts";

/** Which workloads to start with. */
export type SampleData = "none" | "workloads";

const notice = {
  "sallyport.dev/sandbox": "This is Sallyport's sandbox, not a real cluster: pods are small programs on the machine that runs it.",
};
const image = (name: string): string => `sallyport.dev/sandbox/${name}:1`;

/** Creates nodes and the namespaces that every cluster has. */
export function createBasics(registry: Registry, nowMs: number): void {
  for (const name of ["default", "kube-system", "kube-public"])
    create(registry, "Namespace", "", { metadata: { name, annotations: notice } });
  for (const index of [1, 2]) create(registry, "Node", "", node(index, nowMs), "with status");
  create(registry, "Service", "default", {
    metadata: { name: "kubernetes", labels: { component: "apiserver", provider: "kubernetes" } },
    spec: { type: "ClusterIP", clusterIP: "10.96.0.1", ports: [{ name: "https", port: 443, targetPort: 6443 }] },
  });
}

/** Creates the sample workloads in the namespaces web and default. */
export function createWorkloads(registry: Registry): void {
  create(registry, "Namespace", "", { metadata: { name: "web", annotations: notice } });
  create(registry, "ConfigMap", "web", { metadata: { name: "cart-settings" }, data: { greeting: "hello", currency: "EUR" } });
  create(registry, "Secret", "web", { metadata: { name: "cart-password" }, stringData: { password: "not-a-real-secret" } });
  create(registry, "Deployment", "web", deployment("cart", { replicas: 2, container: cartContainer }));
  create(registry, "Service", "web", {
    metadata: { name: "cart", labels: { app: "cart" } },
    spec: { selector: { app: "cart" }, ports: [{ name: "http", port: 80, targetPort: 8080 }] },
  });
  create(registry, "Deployment", "web", deployment("clock", { replicas: 1, container: { name: "clock", image: image("ticker") } }));
  create(registry, "Pod", "default", {
    metadata: { name: "toybox", labels: { app: "toybox" } },
    spec: { containers: [{ name: "toybox", image: image("toybox") }] },
  });
  const broken = { name: "broken", image: "registry.example.com/not-in-the-sandbox:1" };
  create(registry, "Deployment", "default", deployment("broken", { replicas: 1, container: broken }));
}

const cartContainer: JsonObject = {
  name: "cart",
  image: image("web"),
  ports: [{ name: "http", containerPort: 8080 }],
  env: [{ name: "GREETING", valueFrom: { configMapKeyRef: { name: "cart-settings", key: "greeting" } } }],
};

function deployment(name: string, { replicas, container }: { readonly replicas: number; readonly container: JsonObject }): JsonObject {
  const labels = { app: name };
  return {
    metadata: { name, labels },
    spec: { replicas, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [container] } } },
  };
}

function node(index: number, nowMs: number): JsonObject {
  const now = toTime(nowMs);
  const name = `sandbox-${index}`;
  const ready = {
    type: "Ready",
    status: "True",
    reason: "SandboxReady",
    message: "the sandbox runs",
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  };
  const room = { cpu: "2", memory: "2Gi", pods: "40" };
  const roles: JsonObject = index === 1 ? { "node-role.kubernetes.io/control-plane": "" } : {};
  return {
    metadata: { name, annotations: notice, labels: { "kubernetes.io/hostname": name, "kubernetes.io/os": "sandbox", ...roles } },
    spec: { podCIDR: `10.244.${index}.0/24` },
    status: {
      addresses: [
        { type: "InternalIP", address: `192.0.2.${index}` }, // TEST-NET-1 (RFC 5737): an address that is nobody's
        { type: "Hostname", address: name },
      ],
      capacity: room,
      allocatable: room,
      conditions: [ready],
      nodeInfo: {
        machineID: "",
        systemUUID: "",
        bootID: "",
        kernelVersion: `node ${process.version}`,
        osImage: "Sallyport sandbox",
        containerRuntimeVersion: "sandbox://1",
        kubeletVersion: version.gitVersion,
        kubeProxyVersion: "",
        operatingSystem: "sandbox",
        architecture: process.arch,
      },
    },
  };
}

/** Creates an object; a refusal is a bug of the sample data. */
function create(registry: Registry, kind: string, namespace: string, ...[body, status]: readonly [JsonObject, "with status"?]): void {
  const resource = resourceOf(kind);
  const written = registry.create(resource, namespace, body);
  if (written.type === "failure") throw new Error(`sample ${kind} was refused: ${written.status.message}`);
  if (status === undefined) return;
  const { object } = written.value;
  registry.update(resource, { namespace, name: object.metadata.name }, { body: { ...object, status: body["status"] }, part: "status" });
}
