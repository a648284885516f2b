/**
 * Load balancers for Services of type LoadBalancer: observe, plan, apply.
 *
 * The controller reads the cluster, decides which Services are its own, and keeps their finalizers, status, conditions and events as the
 * service controller of Kubernetes does (k8s.io/cloud-provider). A driver knows one provider and nothing of Services' objects. What must
 * stay true: what is asked for is the whole wanted state, so doing it again is harmless; nothing is made before the finalizer is on the
 * Service, and the finalizer goes last; a driver touches only what carries its owner (cluster and Service UID); and nothing is written
 * by a controller whose Lease may have run out.
 */
import type { Ingress, LoadBalancerPort, LoadBalancerSpec, LoadBalancerNode, ClusterView } from "./objects.ts";

/** Whose a load balancer is: what a driver marks everything with that it makes, and the only thing that it goes by. */
export interface Owner {
  /** The UID of the namespace kube-system. */
  readonly clusterId: string;
  readonly serviceUid: string;
}

/** A load balancer as it should be. */
export interface WantedLoadBalancer {
  readonly owner: Owner;
  /** The Service, `namespace/name`, for names that people read; never for finding it again. */
  readonly service: string;
  readonly spec: LoadBalancerSpec;
  readonly ports: readonly LoadBalancerPort[];
  /** Sorted by name. */
  readonly nodes: readonly LoadBalancerNode[];
  /** Where to ask whether a node is to get traffic. */
  readonly healthCheck: { readonly path: string; readonly port: number };
}

/** What is there of an owner. */
export interface ObservedLoadBalancer {
  readonly owner: Owner;
  /** What the provider calls it. */
  readonly id: string;
}

export type EnsureOutcome =
  /** It is as wanted. `note`: what somebody should know all the same. */
  | { readonly type: "ensured"; readonly ingress: readonly Ingress[]; readonly note: string | undefined }
  /** The provider is not done yet: ask again after some time. */
  | { readonly type: "waiting"; readonly reason: string; readonly message: string; readonly retryMs: number }
  /** It cannot be made until the Service, or something in the cluster, changes. `ingress`: what is still served. */
  | { readonly type: "refused"; readonly reason: string; readonly message: string; readonly ingress: readonly Ingress[] };

export interface LoadBalancerDriver {
  readonly name: string;
  /** What is there; undefined when there is nothing, not even parts. */
  observe(owner: Owner): Promise<ObservedLoadBalancer | undefined>;
  /** Makes what is there like what is wanted: nothing is written when it is. Throws a ProviderError. */
  ensure(wanted: WantedLoadBalancer): Promise<EnsureOutcome>;
  /** Removes all of an owner's, parts too; nothing is there is a success. Throws a ProviderError. */
  delete(owner: Owner): Promise<void>;
  /** Everything of a cluster, whatever Service it is of: what is of no Service is an orphan. */
  list(clusterId: string): Promise<readonly ObservedLoadBalancer[]>;
  /** Takes note of the cluster, and gives the Services (`namespace/name`) whose load balancer is to be looked at because of what changed. */
  follow(view: ClusterView): readonly string[];
}

/** A provider did not do what it was asked. */
export class ProviderError extends Error {
  /** What the provider asks to wait at least (Retry-After). */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { readonly retryAfterMs?: number; readonly cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = "ProviderError";
    this.retryAfterMs = options.retryAfterMs;
  }
}
