/** Objects of a cluster for forwards, and what answers an agent that reads them. */
import type { IncomingMessage, ServerResponse } from "node:http";

/** Objects by the path that they are read at. */
export type ClusterObjects = Readonly<Record<string, object>>;

export interface PodOptions {
  readonly name: string;
  readonly address: string;
  readonly namespace?: string;
  readonly phase?: string;
  readonly uid?: string;
  readonly hostNetwork?: boolean;
  readonly ready?: boolean;
  readonly terminating?: boolean;
  readonly ports?: readonly { readonly name: string; readonly containerPort: number; readonly protocol?: string }[];
}

export function pod(options: PodOptions): object {
  const { name, address, namespace = "web", phase = "Running", uid = `uid-${name}`, ports = [] } = options;
  return {
    metadata: { namespace, name, uid, ...(options.terminating === true && { deletionTimestamp: "2026-11-01T00:00:00Z" }) },
    spec: { nodeName: "n1", hostNetwork: options.hostNetwork ?? false, containers: [{ ports }] },
    status: { phase, podIPs: [{ ip: address }], conditions: [{ type: "Ready", status: options.ready === false ? "False" : "True" }] },
  };
}

export interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly protocol?: string;
}

export function service(ports: readonly ServicePort[], spec: object = {}): object {
  return { spec: { type: "ClusterIP", selector: { app: "web" }, ports, ...spec } };
}

export interface EndpointOptions {
  readonly address: string;
  readonly pod?: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly conditions?: object;
}

export function slices(ports: readonly ServicePort[], endpoints: readonly EndpointOptions[], addressType = "IPv4"): object {
  return {
    items: [
      {
        addressType,
        ports: ports.map(({ name = "", port, protocol = "TCP" }) => ({ name, port, protocol })),
        endpoints: endpoints.map(({ address, pod: name, namespace = "web", uid, conditions = { ready: true } }) => ({
          addresses: [address],
          conditions,
          ...(name !== undefined && { targetRef: { kind: "Pod", namespace, name, ...(uid !== undefined && { uid }) } }),
        })),
      },
    ],
  };
}

export function node(address: string): object {
  return { status: { addresses: [{ type: "InternalIP", address }] } };
}

/** Where objects are read: the agent's own requests, and nobody else's, come to these paths. */
export const paths = {
  pod: (name: string, namespace = "web"): string => `/api/v1/namespaces/${namespace}/pods/${name}`,
  service: (name: string, namespace = "web"): string => `/api/v1/namespaces/${namespace}/services/${name}`,
  slices: (namespace = "web"): string => `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`,
  deployment: (name: string, namespace = "web"): string => `/apis/apps/v1/namespaces/${namespace}/deployments/${name}`,
  pods: (namespace = "web"): string => `/api/v1/namespaces/${namespace}/pods`,
  node: (name: string): string => `/api/v1/nodes/${name}`,
};

/** Answers what is there, and 404 for the rest. */
export function answerObjects(objects: ClusterObjects): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const object = objects[request.url?.split("?")[0] ?? ""];
    const body = object ?? { kind: "Status", status: "Failure", reason: "NotFound", code: 404 };
    response.writeHead(object === undefined ? 404 : 200, { "content-type": "application/json" }).end(JSON.stringify(body));
  };
}
