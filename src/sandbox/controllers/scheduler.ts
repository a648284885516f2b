/** Places pods on nodes: the schedulable node with the fewest pods. */
import type { EventRecorder } from "#sandbox/node/events.ts";
import { textAt, valueAt, withValue } from "#sandbox/objects/json.ts";
import { isTerminating } from "#sandbox/objects/object.ts";
import type { KubeObject } from "#sandbox/objects/object.ts";
import { resourceOf } from "#sandbox/objects/resources.ts";
import type { Registry } from "#sandbox/registry/registry.ts";
import { fromKey } from "./work-queue.ts";

/** Places the pod of a key if it is not placed yet. */
export function schedule(registry: Registry, events: EventRecorder, key: string): void {
  const { store } = registry;
  const pod = store.get(resourceOf("Pod"), fromKey(key));
  if (pod === undefined || textAt(pod, "spec", "nodeName") !== "" || isTerminating(pod)) return;
  const node = chooseNode(store.list(resourceOf("Node")), store.list(resourceOf("Pod")));
  if (node === undefined) {
    events.record(pod, {
      type: "Warning",
      reason: "FailedScheduling",
      message: "0 nodes are available: all are unschedulable.",
      source: "default-scheduler",
    });
    return;
  }
  // Binding: the one change of a pod's spec that only the scheduler makes.
  store.put(resourceOf("Pod"), withValue(pod, ["spec", "nodeName"], node.metadata.name));
  const message = `Successfully assigned ${key} to ${node.metadata.name}`;
  events.record(pod, { type: "Normal", reason: "Scheduled", message, source: "default-scheduler" });
}

function chooseNode(nodes: readonly KubeObject[], pods: readonly KubeObject[]): KubeObject | undefined {
  const count = (node: KubeObject): number => pods.filter((pod) => textAt(pod, "spec", "nodeName") === node.metadata.name).length;
  const open = nodes.filter((node) => valueAt(node, "spec", "unschedulable") !== true);
  return open.map((node) => ({ node, pods: count(node) })).toSorted((a, b) => a.pods - b.pods)[0]?.node;
}
