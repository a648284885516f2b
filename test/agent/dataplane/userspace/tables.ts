/** Makers of tables for the userspace dataplane. Addresses of 127.0.0.0/8 stand in for a node's: every one of them is local. */
import type { Endpoint, Outcome, ServicePort, ServiceTable } from "#agent/dataplane/dataplane.ts";

/** A loopback address of this process's own: no test that runs beside it takes its ports. */
export const nodeAddress = ["127", 128 | ((process.pid >> 16) & 127), (process.pid >> 8) & 255, process.pid & 255].join(".");

/** Another one: from the same address a client could be given the port that it wants to reach, and would reach itself. */
export const clientAddress = "127.0.0.2";

export function endpoint(port: number, address = nodeAddress): Endpoint {
  return { address, port, isLocal: true };
}

export function balance(...endpoints: readonly Endpoint[]): Outcome {
  return { type: "balance", endpoints };
}

/** A Service port whose traffic goes to the same endpoints by every way, unless said otherwise. */
export function servicePort(changes: Partial<ServicePort> & { readonly endpoints?: readonly Endpoint[] } = {}): ServicePort {
  const { endpoints = [], ...rest } = changes;
  const outcome: Outcome = endpoints.length === 0 ? { type: "reject" } : { type: "balance", endpoints };
  return {
    namespace: "shop",
    name: "web",
    portName: "",
    family: "IPv4",
    protocol: "TCP",
    // No address of this machine.
    clusterIp: "192.0.2.1",
    port: 80,
    nodePort: undefined,
    externalIps: [],
    loadBalancerIps: [],
    sourceRanges: undefined,
    internal: outcome,
    external: outcome,
    externalFromInside: outcome,
    keepsClientAddress: false,
    affinitySeconds: undefined,
    proxyProtocol: "none",
    serving: endpoints,
    ...rest,
  };
}

export function serviceTable(ports: readonly ServicePort[], changes: Partial<ServiceTable> = {}): ServiceTable {
  return {
    family: "IPv4",
    ports,
    nodePortAddresses: { type: "only", addresses: [] },
    localDetection: { type: "none" },
    masqueradeAll: false,
    serviceCidrs: ["192.0.2.0/24"],
    ...changes,
  };
}
