import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { GatewayError } from "#core/errors.ts";
import { ApiserverDiscovery, inClusterServiceAddress, parseApiserverSlices } from "#agent/cluster/endpoints.ts";
import type { ServerAddress } from "#agent/cluster/endpoints.ts";
import { endpointsIntervalMs } from "#agent/cluster/limits.ts";
import { makeApi } from "./scripted-api.ts";
import type { ScriptedAnswer } from "./scripted-api.ts";

function makeSlice(slice: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return {
    addressType: "IPv4",
    ports: [{ name: "https", port: 6443, protocol: "TCP" }],
    endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready: true } }],
    ...slice,
  };
}

describe("the EndpointSlices of default/kubernetes", () => {
  it.each([
    ["one address", [makeSlice()], ["https://10.0.0.1:6443"]],
    [
      "several slices, sorted and each once",
      [makeSlice({ endpoints: [{ addresses: ["10.0.0.2"] }] }), makeSlice(), makeSlice()],
      ["https://10.0.0.1:6443", "https://10.0.0.2:6443"],
    ],
    [
      "several ports",
      [makeSlice(), makeSlice({ ports: [{ name: "https", port: 6444 }] })],
      ["https://10.0.0.1:6443", "https://10.0.0.1:6444"],
    ],
    ["IPv6", [makeSlice({ addressType: "IPv6", endpoints: [{ addresses: ["fd00::1"] }] })], ["https://[fd00::1]:6443"]],
    ["one that is not ready", [makeSlice({ endpoints: [{ addresses: ["10.0.0.1"], conditions: { ready: false } }] })], []],
    ["one without conditions", [makeSlice({ endpoints: [{ addresses: ["10.0.0.1"] }] })], ["https://10.0.0.1:6443"]],
    ["names instead of addresses", [makeSlice({ addressType: "FQDN", endpoints: [{ addresses: ["evil.example"] }] })], []],
    ["another port", [makeSlice({ ports: [{ name: "metrics", port: 9090 }] })], []],
    ["nonsense", [null, 1, "x", {}, makeSlice({ ports: "x", endpoints: 5 })], []],
  ])("with %s give the right URLs", (_what, items, urls) => {
    expect(parseApiserverSlices({ items })).toEqual(urls);
  });

  it("give at most 32", () => {
    const addresses = Array.from({ length: 200 }, (_, index) => `10.0.0.${index}`);
    expect(parseApiserverSlices({ items: [makeSlice({ endpoints: [{ addresses }] })] })).toHaveLength(32);
  });
});

describe("the Service's address", () => {
  it.each([
    [{ KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" }, "https://10.96.0.1:443"],
    [{ KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443" }, "https://[fd00::1]:6443"],
  ])("comes from %j", (environment, url) => {
    expect(inClusterServiceAddress(environment)).toEqual({ url, ca: undefined, serverName: "kubernetes.default.svc" });
  });

  it.each([
    [{}],
    [{ KUBERNETES_SERVICE_HOST: "" }],
    [{ KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "tcp://10.96.0.1:443" }],
  ])("is missing in %j, which is said", (environment) => {
    expect(() => inClusterServiceAddress(environment)).toThrow(GatewayError);
  });
});

describe("discovery", () => {
  const service: ServerAddress = { url: "https://10.96.0.1:443", ca: undefined, serverName: "kubernetes.default.svc" };

  function makeDiscovery(answers: (index: number) => ScriptedAnswer): ReturnType<typeof makeApi> & {
    readonly discovery: ApiserverDiscovery;
    readonly found: (readonly ServerAddress[])[];
    readonly refusals: string[];
  } {
    const made = makeApi((_call, index) => answers(index));
    const found: (readonly ServerAddress[])[] = [];
    const refusals: string[] = [];
    const discovery = new ApiserverDiscovery({
      api: made.api,
      service,
      clock: made.clock,
      random: () => 0.5,
      onChange: (servers) => found.push(servers),
      onRefused: (what) => refusals.push(what),
    });
    return { ...made, discovery, found, refusals };
  }

  it("tells the addresses, with the Service as the last resort", async () => {
    const { discovery, found, calls } = makeDiscovery(() => ({ status: 200, object: { items: [makeSlice()] } }));
    await discovery.start();
    discovery.stop();
    expect(found).toEqual([
      [
        { url: "https://10.0.0.1:6443", ca: undefined, serverName: "kubernetes.default.svc" },
        { ...service, lastResort: true },
      ],
    ]);
    expect(calls[0]?.target).toBe(
      "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes",
    );
  });

  it("looks again, tells changes only, and keeps what it knows through failures and empty lists", async () => {
    const answers: readonly ScriptedAnswer[] = [
      { status: 200, object: { items: [makeSlice()] } },
      { status: 403 },
      { status: 403 },
      new GatewayError("UPSTREAM_UNREACHABLE", "down"),
      { status: 200, object: { items: [] } },
      { status: 200, object: { items: [makeSlice()] } },
      { status: 200, object: { items: [makeSlice({ endpoints: [{ addresses: ["10.0.0.9"] }] })] } },
    ];
    const { discovery, found, refusals, calls, clock } = makeDiscovery((index) => answers[index]);
    await discovery.start();
    for (let look = 1; look < answers.length; look += 1) {
      clock.advance(endpointsIntervalMs);
      while (calls.length <= look || clock.waiting !== 1) await turn();
    }
    discovery.stop();
    expect(found.map((servers) => servers[0]?.url)).toEqual(["https://10.0.0.1:6443", "https://10.0.0.9:6443"]);
    expect(clock.waiting).toBe(0);
    expect(refusals).toEqual([expect.stringContaining("403")]);
  });
});
