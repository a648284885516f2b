/** What is to become of a Service: pure decisions, as the service controller of Kubernetes makes them. */
import { isDeepStrictEqual } from "node:util";
import type { Owner, WantedLoadBalancer } from "./driver.ts";
import type { LoadBalancerNode, LoadBalancerService } from "./objects.ts";
import { toKey } from "./objects.ts";

/** The finalizer that every service controller puts on a Service. */
export const cleanupFinalizer = "service.kubernetes.io/load-balancer-cleanup";

/**
 * Which Services are ours: those of one class, and with `takesUnclassed` those that name no class.
 *
 * The class is also the name of a finalizer of ours, beside the common one. Kubernetes' own service controller takes the common one from
 * every Service that is being deleted or changes its type, also where the Service is another's; this one says whose it is, also when a
 * changed type has wiped the class, and nobody else removes it.
 */
export interface ServedClasses {
  readonly loadBalancerClass: string;
  readonly takesUnclassed: boolean;
}

/** `foreign`: not ours, and nothing of ours is left of it. */
export type ServiceDecision = "wanted" | "cleanup" | "foreign";

export function decideService(service: LoadBalancerService, classes: ServedClasses): ServiceDecision {
  if (wantsLoadBalancer(service, classes) && !service.isDeleting) return "wanted";
  return service.finalizers.includes(classes.loadBalancerClass) ? "cleanup" : "foreign";
}

/** Whether a change of a Service is a reason to ensure its load balancer. */
export function needsEnsure(before: LoadBalancerService, after: LoadBalancerService, classes: ServedClasses): boolean {
  const [wanted, wants] = [wantsLoadBalancer(before, classes), wantsLoadBalancer(after, classes)];
  if (!wanted && !wants) return false;
  return wanted !== wants || before.uid !== after.uid || !isDeepStrictEqual(before.spec, after.spec);
}

export interface PlanContext {
  readonly clusterId: string;
  readonly nodes: readonly LoadBalancerNode[];
}

/** The port where a service proxy says whether it works (KEP-3836). */
const proxyHealthPort = 10_256;

/** The load balancer that a Service asks for. */
export function planLoadBalancer(service: LoadBalancerService, { clusterId, nodes }: PlanContext): WantedLoadBalancer {
  const { spec } = service;
  const isLocal = spec.externalTrafficPolicy === "Local" && spec.healthCheckNodePort !== undefined;
  return {
    owner: toOwner(service, clusterId),
    service: toKey(service),
    spec,
    ports: spec.ports,
    nodes,
    healthCheck: { path: "/healthz", port: isLocal ? (spec.healthCheckNodePort ?? proxyHealthPort) : proxyHealthPort },
  };
}

export function toOwner({ uid }: LoadBalancerService, clusterId: string): Owner {
  return { clusterId, serviceUid: uid };
}

function wantsLoadBalancer({ isLoadBalancer, loadBalancerClass }: LoadBalancerService, classes: ServedClasses): boolean {
  if (!isLoadBalancer) return false;
  return loadBalancerClass === undefined ? classes.takesUnclassed : loadBalancerClass === classes.loadBalancerClass;
}
