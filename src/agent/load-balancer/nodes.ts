/** Which nodes stand behind load balancers: those that a health check may choose from (KEP-3458), whatever their state now. */
import type { LoadBalancerNode } from "./objects.ts";

export const excludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers";

/** Whether a node that is not ready is left out. `ignore` is for providers with health checks of their own. */
export type NodeReadiness = "ignore" | "require";

/** Whether the label lets the node in: one whose value is no boolean keeps it out. */
export function isIncluded({ labels }: Pick<LoadBalancerNode, "labels">): boolean {
  const value = labels[excludeLabel];
  return value === undefined || falseTexts.has(value);
}

/** The nodes of load balancers now, by name. Where no node is ready, readiness says nothing about one of them and is ignored. */
export function selectNodes(nodes: Iterable<LoadBalancerNode>, readiness: NodeReadiness): readonly LoadBalancerNode[] {
  const stable = [...nodes].filter((node) => !node.isDeleting && !node.isToBeDeleted && isIncluded(node)).toSorted(byName);
  const ready = stable.filter(({ isReady }) => isReady);
  return readiness === "ignore" || ready.length === 0 ? stable : ready;
}

/** Whether a changed node is a reason to look at load balancers: a taint, and by itself a deletion that has begun, are none. */
export function isNodeChange(before: LoadBalancerNode, after: LoadBalancerNode, readiness: NodeReadiness): boolean {
  return (
    isIncluded(before) !== isIncluded(after) ||
    before.providerId !== after.providerId ||
    toAddresses(before) !== toAddresses(after) ||
    JSON.stringify(before.labels) !== JSON.stringify(after.labels) ||
    (readiness === "require" && before.isReady !== after.isReady)
  );
}

/** Differs when load balancers must learn of other nodes. */
export function toNodeSignature(nodes: readonly LoadBalancerNode[]): string {
  return nodes.map((node) => `${node.name} ${node.providerId} ${toAddresses(node)}`).join("\n");
}

/** strconv.ParseBool. */
const falseTexts: ReadonlySet<string> = new Set(["0", "f", "F", "false", "FALSE", "False"]);

function toAddresses({ externalIps, internalIps }: LoadBalancerNode): string {
  return `${externalIps.join()} ${internalIps.join()}`;
}

function byName(one: LoadBalancerNode, other: LoadBalancerNode): number {
  return one.name < other.name ? -1 : 1;
}
