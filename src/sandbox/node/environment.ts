/** The environment of a container: its pod's name, the API server's address, and what its spec says. */
import { listAt, textAt, valueAt } from "#sandbox/objects/json.ts";
import type { Json } from "#sandbox/objects/json.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import type { Store } from "#sandbox/store/store.ts";

/** Resolves a container's variables; one whose source does not exist is left out. */
export function environmentOf(pod: KubeObject, container: Json, store: Store): Readonly<Record<string, string>> {
  const api = store.get(resourceOf("Service"), { namespace: "default", name: "kubernetes" });
  const fixed = {
    HOSTNAME: pod.metadata.name,
    KUBERNETES_SERVICE_HOST: textAt(api, "spec", "clusterIP"),
    KUBERNETES_SERVICE_PORT: "443",
  };
  const own = listAt(container, "env").map((entry) => [textAt(entry, "name"), valueOf(pod, entry, store)] as const);
  return Object.fromEntries([
    ...Object.entries(fixed),
    ...own.filter((entry): entry is readonly [string, string] => entry[1] !== undefined),
  ]);
}

function valueOf(pod: KubeObject, entry: Json, store: Store): string | undefined {
  const namespace = pod.metadata.namespace ?? "";
  const source = valueAt(entry, "valueFrom");
  if (source === undefined) return textAt(entry, "value");
  const field = textAt(source, "fieldRef", "fieldPath");
  if (field !== "") return fieldText(pod, field);
  const config = valueAt(source, "configMapKeyRef");
  if (config !== undefined) {
    const found = valueAt(store.get(resourceOf("ConfigMap"), { namespace, name: textAt(config, "name") }), "data", textAt(config, "key"));
    return typeof found === "string" ? found : undefined;
  }
  const secret = valueAt(source, "secretKeyRef");
  const found = valueAt(store.get(resourceOf("Secret"), { namespace, name: textAt(secret, "name") }), "data", textAt(secret, "key"));
  return typeof found === "string" ? Buffer.from(found, "base64").toString("utf8") : undefined;
}

function fieldText(pod: KubeObject, path: string): string {
  const [, map, key] = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path) ?? [];
  return map === undefined || key === undefined ? textAt(pod, ...path.split(".")) : textAt(pod, "metadata", map, key);
}
