/** Load balancers of this cluster that no Service wants any more: they cost money, and nobody sees them. They are reported, never removed. */
import type { ObservedLoadBalancer } from "./driver.ts";
import type { ClusterView } from "./objects.ts";
import { decideService } from "./plan.ts";
import type { ServedClasses } from "./plan.ts";

export interface OrphanScope {
  readonly clusterId: string;
  readonly classes: ServedClasses;
}

/** Of what a driver lists: those of this cluster whose Service is gone, or is another controller's. */
export function findOrphans(
  listed: readonly ObservedLoadBalancer[],
  view: ClusterView,
  { clusterId, classes }: OrphanScope,
): readonly ObservedLoadBalancer[] {
  const owners = new Set(
    [...view.services.values()].filter((service) => decideService(service, classes) !== "foreign").map(({ uid }) => uid),
  );
  return listed.filter(({ owner }) => owner.clusterId === clusterId && !owners.has(owner.serviceUid));
}
