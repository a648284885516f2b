/**
 * What a node does for Services, as data: which new connections meet which endpoints. `plan` makes these tables from Kubernetes' objects
 * (kube-proxy's rules, without a packet in sight), a dataplane makes the machine obey them (nftables, or sockets of our own), and
 * `sallyport trace service` explains them. What must stay true: a table is complete, never a change; a dataplane finds the change
 * itself, so that applying a table twice does nothing, and applying it after a crash repairs what is there.
 */

export type IpFamily = "IPv4" | "IPv6";
export type ServiceProtocol = "TCP" | "UDP" | "SCTP";

/**
 * Whether a Service's pods are told their client's address at the beginning of a TCP connection (PROXY protocol, version 1 or 2). Off unless
 * a Service asks for it: a pod that does not expect the header takes it for its client's bytes.
 */
export type ProxyProtocol = "none" | "v1" | "v2";

/** One endpoint of a Service port, as it is dialled. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
  /** Whether it runs on this node. */
  readonly isLocal: boolean;
}

/** What a new connection meets. `drop`: endpoints exist, but the traffic policy allows none of them here. `reject`: there is none anywhere. */
export type Outcome =
  | { readonly type: "balance"; readonly endpoints: readonly Endpoint[] }
  | { readonly type: "drop" }
  | { readonly type: "reject" };

/** One port of one Service in one IP family. */
export interface ServicePort {
  readonly namespace: string;
  readonly name: string;
  /** Empty for a Service's only, unnamed port. */
  readonly portName: string;
  readonly family: IpFamily;
  readonly protocol: ServiceProtocol;
  readonly clusterIp: string;
  /** The port at the cluster IP, external IPs and load balancer IPs. */
  readonly port: number;
  readonly nodePort: number | undefined;
  readonly externalIps: readonly string[];
  /** Load balancers' addresses whose `ipMode` is VIP: this node answers for them itself. */
  readonly loadBalancerIps: readonly string[];
  /** CIDRs of this family that may reach the load balancer IPs; undefined: everybody. */
  readonly sourceRanges: readonly string[] | undefined;
  /** To the cluster IP (internalTrafficPolicy). */
  readonly internal: Outcome;
  /** To node port, external and load balancer IPs, from outside (externalTrafficPolicy). */
  readonly external: Outcome;
  /** To the same addresses from pods of this node and from the node itself, which externalTrafficPolicy Local does not bind. */
  readonly externalFromInside: Outcome;
  /** externalTrafficPolicy Local: the client's address is kept. */
  readonly keepsClientAddress: boolean;
  /** sessionAffinity ClientIP: how long a client sticks to its endpoint. */
  readonly affinitySeconds: number | undefined;
  /** For dataplanes that make connections of their own; rules for packets cannot put anything into one. */
  readonly proxyProtocol: ProxyProtocol;
  /** Addresses of endpoints that serve, ready or terminating: UDP flows to others are stale (conntrack reconciliation). */
  readonly serving: readonly Endpoint[];
}

/** How sources are told apart (KubeProxyConfiguration `detectLocalMode`): whose traffic comes from pods of this node. */
export type LocalDetection =
  | { readonly type: "none" }
  | { readonly type: "cidrs"; readonly cidrs: readonly string[] }
  | { readonly type: "bridge"; readonly interface: string }
  | { readonly type: "interfacePrefix"; readonly prefix: string };

/** Which of the node's addresses node ports are served at. */
export type NodePortAddresses = { readonly type: "all" } | { readonly type: "only"; readonly addresses: readonly string[] };

/** All that one family's dataplane must do on this node. */
export interface ServiceTable {
  readonly family: IpFamily;
  readonly ports: readonly ServicePort[];
  readonly nodePortAddresses: NodePortAddresses;
  readonly localDetection: LocalDetection;
  /** Mask everything that goes to a cluster IP, not only what comes from outside. */
  readonly masqueradeAll: boolean;
  /** CIDRs of this family that cluster IPs come from: what is not allocated in them is dropped. */
  readonly serviceCidrs: readonly string[];
}

/** What one `apply` did. */
export type ApplyOutcome =
  | { readonly type: "applied"; readonly changes: number }
  /** The machine refused, or is not as it should be; `message` has the tool's own words. The next apply starts from what is there. */
  | { readonly type: "failed"; readonly message: string };

/** What a frontend of sockets is for. `localhostNodePort`: a node port at 127.0.0.1 or ::1. */
export type SocketKind = "clusterIp" | "loadBalancerIp" | "externalIp" | "nodePort" | "localhostNodePort";

/** Frontends of one kind that sockets serve, added up. What is counted grows for as long as the process lives. */
export interface FrontendGroup {
  readonly family: IpFamily;
  readonly kind: SocketKind;
  readonly protocol: ServiceProtocol;
  /** `closed`: the table lets nobody in. `failed`: no socket could be opened. */
  readonly states: Readonly<Record<"listening" | "closed" | "failed", number>>;
  /** Times that a socket could not be opened. */
  readonly bindFailures: number;
  readonly counts: FrontendCounts;
}

export interface FrontendCounts {
  /** TCP connections and UDP flows that reached an endpoint. */
  readonly connections: number;
  /** Those of them that go on. */
  readonly active: number;
  readonly bytesFromClients: number;
  readonly bytesToClients: number;
  /** Clients that were turned away: by policy, by a limit, or because no endpoint took them. Of UDP, datagrams. */
  readonly refused: number;
  /** Times that another endpoint was asked because one did not take the connection. */
  readonly failovers: number;
}

/** A frontend that should be served and is not. */
export interface FailedFrontend {
  readonly family: IpFamily;
  readonly kind: SocketKind;
  readonly protocol: ServiceProtocol;
  readonly address: string;
  readonly port: number;
  /** `namespace/name`, or `namespace/name:port`. */
  readonly service: string;
  /** What is wrong and what to do, for people. */
  readonly reason: string;
}

/** The sockets of a dataplane, for metrics and people. */
export interface SocketsView {
  groups(): readonly FrontendGroup[];
  failed(): readonly FailedFrontend[];
}

/** One way to make the machine obey. Calls never overlap: the sync loop waits for one before the next. */
export interface Dataplane {
  readonly name: "nftables" | "userspace";
  apply(table: ServiceTable): Promise<ApplyOutcome>;
  /** Reads back what the machine has and repairs it: hourly, and after an error. */
  verify(table: ServiceTable): Promise<ApplyOutcome>;
  /** Lets go without changing what the machine does; a userspace dataplane cannot but close its sockets. */
  close(): Promise<void>;
  /** Removes everything of ours. */
  cleanup(): Promise<void>;
}
