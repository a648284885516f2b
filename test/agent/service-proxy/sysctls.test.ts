import { describe, expect, it } from "vitest";
import { defaultKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import { applyKernelSettings, describeRefusals, planKernelSettings } from "#agent/service-proxy/sysctls.ts";

const { conntrack } = defaultKubeProxyConfiguration;

function planned(settings: Partial<typeof conntrack>, cores = 2): Record<string, number> {
  return Object.fromEntries(
    planKernelSettings({ ...conntrack, ...settings }, cores).map(({ path, value }) => [path.split("/").at(-1) ?? "", value]),
  );
}

describe("kernel settings", () => {
  it("are kube-proxy's by default", () => {
    expect(planned({})).toEqual({
      nf_conntrack_max: 131_072,
      hashsize: 32_768,
      nf_conntrack_tcp_timeout_established: 86_400,
      nf_conntrack_tcp_timeout_close_wait: 3_600,
      nf_conntrack_tcp_be_liberal: 1,
    });
  });

  it("grow with the cores, and leave the table alone where the file says 0", () => {
    expect(planned({}, 16)).toMatchObject({ nf_conntrack_max: 524_288, hashsize: 131_072 });
    expect(Object.keys(planned({ maxPerCore: 0, tcpEstablishedSeconds: 0, udpSeconds: 30, udpStreamSeconds: 180 }))).toEqual([
      "nf_conntrack_tcp_timeout_close_wait",
      "nf_conntrack_udp_timeout",
      "nf_conntrack_udp_timeout_stream",
      "nf_conntrack_tcp_be_liberal",
    ]);
  });

  it("that are as wanted are not written, and a larger minimum is kept", async () => {
    const files = new Map([
      ["net/netfilter/nf_conntrack_max", "262144\n"],
      ["/sys/module/nf_conntrack/parameters/hashsize", "65536\n"],
      ["net/netfilter/nf_conntrack_tcp_be_liberal", "1\n"],
    ]);
    const written: string[] = [];
    const settings = planKernelSettings({ ...conntrack, tcpEstablishedSeconds: 0, tcpCloseWaitSeconds: 0 }, 2);
    const outcomes = await applyKernelSettings(settings, {
      read: async (path) => files.get(path) ?? "",
      write: async (path, text) => void written.push(`${path}=${text}`),
    });
    expect([written, outcomes.map(({ type }) => type)]).toEqual([["net/netfilter/nf_conntrack_max=131072"], ["written", "kept", "kept"]]);
    expect(describeRefusals(outcomes)).toBeUndefined();
  });

  it("that cannot be made are told, and do not stop the others", async () => {
    const outcomes = await applyKernelSettings(planKernelSettings(conntrack, 2), {
      read: async () => "0",
      write: async (path) => {
        if (path.endsWith("hashsize")) throw Object.assign(new Error("read-only"), { code: "EROFS" });
      },
    });
    expect(outcomes.map(({ type }) => type)).toEqual(["written", "refused", "written", "written", "written"]);
    expect(describeRefusals(outcomes)).toBe(
      "kernel settings that could not be made; set them on the node: /sys/module/nf_conntrack/parameters/hashsize=32768 (EROFS)",
    );
  });
});
