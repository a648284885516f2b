/** kube-proxy's configuration file (kubeproxy.config.k8s.io/v1alpha1), which is taken as it is, and what of it has a meaning here. */
import type { ConfigurationProblem } from "#identity/configuration.ts";
import { YamlReader } from "#identity/yaml-reader.ts";
import { KubeProxyParser } from "./kube-proxy-parser.ts";

/** What the file says, defaults filled in as kube-proxy does. */
export interface KubeProxyConfiguration {
  /** As the file names it; blank means iptables there. It decides defaults: this proxy's rules are always its own. */
  readonly mode: KubeProxyMode;
  /** undefined: the pod's ServiceAccount. */
  readonly kubeconfig: string | undefined;
  /** The node's name, where it is not the host's. */
  readonly hostnameOverride: string | undefined;
  /** The node's own address, where it is not the Node object's first. */
  readonly nodeAddress: string | undefined;
  readonly healthz: ListenAddress;
  readonly metrics: ListenAddress;
  /** End when one of the two cannot be listened at, instead of trying again. */
  readonly bindAddressHardFail: boolean;
  readonly syncMs: number;
  /** undefined: the file leaves it open. kube-proxy then waits for a second, because its runs are long. */
  readonly minSyncMs: number | undefined;
  readonly masqueradeAll: boolean;
  /** Which bit of the packet mark says that a packet is to be masqueraded, 0 to 31. */
  readonly masqueradeBit: number;
  readonly localTraffic: LocalTraffic;
  readonly nodePorts: NodePortSetting;
  /** Serve node ports at the loopback addresses too. */
  readonly localhostNodePorts: boolean;
  /** `ignore`: the feature gate AllowServiceExternalIPs is off (KEP-5707). */
  readonly externalIps: "serve" | "ignore";
  readonly conntrack: ConntrackSettings;
  /** Fields that are set and have no meaning here, in file order. */
  readonly unused: readonly string[];
}

export type KubeProxyMode = "iptables" | "ipvs" | "nftables";

/** An address and port to listen at. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** How the traffic of this node's pods is known (`detectLocalMode`). */
export type LocalTraffic =
  | { readonly type: "none" }
  | { readonly type: "cidrs"; readonly cidrs: readonly string[] }
  /** `spec.podCIDRs` of the Node. */
  | { readonly type: "nodeCidrs" }
  | { readonly type: "bridge"; readonly interface: string }
  | { readonly type: "interfacePrefix"; readonly prefix: string };

/** Where node ports are served (`nodePortAddresses`). */
export type NodePortSetting =
  | { readonly type: "all" }
  /** The node's first address of each family. */
  | { readonly type: "primary" }
  /** Addresses of this machine within these ranges; a family without a range has all. */
  | { readonly type: "cidrs"; readonly cidrs: readonly string[] };

/** Settings of the kernel's connection tracking; 0 or undefined leaves one as it is. */
export interface ConntrackSettings {
  readonly maxPerCore: number;
  readonly min: number;
  readonly tcpEstablishedSeconds: number;
  readonly tcpCloseWaitSeconds: number;
  readonly udpSeconds: number;
  readonly udpStreamSeconds: number;
  readonly tcpBeLiberal: boolean;
}

export type KubeProxyConfigurationResult =
  | { readonly type: "parsed"; readonly configuration: KubeProxyConfiguration }
  | { readonly type: "invalid"; readonly problems: readonly ConfigurationProblem[] };

/** Bytes of the file: a ConfigMap's limit. */
const maxFileBytes = 1 << 20;

/** Without a file: as kube-proxy's nftables mode without one. */
export const defaultKubeProxyConfiguration: KubeProxyConfiguration = {
  mode: "nftables",
  kubeconfig: undefined,
  hostnameOverride: undefined,
  nodeAddress: undefined,
  healthz: { host: "0.0.0.0", port: 10_256 },
  metrics: { host: "127.0.0.1", port: 10_249 },
  bindAddressHardFail: false,
  syncMs: 30_000,
  minSyncMs: undefined,
  masqueradeAll: false,
  masqueradeBit: 14,
  localTraffic: { type: "none" },
  nodePorts: { type: "primary" },
  localhostNodePorts: true,
  externalIps: "serve",
  conntrack: {
    maxPerCore: 32 << 10,
    min: 128 << 10,
    tcpEstablishedSeconds: 86_400,
    tcpCloseWaitSeconds: 3_600,
    udpSeconds: 0,
    udpStreamSeconds: 0,
    tcpBeLiberal: false,
  },
  unused: [],
};

/**
 * Reads a KubeProxyConfiguration, YAML or JSON. All problems are reported at once, each with its line: what kube-proxy refuses, fields
 * that nobody knows, and what would make traffic go another way than this proxy can.
 */
export function parseKubeProxyConfiguration(text: string, fileName: string): KubeProxyConfigurationResult {
  const reader = new YamlReader(fileName, { kind: "a KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1)", program: "kube-proxy" });
  if (text.length > maxFileBytes) {
    reader.addAt(0, `the file is larger than ${maxFileBytes} bytes`);
    return { type: "invalid", problems: reader.problems };
  }
  const root = reader.parse(text);
  const configuration = root === undefined ? undefined : new KubeProxyParser(reader).parse(root);
  if (configuration === undefined || reader.problems.length > 0)
    return { type: "invalid", problems: reader.problems.toSorted((left, right) => left.line - right.line) };
  return { type: "parsed", configuration };
}
