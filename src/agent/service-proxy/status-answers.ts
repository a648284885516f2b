/** What the proxy's two servers answer: the health server (port 10256) and the metrics server (port 10249), with kube-proxy's paths. */
import { answerHealthz, answerLivez } from "./health.ts";
import type { HealthAnswer, HealthStatus } from "./health.ts";
import type { Answer, HttpAnswer } from "./http-listener.ts";
import type { KubeProxyConfiguration, LocalTraffic } from "./kube-proxy-configuration.ts";

export interface HealthSource {
  readonly status: () => HealthStatus;
  readonly isNodeEligible: () => boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of each answer, to be counted. */
  readonly onAsked: (endpoint: "healthz" | "livez", status: number) => void;
}

export interface MetricsSource {
  readonly metrics: () => string;
  /** The dataplane's name. */
  readonly mode: string;
  readonly configuration: KubeProxyConfiguration;
}

const notFound: HttpAnswer = { status: 404, contentType: "text/plain; charset=utf-8", body: "404 page not found\n" };

/** /healthz and /livez. */
export function healthAnswers(source: HealthSource): Answer {
  const counted = (endpoint: "healthz" | "livez", { status, body }: HealthAnswer): HttpAnswer => {
    source.onAsked(endpoint, status);
    return { status, contentType: "application/json", body };
  };
  return (path) => {
    switch (path) {
      case "/healthz":
        return counted("healthz", answerHealthz(source.status(), source.now(), source.isNodeEligible()));
      case "/livez":
        return counted("livez", answerLivez(source.status(), source.now()));
      default:
        return notFound;
    }
  };
}

/** /metrics, /proxyMode, /configz, and /healthz of the server itself. */
export function metricsAnswers(source: MetricsSource): Answer {
  return (path) => {
    switch (path) {
      case "/metrics":
        return { status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: source.metrics() };
      case "/proxyMode":
        return { status: 200, contentType: "text/plain; charset=utf-8", body: source.mode };
      case "/configz":
        return { status: 200, contentType: "application/json", body: JSON.stringify(renderConfiguration(source.configuration)) };
      case "/healthz":
        return { status: 200, contentType: "text/plain; charset=utf-8", body: "ok" };
      default:
        return notFound;
    }
  };
}

/** The configuration in the words of kubeproxy.config.k8s.io/v1alpha1, with its defaults. */
function renderConfiguration(configuration: KubeProxyConfiguration): object {
  const { mode, healthz, metrics, conntrack, localTraffic, nodePorts } = configuration;
  const seconds = (count: number) => `${count}s`;
  const address = ({ host, port }: { readonly host: string; readonly port: number }) =>
    `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return {
    "kubeproxy.config.k8s.io": {
      apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
      kind: "KubeProxyConfiguration",
      mode,
      clientConnection: { kubeconfig: configuration.kubeconfig ?? "" },
      hostnameOverride: configuration.hostnameOverride ?? "",
      healthzBindAddress: address(healthz),
      metricsBindAddress: address(metrics),
      bindAddressHardFail: configuration.bindAddressHardFail,
      [mode]: {
        masqueradeAll: configuration.masqueradeAll,
        syncPeriod: seconds(configuration.syncMs / 1000),
        minSyncPeriod: seconds((configuration.minSyncMs ?? 0) / 1000),
      },
      ...renderLocalTraffic(localTraffic),
      nodePortAddresses: nodePorts.type === "cidrs" ? nodePorts.cidrs : nodePorts.type === "primary" ? ["primary"] : [],
      conntrack: {
        maxPerCore: conntrack.maxPerCore,
        min: conntrack.min,
        tcpEstablishedTimeout: seconds(conntrack.tcpEstablishedSeconds),
        tcpCloseWaitTimeout: seconds(conntrack.tcpCloseWaitSeconds),
        tcpBeLiberal: conntrack.tcpBeLiberal,
        udpTimeout: seconds(conntrack.udpSeconds),
        udpStreamTimeout: seconds(conntrack.udpStreamSeconds),
      },
    },
  };
}

function renderLocalTraffic(local: LocalTraffic): object {
  switch (local.type) {
    case "none":
      return { detectLocalMode: "ClusterCIDR", clusterCIDR: "" };
    case "cidrs":
      return { detectLocalMode: "ClusterCIDR", clusterCIDR: local.cidrs.join(",") };
    case "nodeCidrs":
      return { detectLocalMode: "NodeCIDR" };
    case "bridge":
      return { detectLocalMode: "BridgeInterface", detectLocal: { bridgeInterface: local.interface } };
    case "interfacePrefix":
      return { detectLocalMode: "InterfaceNamePrefix", detectLocal: { interfaceNamePrefix: local.prefix } };
  }
}
