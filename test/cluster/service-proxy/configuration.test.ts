/** The same configuration files for the real kube-proxy and for ours: what it refuses is refused, and what it takes means the same. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { parseKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import type { KubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import { assertClusterBuilt, clusterFiles } from "#test/cluster/harness/cache.ts";
import { runCommand } from "#test/cluster/harness/command.ts";

assertClusterBuilt();
const folder = mkdtempSync(path.join(tmpdir(), "sallyport-configuration-"));
afterAll(() => rmSync(folder, { recursive: true }));

type Verdict = { readonly type: "taken"; readonly text: string } | { readonly type: "refused"; readonly message: string };

/** What kube-proxy makes of a file: the same with its defaults, or why it does not start. */
async function askKubeProxy(text: string): Promise<Verdict> {
  const [file, written] = [path.join(folder, "config.json"), path.join(folder, "written.yaml")];
  writeFileSync(file, text);
  const { code, stderr } = await runCommand(clusterFiles.kube, ["kube-proxy", `--config=${file}`, `--write-config-to=${written}`]);
  return code === 0 ? { type: "taken", text: readFileSync(written, "utf8") } : { type: "refused", message: stderr };
}

/** What decides traffic; kube-proxy writes its own rest between two runs where none is given, and we our own. */
function meaningOf({ unused: _unused, minSyncMs: _minSyncMs, ...meaning }: KubeProxyConfiguration): object {
  return meaning;
}

function read(text: string): KubeProxyConfiguration | undefined {
  const result = parseKubeProxyConfiguration(text, "config");
  return result.type === "parsed" ? result.configuration : undefined;
}

const head = { apiVersion: "kubeproxy.config.k8s.io/v1alpha1", kind: "KubeProxyConfiguration" };

const period = fc.constantFrom("0s", "30s", "1m30s", "2h");
const rest = fc.constantFrom("0s", "1s", "500ms");
const timeout = fc.constantFrom("0s", "1s", "1m30s", "24h0m0s", null);
const address = fc.constantFrom("", "0.0.0.0", "::", "10.1.0.1", "10.1.0.1:9000", "[::]:9000");
const cidr = fc.constantFrom("10.0.0.0/8", "fd00::/64", "0.0.0.0/0", "192.168.0.0/16");
const filters = fc.record(
  { masqueradeBit: fc.constantFrom(0, 14, 31, null), masqueradeAll: fc.boolean(), syncPeriod: period, minSyncPeriod: rest },
  { requiredKeys: [] },
);
/** Files with nothing wrong in them. */
const sound = fc.record(
  {
    mode: fc.constantFrom("", "iptables", "ipvs", "nftables", null),
    iptables: filters,
    nftables: filters,
    ipvs: fc.record(
      {
        syncPeriod: period,
        minSyncPeriod: rest,
        scheduler: fc.constantFrom("", "rr"),
        strictARP: fc.boolean(),
        excludeCIDRs: fc.array(cidr, { maxLength: 2 }),
      },
      { requiredKeys: [] },
    ),
    bindAddress: fc.constantFrom("", "0.0.0.0", "::", "10.1.0.1", "fd00::1"),
    healthzBindAddress: address,
    metricsBindAddress: address,
    nodePortAddresses: fc.oneof(fc.constantFrom(null, ["primary"]), fc.array(cidr, { maxLength: 3 })),
    clusterCIDR: fc.constantFrom("", "10.244.0.0/16", "10.244.0.0/16,fd00::/56", "fd00::/56"),
    detectLocalMode: fc.constantFrom("", "ClusterCIDR", "NodeCIDR"),
    detectLocal: fc.record(
      { bridgeInterface: fc.constantFrom("", "cbr0"), interfaceNamePrefix: fc.constantFrom("", "veth") },
      { requiredKeys: [] },
    ),
    conntrack: fc.record(
      {
        maxPerCore: fc.constantFrom(0, 1000, null),
        min: fc.constantFrom(0, 5, null),
        tcpEstablishedTimeout: timeout,
        tcpCloseWaitTimeout: timeout,
        tcpBeLiberal: fc.boolean(),
        udpTimeout: period,
      },
      { requiredKeys: [] },
    ),
    hostnameOverride: fc.constantFrom("", "node-1"),
    featureGates: fc.constantFrom({}, { ContextualLogging: true }, { TopologyAwareHints: true }),
    oomScoreAdj: fc.constantFrom(null, 0, -999),
    logging: fc.constantFrom({}, { verbosity: 2 }),
    configSyncPeriod: fc.constantFrom("0s", "15m"),
  },
  { requiredKeys: [] },
);

describe("a configuration file", () => {
  test("with nothing wrong in it is taken by both, and means the same with and without kube-proxy's defaults", async () => {
    await fc.assert(
      fc.asyncProperty(sound, async (fields) => {
        const text = JSON.stringify({ ...head, ...fields });
        const verdict = await askKubeProxy(text);
        const [ours, theirs] = [read(text), read(verdict.type === "taken" ? verdict.text : "")];
        expect(ours && meaningOf(ours), JSON.stringify(verdict)).toEqual(theirs && meaningOf(theirs));
        expect(ours).toBeDefined();
      }),
      { numRuns: 150 },
    );
  });

  test.each([
    { mode: "kernelspace" },
    { mode: "userspace" },
    { iptables: { masqueradeBit: 32 } },
    { iptables: { syncPeriod: "1s", minSyncPeriod: "2s" } },
    { iptables: { syncPeriod: "soon" } },
    { iptables: { syncPeriod: 30 } },
    { mode: "nftables", nftables: { masqueradeBit: -1 } },
    { mode: "ipvs", ipvs: { excludeCIDRs: ["10.0.0.0"] } },
    { mode: "ipvs", ipvs: { tcpTimeout: "-1s" } },
    { bindAddress: "here" },
    { healthzBindAddress: "localhost:10256" },
    { healthzBindAddress: "0.0.0.0:70000" },
    { metricsBindAddress: "0.0.0.0:0" },
    { nodePortAddresses: ["10.0.0.0/33"] },
    { nodePortAddresses: ["primary", "10.0.0.0/8"] },
    { nodePortAddresses: ["all"] },
    { clusterCIDR: "10.0.0.0" },
    { clusterCIDR: "10.0.0.0/8,10.1.0.0/16" },
    { detectLocalMode: "Other" },
    { detectLocalMode: "BridgeInterface" },
    { detectLocalMode: "InterfaceNamePrefix" },
    { conntrack: { maxPerCore: -1 } },
    { conntrack: { min: -1 } },
    { conntrack: { tcpEstablishedTimeout: "-1s" } },
    { apiVersion: "kubeproxy.config.k8s.io/v1" },
    { kind: "KubeletConfiguration" },
  ])("with %j is refused by both", async (fields) => {
    const text = JSON.stringify({ ...head, ...fields });
    const verdict = await askKubeProxy(text);
    expect([verdict.type, read(text)]).toEqual(["refused", undefined]);
  });

  test.each([
    ["nothing", {}],
    ["nftables", { mode: "nftables", nftables: { syncPeriod: "1m" } }],
    ["iptables", { mode: "iptables", iptables: { masqueradeAll: true, localhostNodePorts: false } }],
    ["ipvs", { mode: "ipvs", ipvs: { scheduler: "rr", strictARP: true } }],
    ["both families", { clusterCIDR: "10.244.0.0/16,fd00::/56", nodePortAddresses: ["10.0.0.0/8", "fd00::/8"] }],
    ["an interface", { detectLocalMode: "BridgeInterface", detectLocal: { bridgeInterface: "cbr0" } }],
    ["addresses", { bindAddress: "::", healthzBindAddress: "[::]:9000", metricsBindAddress: "127.0.0.1" }],
    ["timeouts", { conntrack: { maxPerCore: 0, tcpEstablishedTimeout: "0s", udpTimeout: "30s" } }],
  ])("with %s is taken by both", async (_what, fields) => {
    const text = JSON.stringify({ ...head, ...fields });
    const verdict = await askKubeProxy(text);
    expect([verdict.type, read(text) !== undefined]).toEqual(["taken", true]);
  });
});
