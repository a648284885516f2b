/** Services with two endpoints each, as many as a measure wants, in the API's words and in the planner's. */
import type { EndpointSliceObject, ServiceObject } from "#agent/dataplane/objects.ts";
import { makeEndpoint, makeService, makeSlice } from "#test/agent/dataplane/makers.ts";

export const benchNode = "node-a";

export function clusterIpOf(index: number): string {
  return `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

/** `version` chooses the second endpoint, so that a change is one endpoint in place of another. */
export function endpointsOf(index: number, version: number): readonly string[] {
  return [
    `10.${128 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`,
    `10.${144 + (version % 32)}.${(index >> 8) & 255}.${index & 255}`,
  ];
}

export function serviceObject(index: number): ServiceObject {
  return makeService({ name: `s${index}`, uid: `uid-${index}`, clusterIps: [clusterIpOf(index)] });
}

export function sliceObject(index: number, version: number): EndpointSliceObject {
  const endpoints = endpointsOf(index, version).map((address) => makeEndpoint(address));
  return makeSlice(endpoints, { name: `s${index}`, service: `s${index}` });
}

type Json = Readonly<Record<string, unknown>>;

export function serviceJson(index: number, resourceVersion: number): Json {
  const { name, uid } = serviceObject(index);
  return {
    apiVersion: "v1",
    kind: "Service",
    metadata: { namespace: "default", name, uid, resourceVersion: String(resourceVersion) },
    spec: {
      type: "ClusterIP",
      clusterIP: clusterIpOf(index),
      clusterIPs: [clusterIpOf(index)],
      ipFamilies: ["IPv4"],
      internalTrafficPolicy: "Cluster",
      sessionAffinity: "None",
      ports: [{ name: "http", protocol: "TCP", port: 80, targetPort: 8080 }],
    },
    status: { loadBalancer: {} },
  };
}

export function sliceJson(index: number, version: number, resourceVersion: number): Json {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: {
      namespace: "default",
      name: `s${index}`,
      resourceVersion: String(resourceVersion),
      labels: { "kubernetes.io/service-name": `s${index}` },
    },
    addressType: "IPv4",
    ports: [{ name: "http", protocol: "TCP", port: 8080 }],
    endpoints: endpointsOf(index, version).map((address) => ({ addresses: [address], conditions: { ready: true }, nodeName: "node-b" })),
  };
}
