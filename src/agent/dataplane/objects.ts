/**
 * The Kubernetes objects that decide a node's Service traffic, reduced to what is used, as they are kept in memory: tens of thousands
 * of them. Defaults of the API (an absent `ready` is true, an absent policy is Cluster) are filled in when they are read.
 */
import type { IpFamily, ProxyProtocol, ServiceProtocol } from "./dataplane.ts";

export type TrafficPolicy = "Cluster" | "Local";

/** A Service (v1) with a cluster IP. Headless, ExternalName and other proxies' Services are not kept. */
export interface ServiceObject {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** One for each family, as `spec.clusterIPs`. */
  readonly clusterIps: readonly string[];
  readonly ports: readonly ServiceObjectPort[];
  readonly type: "ClusterIP" | "NodePort" | "LoadBalancer";
  readonly externalIps: readonly string[];
  /** `status.loadBalancer.ingress` with an IP; `mode` is its `ipMode`, VIP unless given. */
  readonly ingress: readonly { readonly ip: string; readonly mode: "VIP" | "Proxy" }[];
  readonly sourceRanges: readonly string[];
  readonly internalTrafficPolicy: TrafficPolicy;
  readonly externalTrafficPolicy: TrafficPolicy;
  /** sessionAffinity ClientIP with its timeout. */
  readonly affinitySeconds: number | undefined;
  readonly healthCheckNodePort: number | undefined;
  /** The annotation `sallyport.dev/proxy-protocol`. */
  readonly proxyProtocol: ProxyProtocol;
  /** What `spec.trafficDistribution` or the topology-mode annotation asks for: only to explain why hints were ignored. */
  readonly trafficDistribution: string | undefined;
}

export interface ServiceObjectPort {
  readonly name: string;
  readonly protocol: ServiceProtocol;
  readonly port: number;
  readonly nodePort: number | undefined;
}

/** An EndpointSlice (discovery.k8s.io/v1) of a Service. FQDN slices are not kept. */
export interface EndpointSliceObject {
  readonly namespace: string;
  readonly name: string;
  /** The label `kubernetes.io/service-name`. */
  readonly service: string;
  readonly family: IpFamily;
  readonly endpoints: readonly SliceEndpoint[];
  /** Ports without a number are not kept. */
  readonly ports: readonly { readonly name: string; readonly protocol: ServiceProtocol; readonly port: number }[];
  /** The annotation `endpoints.kubernetes.io/last-change-trigger-time`, in milliseconds, for the network programming latency. */
  readonly triggeredAtMs: number | undefined;
}

export interface SliceEndpoint {
  /** `addresses[0]`. */
  readonly address: string;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly nodeName: string | undefined;
  readonly zone: string | undefined;
  /** undefined: the endpoint has no hint of this kind. */
  readonly forZones: readonly string[] | undefined;
  readonly forNodes: readonly string[] | undefined;
}

/** This node (v1). */
export interface NodeObject {
  readonly name: string;
  readonly uid: string;
  /** Of either family, primary ones first. */
  readonly internalIps: readonly string[];
  readonly zone: string | undefined;
  readonly podCidrs: readonly string[];
  /** Not being deleted, and without the taint `ToBeDeletedByClusterAutoscaler` (KEP-3836). */
  readonly isEligible: boolean;
}

/** Everything that a node's table is planned from. */
export interface ClusterObjects {
  readonly services: ReadonlyMap<string, ServiceObject>;
  /** By Service (`namespace/name`), then by slice. */
  readonly slices: ReadonlyMap<string, ReadonlyMap<string, EndpointSliceObject>>;
  readonly node: NodeObject;
  /** `spec.cidrs` of all ServiceCIDRs that are ready. */
  readonly serviceCidrs: readonly string[];
}
