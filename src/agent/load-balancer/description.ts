/** What would be done now, as text for people: the answer to `sallyport load-balancer plan`. Nothing is changed for it. */
import type { LoadBalancerDriver, ObservedLoadBalancer } from "./driver.ts";
import { selectNodes } from "./nodes.ts";
import type { NodeReadiness } from "./nodes.ts";
import type { ClusterView, Ingress, LoadBalancerService } from "./objects.ts";
import { findOrphans } from "./orphans.ts";
import { decideService, planLoadBalancer } from "./plan.ts";
import type { ServedClasses } from "./plan.ts";

/** A driver whose `ensure` changes nothing outside of its process. */
export interface PlanOptions {
  readonly view: ClusterView;
  readonly driver: LoadBalancerDriver;
  readonly classes: ServedClasses;
  readonly readiness: NodeReadiness;
  readonly clusterId: string;
}

/** A line for each Service that is ours, then the orphans. */
export async function describePlan(options: PlanOptions): Promise<string> {
  const { view, driver, classes, readiness, clusterId } = options;
  driver.follow(view);
  const nodes = selectNodes(view.nodes.values(), readiness);
  const lines: string[] = [`${driver.name}: ${nodes.length} of ${view.nodes.size} nodes`];
  const services = [...view.services].toSorted(([one], [other]) => (one < other ? -1 : 1));
  for (const [key, service] of services) {
    const decision = decideService(service, classes);
    if (decision === "cleanup") lines.push(`${key}: remove ${toText(service.status.ingress)}`);
    if (decision !== "wanted") continue;
    const outcome = await driver.ensure(planLoadBalancer(service, { clusterId, nodes }));
    switch (outcome.type) {
      case "ensured":
        lines.push(`${key}: ${describeChange(service, outcome.ingress)}${outcome.note === undefined ? "" : ` (${outcome.note})`}`);
        break;
      case "waiting":
        lines.push(`${key}: waits, ${outcome.message}`);
        break;
      case "refused":
        lines.push(`${key}: pending, ${outcome.message}`);
        break;
    }
  }
  const orphans = findOrphans(await driver.list(clusterId), view, { clusterId, classes });
  return [...lines, ...orphans.map(describeOrphan)].join("\n");
}

function describeOrphan({ id, owner }: ObservedLoadBalancer): string {
  return `orphan: ${id} of the Service with UID ${owner.serviceUid}, which is gone`;
}

function describeChange({ status }: LoadBalancerService, ingress: readonly Ingress[]): string {
  const [before, after] = [toText(status.ingress), toText(ingress)];
  return before === after ? `keep ${after}` : `change ${before} to ${after}`;
}

function toText(ingress: readonly Ingress[]): string {
  return ingress.length === 0 ? "nothing" : ingress.map(({ ip, hostname }) => ip ?? hostname ?? "").join(" ");
}
