/** Objects and tables with defaults, so that a test names only what it is about. */
import type { IpFamily, ServicePort, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { makeService as makeAnyService } from "../dataplane/makers.ts";
import { servicePort } from "../dataplane/userspace/tables.ts";
import type { EndpointSliceObject, NodeObject, ServiceObject } from "#agent/dataplane/objects.ts";

export function makeService(fields: Partial<ServiceObject> = {}): ServiceObject {
  const ports = [{ name: "", protocol: "TCP", port: 80, nodePort: undefined }] as const;
  return makeAnyService({ namespace: "shop", uid: "u1", clusterIps: ["10.96.0.7"], ports, ...fields });
}

export function makeSlice(fields: Partial<EndpointSliceObject> = {}): EndpointSliceObject {
  return {
    namespace: "shop",
    name: "web-1",
    service: "web",
    family: "IPv4",
    endpoints: [],
    ports: [],
    triggeredAtMs: undefined,
    ...fields,
  };
}

export function makeNode(fields: Partial<NodeObject> = {}): NodeObject {
  return { name: "node-1", uid: "", internalIps: ["10.1.0.1"], zone: undefined, podCidrs: [], isEligible: true, ...fields };
}

export function makePort(fields: Partial<ServicePort> = {}): ServicePort {
  return servicePort({ clusterIp: "10.96.0.7", ...fields });
}

export function makeTable(family: IpFamily = "IPv4", fields: Partial<ServiceTable> = {}): ServiceTable {
  return {
    family,
    ports: [],
    nodePortAddresses: { type: "all" },
    localDetection: { type: "none" },
    masqueradeAll: false,
    serviceCidrs: [],
    ...fields,
  };
}
