import { describe, expect, it } from "vitest";
import { isCidr, parseDuration, parseListenAddress } from "#agent/service-proxy/address-text.ts";
import { defaultKubeProxyConfiguration, parseKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import type { KubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";

const head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

function read(body: string): KubeProxyConfiguration {
  const result = parseKubeProxyConfiguration(head + body, "config.yaml");
  if (result.type === "invalid") throw new Error(JSON.stringify(result.problems));
  return result.configuration;
}

function problemsOf(body: string): readonly string[] {
  const result = parseKubeProxyConfiguration(head + body, "config.yaml");
  return result.type === "parsed" ? [] : result.problems.map(({ file, line, message }) => `${file}:${line}: ${message}`);
}

/** What `kubeadm init` puts into the ConfigMap kube-proxy (v1.34). */
const kubeadm = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
`;

describe("kube-proxy's configuration file", () => {
  it("as kubeadm writes it is taken unchanged, with nothing to say about it", () => {
    expect(parseKubeProxyConfiguration(kubeadm, "config.conf")).toEqual({
      type: "parsed",
      configuration: {
        ...defaultKubeProxyConfiguration,
        mode: "iptables",
        kubeconfig: "/var/lib/kube-proxy/kubeconfig.conf",
        localTraffic: { type: "cidrs", cidrs: ["10.244.0.0/16"] },
        nodePorts: { type: "all" },
      },
    });
  });

  it("that says nothing but nftables means what no file means", () => {
    expect(read("mode: nftables\n")).toEqual(defaultKubeProxyConfiguration);
  });

  it("is JSON too", () => {
    const text = JSON.stringify({ apiVersion: "kubeproxy.config.k8s.io/v1alpha1", kind: "KubeProxyConfiguration", mode: "nftables" });
    expect(parseKubeProxyConfiguration(text, "c.json").type).toBe("parsed");
  });

  it.each([
    [
      "iptables: { syncPeriod: 1m, minSyncPeriod: 2s, masqueradeAll: true, localhostNodePorts: false }",
      { syncMs: 60_000, minSyncMs: 2_000, masqueradeAll: true, localhostNodePorts: false },
    ],
    [
      "mode: nftables\nnftables: { syncPeriod: 1h0m0s, minSyncPeriod: 500ms, masqueradeBit: 15 }\niptables: { syncPeriod: 5s }",
      { syncMs: 3_600_000, minSyncMs: 500, masqueradeBit: 15 },
    ],
    [
      "mode: ipvs\nipvs: { scheduler: rr }\niptables: { masqueradeAll: true }",
      { mode: "ipvs", minSyncMs: undefined, masqueradeAll: true, nodePorts: { type: "all" } },
    ],
    ["nodePortAddresses: [primary]", { nodePorts: { type: "primary" } }],
    [
      "mode: nftables\nnodePortAddresses: [192.168.0.0/16, 'fd00::/8']",
      { nodePorts: { type: "cidrs", cidrs: ["192.168.0.0/16", "fd00::/8"] } },
    ],
    ["clusterCIDR: '10.4.0.0/16, fd00:4::/56'", { localTraffic: { type: "cidrs", cidrs: ["10.4.0.0/16", "fd00:4::/56"] } }],
    ["detectLocalMode: NodeCIDR", { localTraffic: { type: "nodeCidrs" } }],
    ["detectLocalMode: BridgeInterface\ndetectLocal: { bridgeInterface: cbr0 }", { localTraffic: { type: "bridge", interface: "cbr0" } }],
    [
      "detectLocalMode: InterfaceNamePrefix\ndetectLocal: { interfaceNamePrefix: veth }",
      { localTraffic: { type: "interfacePrefix", prefix: "veth" } },
    ],
    ["bindAddress: '::'", { nodeAddress: undefined, healthz: { host: "::", port: 10_256 }, metrics: { host: "::1", port: 10_249 } }],
    ["bindAddress: 10.1.0.1", { nodeAddress: "10.1.0.1" }],
    [
      "healthzBindAddress: 127.0.0.1\nmetricsBindAddress: '[::]:9000'",
      { healthz: { host: "127.0.0.1", port: 10_256 }, metrics: { host: "::", port: 9_000 } },
    ],
    ["featureGates: { AllowServiceExternalIPs: false }", { externalIps: "ignore", unused: [] }],
    [
      "conntrack: { maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 5m, udpTimeout: 30s, tcpBeLiberal: true }",
      {
        conntrack: {
          maxPerCore: 0,
          min: 131_072,
          tcpEstablishedSeconds: 0,
          tcpCloseWaitSeconds: 300,
          udpSeconds: 30,
          udpStreamSeconds: 0,
          tcpBeLiberal: true,
        },
      },
    ],
    ["hostnameOverride: ' Node-7 '", { hostnameOverride: "node-7" }],
  ])("%s is understood", (body, wanted) => {
    expect(read(`${body}\n`)).toMatchObject(wanted);
  });

  it("names what it sets without a meaning here, in the file's order", () => {
    const body =
      "oomScoreAdj: -999\nclientConnection: { qps: 20, kubeconfig: /k }\nfeatureGates: { ContextualLogging: true }\nipvs: { strictARP: true }\nlogging: { verbosity: 2 }\nnftables: { masqueradeBit: 15 }\n";
    expect(read(body).unused).toEqual([
      "oomScoreAdj",
      "clientConnection.qps",
      "featureGates.ContextualLogging",
      "ipvs.strictARP",
      "logging",
    ]);
  });

  it("with many problems is told all of them, each with its line", () => {
    const body = [
      "mode: kernelspace",
      "bindAddress: here",
      "healthzBindAddress: 0.0.0.0:99999",
      "nodePortAddresses: [primary, 10.0.0.0/33]",
      "clusterCIDR: 10.0.0.0",
      "detectLocalMode: Magic",
      "conntrack: { min: -1, udpTimeout: 30 }",
      "iptables: { syncPeriod: 1s, minSyncPeriod: 5s, masqueradeBit: 32 }",
      "proxyThings: true",
    ];
    expect(problemsOf(`${body.join("\n")}\n`)).toEqual([
      "config.yaml:3: mode: this must be iptables, ipvs, nftables or blank; other modes are not for Linux",
      "config.yaml:4: bindAddress: this must be an IP address",
      "config.yaml:5: healthzBindAddress: this must be an IP address, or one with a port such as 0.0.0.0:10256",
      'config.yaml:6: nodePortAddresses: "primary" stands alone; remove it or the ranges',
      "config.yaml:7: clusterCIDR: this must be a range such as 10.244.0.0/16, or one of each family with a comma between them",
      "config.yaml:8: detectLocalMode: this must be ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix or blank",
      "config.yaml:9: conntrack.min: this must not be negative; 0 leaves the kernel's value",
      "config.yaml:9: conntrack.udpTimeout: this must be a text; put it in quotes",
      "config.yaml:10: iptables.masqueradeBit: this must be a bit of the packet mark, 0 to 31",
      "config.yaml:10: iptables.minSyncPeriod: this must not be longer than syncPeriod",
      expect.stringMatching(/^config\.yaml:11: unknown field proxyThings; the fields here are apiVersion, /),
    ]);
  });

  it.each([
    ["mode: ipvs\nipvs: { scheduler: lc }", "ipvs.scheduler"],
    ["featureGates: { TopologyAwareHints: false }", "featureGates.TopologyAwareHints"],
    ["detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface"],
    ["nodePortAddresses: [all]", "nodePortAddresses[0]"],
    ["clusterCIDR: 10.0.0.0/8,10.1.0.0/16", "clusterCIDR"],
  ])("%s would change traffic, and is refused", (body, where) => {
    expect(problemsOf(`${body}\n`)).toEqual([expect.stringContaining(`: ${where}: `)]);
  });

  it("that is another document is not one", () => {
    expect(parseKubeProxyConfiguration("", "f").type).toBe("invalid");
    expect(parseKubeProxyConfiguration("apiVersion: v1\nkind: Pod\n", "f").type).toBe("invalid");
    expect(parseKubeProxyConfiguration(`${head}---\n${head}`, "f")).toMatchObject({
      problems: [{ line: 3, message: expect.stringContaining("kube-proxy reads the first only") }],
    });
  });
});

describe("an address as people write it", () => {
  it.each([
    ["10.0.0.0/8", true],
    ["fd00::/64", true],
    ["10.0.0.0", false],
    ["10.0.0.0/33", false],
    ["10.0.0/8", false],
    ["fd00::/129", false],
    ["10.0.0.0/8/8", false],
    ["10.0.0.0/-1", false],
  ])("%s is a range: %s", (text, wanted) => {
    expect(isCidr(text)).toBe(wanted);
  });

  it.each([
    ["0.0.0.0:1", { host: "0.0.0.0", port: 1 }],
    ["::1", { host: "::1", port: 9 }],
    ["[::1]:65535", { host: "::1", port: 65_535 }],
    ["::1:80", { host: "::1:80", port: 9 }],
    ["localhost:80", undefined],
    ["0.0.0.0:0", undefined],
    ["0.0.0.0:65536", undefined],
    ["", undefined],
  ])("%s is listened at as %j", (text, wanted) => {
    expect(parseListenAddress(text, 9)).toEqual(wanted);
  });

  it.each([
    ["1h30m", 5_400_000],
    ["1.5s", 1_500],
    ["0", 0],
    ["100us", 0.1],
    ["30", undefined],
    ["-5s", undefined],
    ["", undefined],
    ["s", undefined],
  ])("%s lasts %s ms", (text, wanted) => {
    expect(parseDuration(text)).toBe(wanted);
  });
});
