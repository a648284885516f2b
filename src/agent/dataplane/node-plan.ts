/** What a plan for a node is made with, and what it says: shared by who plans and who acts on plans. */
import type { IpFamily, LocalDetection, NodePortAddresses, ServiceTable } from "./dataplane.ts";

/** How this node plans. */
export interface PlanOptions {
  /** `ignore`: `spec.externalIPs` of Services do nothing (CVE-2020-8554). */
  readonly externalIps: "serve" | "ignore";
  /** Where node ports are served, for each family. */
  readonly nodePortAddresses: Readonly<Record<IpFamily, NodePortAddresses>>;
  readonly localDetection: LocalDetection;
  readonly masqueradeAll: boolean;
}

/** The health check of one Service (type LoadBalancer with externalTrafficPolicy Local) in one family. */
export interface HealthCheck {
  readonly namespace: string;
  readonly name: string;
  /** `spec.healthCheckNodePort`. */
  readonly port: number;
  /** Different addresses of its ready endpoints on this node. */
  readonly localReadyEndpoints: number;
}

export interface FamilyPlan {
  readonly table: ServiceTable;
  readonly healthChecks: readonly HealthCheck[];
}

export type Plan = Readonly<Record<IpFamily, FamilyPlan>>;

/** The Services (`namespace/name`) that changed themselves or in their EndpointSlices since the last plan, or all of them. */
export type ChangedServices = ReadonlySet<string> | "all";
