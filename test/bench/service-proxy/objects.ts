/** Services with two endpoints each or more, as many as a measure wants, in the API's words and in the planner's. */
import type { EndpointSliceObject, ServiceObject } from "#agent/dataplane/objects.ts";
import { makeEndpoint, makeService, makeSlice } from "#test/agent/dataplane/makers.ts";

export const benchNode = "node-a";

export function clusterIpOf(index: number): string {
  return `10.${96 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

/** Every Service listens here, and its endpoints at `endpointPort`. */
export const benchPort = 80;
export const endpointPort = 8080;

/** What the first Service has beside it: ports for programs that make load. Each is its endpoints' port too. */
export const loadPorts = { http: 8081, iperf: 5201 } as const;

const firstVersionOctet = 200;
/** So many versions of an endpoint have an address of their own. */
const versionAddresses = 32;

/** The endpoint that a version of a Service's slice has and no version beside it, so that a change is one endpoint in place of another. */
export function changingEndpoint(index: number, version: number): string {
  return `10.${firstVersionOctet + (version % versionAddresses)}.${(index >> 8) & 255}.${index & 255}`;
}

/** Addresses for up to 65,536 Services with up to 70 endpoints each. */
export function endpointsOf(index: number, version: number, count = 2): readonly string[] {
  const lasting = Array.from({ length: count - 1 }, (_, place) => `10.${128 + place}.${(index >> 8) & 255}.${index & 255}`);
  return [...lasting, changingEndpoint(index, version)];
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
      ports: [
        { name: "http", protocol: "TCP", port: benchPort, targetPort: endpointPort },
        ...loadPortsOf(index).map(([load, port]) => ({ name: load, protocol: "TCP", port, targetPort: port })),
      ],
    },
    status: { loadBalancer: {} },
  };
}

export function sliceJson(index: number, version: number, resourceVersion: number, count = 2): Json {
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
    ports: [
      { name: "http", protocol: "TCP", port: endpointPort },
      ...loadPortsOf(index).map(([name, port]) => ({ name, protocol: "TCP", port })),
    ],
    endpoints: endpointsOf(index, version, count).map((address) => ({
      addresses: [address],
      conditions: { ready: true },
      nodeName: "node-b",
    })),
  };
}

function loadPortsOf(index: number): readonly (readonly [string, number])[] {
  return index === 0 ? Object.entries(loadPorts).map(([name, port]) => [`load-${name}`, port] as const) : [];
}
