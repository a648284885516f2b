import { describe, expect, it } from "vitest";
import { readServiceProxyConfig } from "#agent/config/service-proxy-config.ts";
import type { ServiceProxyConfig } from "#agent/config/service-proxy-config.ts";
import { defaultKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import { makeTemporaryDirectory } from "../cluster/temporary-directory.ts";

const apiserver = "--apiserver=https://10.1.0.1:6443";

function read(args: readonly string[], environment: NodeJS.ProcessEnv = {}): ServiceProxyConfig {
  const result = readServiceProxyConfig(["--roles=service-proxy", ...args], environment, "Host-1");
  if (result.type === "invalid") throw new Error(result.problems.join("\n"));
  return result.config;
}

function problemsOf(args: readonly string[]): readonly string[] {
  const result = readServiceProxyConfig(args, {}, "host-1");
  return result.type === "invalid" ? result.problems : [];
}

const directory = makeTemporaryDirectory();

function configFile(body: string): string {
  return directory.write("config.conf", `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${body}`);
}

describe("the service proxy's configuration", () => {
  it("needs no flag of the gateway, and no file", () => {
    expect(read([apiserver])).toEqual({
      role: "service-proxy",
      connection: { kubeconfig: undefined, apiservers: ["https://10.1.0.1:6443"] },
      configuration: defaultKubeProxyConfiguration,
      configurationFile: undefined,
      node: "host-1",
      proxyName: undefined,
      externalIps: "serve",
      strict: undefined,
      dataplane: "nftables",
      action: { type: "run" },
      startupTaint: undefined,
      sysctlFolder: "/proc/sys",
    });
  });

  it("takes the kubeconfig of kube-proxy's file unless it is given another", () => {
    const config = configFile("clientConnection: { kubeconfig: /var/lib/kube-proxy/kubeconfig.conf }\n");
    expect(read([`--config=${config}`]).connection.kubeconfig?.path).toBe("/var/lib/kube-proxy/kubeconfig.conf");
    expect(read([`--config=${config}`]).configurationFile).toBe(config);
    expect(read([`--config=${config}`, "--kubeconfig=/k"]).connection.kubeconfig?.path).toBe("/k");
  });

  it("names the node by flag, then file, then environment, then host", () => {
    const config = configFile("hostnameOverride: from-file\n");
    const environment = { NODE_NAME: "from-environment" };
    expect(read([apiserver, `--config=${config}`, "--node=from-flag"], environment).node).toBe("from-flag");
    expect(read([apiserver, `--config=${config}`], environment).node).toBe("from-file");
    expect(read([apiserver], environment).node).toBe("from-environment");
  });

  it("ignores external IPs when the flag or the feature gate says so", () => {
    expect(read([apiserver, "--no-external-ips"]).externalIps).toBe("ignore");
    expect(read([apiserver, `--config=${configFile("featureGates: { AllowServiceExternalIPs: false }\n")}`]).externalIps).toBe("ignore");
  });

  it("believes less when it is told to be strict", () => {
    expect(read([apiserver, "--strict"]).strict).toEqual({ loadBalancerRanges: [] });
    const ranges = ["192.0.2.0/24", "2001:db8::/32"];
    expect(read([apiserver, "--strict", ...ranges.map((range) => `--load-balancer-range=${range}`)]).strict).toEqual({
      loadBalancerRanges: ranges,
    });
  });

  it.each([
    ["an address for a range", ["--strict", "--load-balancer-range=192.0.2.1"], "192.0.2.1: this is no range"],
    ["a range that nobody asks for", ["--load-balancer-range=192.0.2.0/24"], "has a meaning with --strict alone"],
  ])("refuses %s", (_what, args, problem) => {
    expect(problemsOf([apiserver, ...args])).toEqual([expect.stringContaining(problem)]);
  });

  it("needs no cluster to clean up", () => {
    expect(read(["--cleanup"]).action).toEqual({ type: "cleanup" });
  });

  it("traces a Service that is named with its namespace", () => {
    const target = { namespace: "shop", name: "web", port: "http" };
    expect(read([apiserver, "--trace=shop/web:http"]).action).toEqual({ type: "trace", target, connections: false });
    expect(read([apiserver, "--trace=shop/web:http", "--connections"]).action).toEqual({ type: "trace", target, connections: true });
    expect(problemsOf([apiserver, "--connections"])).toEqual(["--connections has a meaning with --trace alone"]);
    expect(problemsOf([apiserver, "--trace=web"])).toEqual(["--trace web: give a Service as namespace/name, or namespace/name:port"]);
    expect(problemsOf([apiserver, "--trace=shop/web", "--dry-run"])).toEqual([
      "--dry-run and --trace exclude each other: give one of them",
    ]);
  });

  it("tells all that is wrong at once", () => {
    const path = configFile("mode: userspace\n");
    expect(
      problemsOf([
        `--config=${path}`,
        "--node=-",
        "--dataplane=ebpf",
        "--service-proxy-name=a b",
        "--startup-taint=a/b/c",
        "--cleanup",
        "--dry-run",
        "--apiserver=http://x/y",
      ]),
    ).toEqual([
      `${path}:3: mode: this must be iptables, ipvs, nftables or blank; other modes are not for Linux`,
      "--cleanup and --dry-run exclude each other: give one of them",
      "--apiserver http://x/y: give an apiserver's address as https://HOST:PORT",
      "--node -: this is no node's name; give the name of this machine's Node object",
      "--service-proxy-name a b: this is not the value of a label",
      "--dataplane ebpf: this is nftables or userspace",
      "--startup-taint a/b/c: this is not the key of a taint, such as example.com/not-ready",
    ]);
  });

  it.each([
    [[], "--apiserver is missing"],
    [["--gateway=https://gateway.test"], "Unknown option '--gateway'"],
    [[apiserver, "--config=/nowhere/config.conf"], "ENOENT"],
  ])("%j is refused", (args, why) => {
    expect(problemsOf(args)).toEqual([expect.stringContaining(why)]);
  });
});
