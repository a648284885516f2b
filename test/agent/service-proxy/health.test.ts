import { describe, expect, it } from "vitest";
import { answerHealthz, answerLivez, ProxyHealth } from "#agent/service-proxy/health.ts";
import { defaultKubeProxyConfiguration } from "#agent/service-proxy/kube-proxy-configuration.ts";
import { healthAnswers, metricsAnswers } from "#agent/service-proxy/status-answers.ts";
import { ManualClock } from "../manual-clock.ts";

function makeHealth() {
  const clock = new ManualClock();
  const health = new ProxyHealth({ families: ["IPv4", "IPv6"], clock, timeoutMs: 60_000 });
  return { clock, health };
}

describe("the proxy's health", () => {
  it("is good while it starts, and while nothing waits", () => {
    const { clock, health } = makeHealth();
    clock.advance(3_600_000);
    expect(health.isHealthy).toBe(true);
  });

  it("is bad once a change has waited for too long, whatever was queued since, and good when it is applied", () => {
    const { clock, health } = makeHealth();
    health.queued("IPv4");
    clock.advance(59_999);
    health.queued("IPv4");
    expect(health.isHealthy).toBe(true);
    clock.advance(1);
    expect(health.status()).toMatchObject({ isHealthy: false, families: [{ isHealthy: false }, { isHealthy: true }] });
    health.updated("IPv6");
    expect(health.isHealthy).toBe(false);
    health.updated("IPv4");
    expect(health.isHealthy).toBe(true);
  });

  it("counts from the first change that waits after the last one was applied", () => {
    const { clock, health } = makeHealth();
    health.queued("IPv4");
    clock.advance(50_000);
    health.updated("IPv4");
    health.queued("IPv4");
    clock.advance(50_000);
    expect(health.isHealthy).toBe(true);
  });

  it("leaves no timer when it is closed", () => {
    const { clock, health } = makeHealth();
    health.queued("IPv4");
    health.close();
    expect(clock.waiting).toBe(0);
  });
});

describe("/healthz and /livez", () => {
  const status = {
    isHealthy: true,
    families: [
      { family: "IPv4", lastUpdatedMs: 1_000, isHealthy: true },
      { family: "IPv6", lastUpdatedMs: 2_000, isHealthy: true },
    ],
  } as const;

  it("have kube-proxy's fields", () => {
    expect(JSON.parse(answerHealthz(status, 5_000, true).body)).toEqual({
      lastUpdated: "1970-01-01T00:00:05.000Z",
      currentTime: "1970-01-01T00:00:05.000Z",
      nodeEligible: true,
      healthy: true,
      status: {
        IPv4: { lastUpdated: "1970-01-01T00:00:01.000Z", healthy: true },
        IPv6: { lastUpdated: "1970-01-01T00:00:02.000Z", healthy: true },
      },
    });
    expect(JSON.parse(answerLivez(status, 5_000).body)).not.toHaveProperty("nodeEligible");
  });

  it.each([
    [true, true, 200, 200],
    [true, false, 503, 200],
    [false, true, 503, 503],
    [false, false, 503, 503],
  ])("with a healthy proxy %s and an eligible node %s say %i and %i", (isHealthy, isEligible, healthz, livez) => {
    const now = { ...status, isHealthy };
    expect([answerHealthz(now, 5_000, isEligible).status, answerLivez(now, 5_000).status]).toEqual([healthz, livez]);
  });

  it("say when the rules were last right while they are not", () => {
    expect(JSON.parse(answerLivez({ ...status, isHealthy: false }, 5_000).body)).toMatchObject({ lastUpdated: "1970-01-01T00:00:02.000Z" });
  });

  it("are counted, and nothing else is there", () => {
    const asked: string[] = [];
    const answers = healthAnswers({
      status: () => status,
      isNodeEligible: () => false,
      now: () => 5_000,
      onAsked: (endpoint, code) => asked.push(`${endpoint} ${code}`),
    });
    expect([answers("/healthz").status, answers("/livez").status, answers("/").status]).toEqual([503, 200, 404]);
    expect(asked).toEqual(["healthz 503", "livez 200"]);
  });
});

describe("the metrics server", () => {
  const answers = metricsAnswers({ metrics: () => "x 1\n", mode: "nftables", configuration: defaultKubeProxyConfiguration });

  it.each([
    ["/metrics", 200, "x 1\n"],
    ["/proxyMode", 200, "nftables"],
    ["/healthz", 200, "ok"],
    ["/debug/pprof/", 404, "404 page not found\n"],
  ])("answers %s", (path, status, body) => {
    expect(answers(path)).toMatchObject({ status, body });
  });

  it("shows the configuration with its defaults", () => {
    expect(JSON.parse(answers("/configz").body)).toMatchObject({
      "kubeproxy.config.k8s.io": {
        mode: "nftables",
        healthzBindAddress: "0.0.0.0:10256",
        nodePortAddresses: ["primary"],
        nftables: { syncPeriod: "30s" },
      },
    });
  });
});
