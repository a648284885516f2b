/** The Kubernetes objects that decide about load balancers, reduced to what is used. Defaults of the API are filled in when they are read. */

export type IpFamily = "IPv4" | "IPv6";
export type ServiceProtocol = "TCP" | "UDP" | "SCTP";

/** A Service (v1) of type LoadBalancer, or one that was and still has our finalizer. */
export interface LoadBalancerService {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly resourceVersion: string;
  /** `metadata.creationTimestamp`, in milliseconds since the epoch. */
  readonly createdAtMs: number;
  readonly isDeleting: boolean;
  readonly isLoadBalancer: boolean;
  readonly loadBalancerClass: string | undefined;
  readonly finalizers: readonly string[];
  readonly spec: LoadBalancerSpec;
  readonly status: LoadBalancerStatus;
}

/** What a load balancer is made from: a change of anything in it is a reason to look at the load balancer again. */
export interface LoadBalancerSpec {
  readonly ports: readonly LoadBalancerPort[];
  readonly sourceRanges: readonly string[];
  readonly externalIps: readonly string[];
  readonly loadBalancerIp: string | undefined;
  readonly sessionAffinity: string;
  /** `sessionAffinityConfig.clientIP.timeoutSeconds`. */
  readonly affinitySeconds: number | undefined;
  readonly externalTrafficPolicy: "Cluster" | "Local";
  readonly healthCheckNodePort: number | undefined;
  readonly ipFamilies: readonly IpFamily[];
  readonly allocatesNodePorts: boolean;
  /** Those with a meaning for load balancers. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Changes with any annotation. */
  readonly annotationsDigest: string;
}

export interface LoadBalancerPort {
  readonly name: string;
  readonly protocol: ServiceProtocol;
  readonly port: number;
  readonly nodePort: number | undefined;
  readonly targetPort: string;
  readonly appProtocol: string | undefined;
}

export interface LoadBalancerStatus {
  readonly ingress: readonly Ingress[];
  /** Ours among `status.conditions`. */
  readonly condition: Condition | undefined;
}

/** An entry of `status.loadBalancer.ingress`. */
export interface Ingress {
  readonly ip?: string;
  readonly hostname?: string;
  readonly ipMode?: "VIP" | "Proxy";
  readonly ports?: readonly IngressPort[];
}

export interface IngressPort {
  readonly port: number;
  readonly protocol: ServiceProtocol;
  readonly error?: string;
}

/** metav1.Condition. */
export interface Condition {
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  /** RFC 3339. */
  readonly lastTransitionTime: string;
}

/** A Node (v1). */
export interface LoadBalancerNode {
  readonly name: string;
  readonly providerId: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly externalIps: readonly string[];
  readonly internalIps: readonly string[];
  readonly isReady: boolean;
  readonly isDeleting: boolean;
  /** The cluster autoscaler is about to remove it. */
  readonly isToBeDeleted: boolean;
}

/** An EndpointSlice's ready endpoints: which nodes they are on. */
export interface ReadyEndpoints {
  /** `namespace/name` of the Service. */
  readonly service: string;
  readonly family: IpFamily;
  readonly nodes: readonly string[];
}

/** What is known of the cluster. It changes in place. */
export interface ClusterView {
  /** By `namespace/name`. */
  readonly services: ReadonlyMap<string, LoadBalancerService>;
  readonly nodes: ReadonlyMap<string, LoadBalancerNode>;
  /** The nodes with a ready endpoint of a Service (`namespace/name`), of a family. */
  readyNodes(service: string, family: IpFamily): ReadonlySet<string>;
}

/** `namespace/name`. */
export function toKey({ namespace, name }: Pick<LoadBalancerService, "namespace" | "name">): string {
  return `${namespace}/${name}`;
}
