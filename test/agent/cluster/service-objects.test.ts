import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "#core/json-fields.ts";
import {
  reduceEndpointSlice,
  reduceNode,
  reduceService,
  reduceServiceCidr,
  watchedNode,
  watchedServices,
  watchedSlices,
} from "#agent/cluster/service-objects.ts";

function makeService(spec: JsonObject = {}, status: JsonObject = {}, annotations: JsonObject = {}): JsonObject {
  return {
    metadata: { namespace: "shop", name: "web", uid: "u1", annotations },
    spec: { clusterIP: "10.96.0.7", clusterIPs: ["10.96.0.7"], type: "ClusterIP", ports: [{ port: 80, protocol: "TCP" }], ...spec },
    status,
  };
}

function makeSlice(fields: JsonObject = {}, annotations: JsonObject = {}): JsonObject {
  return {
    metadata: { namespace: "shop", name: "web-abc", labels: { "kubernetes.io/service-name": "web" }, annotations },
    addressType: "IPv4",
    endpoints: [],
    ports: [],
    ...fields,
  };
}

function makeNode(spec: JsonObject = {}, addresses: readonly JsonObject[] = [], metadata: JsonObject = {}): JsonObject {
  return { metadata: { name: "node-1", ...metadata }, spec, status: { addresses } };
}

describe("a Service", () => {
  it("with nothing but what it must have gets the API's defaults", () => {
    expect(
      reduceService({ metadata: { namespace: "shop", name: "web" }, spec: { clusterIP: "10.96.0.7", ports: [{ port: 80 }] } }),
    ).toEqual({
      namespace: "shop",
      name: "web",
      uid: "",
      clusterIps: ["10.96.0.7"],
      ports: [{ name: "", protocol: "TCP", port: 80, nodePort: undefined }],
      type: "ClusterIP",
      externalIps: [],
      ingress: [],
      sourceRanges: [],
      internalTrafficPolicy: "Cluster",
      externalTrafficPolicy: "Cluster",
      affinitySeconds: undefined,
      healthCheckNodePort: undefined,
      proxyProtocol: "none",
      trafficDistribution: undefined,
    });
  });

  it("with everything keeps everything", () => {
    const service = reduceService(
      makeService(
        {
          clusterIPs: ["10.96.0.7", "fd00::7"],
          type: "LoadBalancer",
          externalIPs: ["192.0.2.1", "nonsense"],
          loadBalancerSourceRanges: [" 198.51.100.0/24 "],
          internalTrafficPolicy: "Local",
          externalTrafficPolicy: "Local",
          sessionAffinity: "ClientIP",
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
          healthCheckNodePort: 32_000,
          trafficDistribution: "PreferSameZone",
          ports: [{ name: "dns", protocol: "UDP", port: 53, nodePort: 30_053 }],
        },
        { loadBalancer: { ingress: [{ ip: "203.0.113.1" }, { ip: "203.0.113.2", ipMode: "Proxy" }, { hostname: "lb.example.com" }] } },
      ),
    );
    expect(service).toMatchObject({
      clusterIps: ["10.96.0.7", "fd00::7"],
      type: "LoadBalancer",
      externalIps: ["192.0.2.1"],
      ingress: [
        { ip: "203.0.113.1", mode: "VIP" },
        { ip: "203.0.113.2", mode: "Proxy" },
      ],
      sourceRanges: ["198.51.100.0/24"],
      internalTrafficPolicy: "Local",
      externalTrafficPolicy: "Local",
      affinitySeconds: 60,
      healthCheckNodePort: 32_000,
      trafficDistribution: "PreferSameZone",
      ports: [{ name: "dns", protocol: "UDP", port: 53, nodePort: 30_053 }],
    });
  });

  it.each([
    ["headless", { clusterIP: "None", clusterIPs: ["None"] }],
    ["without an address yet", { clusterIP: "", clusterIPs: [] }],
    ["that is a name elsewhere", { type: "ExternalName", externalName: "example.com" }],
    ["of a type that nobody knows", { type: "Teleport" }],
  ])("%s is not kept", (_what, spec) => {
    expect(reduceService(makeService(spec))).toBeUndefined();
  });

  it.each([
    ["affinity without a timeout", { sessionAffinity: "ClientIP" }, { affinitySeconds: 10_800 }],
    [
      "no affinity with a timeout",
      { sessionAffinity: "None", sessionAffinityConfig: { clientIP: { timeoutSeconds: 5 } } },
      { affinitySeconds: undefined },
    ],
    ["a health check port without the policy", { type: "LoadBalancer", healthCheckNodePort: 32_000 }, { healthCheckNodePort: undefined }],
    ["port 0", { ports: [{ port: 0 }] }, { ports: [] }],
    ["a protocol that nobody knows", { ports: [{ port: 80, protocol: "QUIC" }] }, { ports: [] }],
  ])("with %s is read as the API means it", (_what, spec, wanted) => {
    expect(reduceService(makeService(spec))).toMatchObject(wanted);
  });

  it.each([
    ["v1", "v1"],
    ["v2", "v2"],
    ["v3", "none"],
    ["true", "none"],
  ])("with the annotation for the PROXY protocol %s has %s", (version, wanted) => {
    expect(reduceService(makeService({}, {}, { "sallyport.dev/proxy-protocol": version }))?.proxyProtocol).toBe(wanted);
  });

  it("says what its annotations ask for, where the field says nothing", () => {
    const annotations = { "service.kubernetes.io/topology-mode": "Auto" };
    expect(reduceService(makeService({}, {}, annotations))?.trafficDistribution).toBe("Auto");
    expect(reduceService(makeService({ trafficDistribution: "PreferClose" }, {}, annotations))?.trafficDistribution).toBe("PreferClose");
  });
});

describe("an EndpointSlice", () => {
  it("gives absent conditions the meaning that the API gives them", () => {
    const endpoints = [
      { addresses: ["10.0.0.1", "10.0.0.2"] },
      { addresses: ["10.0.0.3"], conditions: { ready: false, serving: false, terminating: true } },
    ];
    expect(reduceEndpointSlice(makeSlice({ endpoints }))?.endpoints).toMatchObject([
      { address: "10.0.0.1", ready: true, serving: true, terminating: false },
      { address: "10.0.0.3", ready: false, serving: false, terminating: true },
    ]);
  });

  it("keeps hints, nodes and zones, and ports with a number", () => {
    const endpoint = {
      addresses: ["10.0.0.1"],
      nodeName: "n",
      zone: "z",
      hints: { forZones: [{ name: "a" }, { name: "b" }], forNodes: [{ name: "n" }] },
    };
    const ports = [{ name: "http", port: 80, protocol: "TCP" }, { name: "all" }];
    expect(reduceEndpointSlice(makeSlice({ endpoints: [endpoint], ports }))).toMatchObject({
      endpoints: [{ nodeName: "n", zone: "z", forZones: ["a", "b"], forNodes: ["n"] }],
      ports: [{ name: "http", port: 80, protocol: "TCP" }],
    });
  });

  it("knows when the change was that it tells of", () => {
    const annotations = { "endpoints.kubernetes.io/last-change-trigger-time": "2026-11-24T05:00:00Z" };
    expect(reduceEndpointSlice(makeSlice({}, annotations))?.triggeredAtMs).toBe(Date.UTC(2026, 10, 24, 5));
    expect(reduceEndpointSlice(makeSlice())?.triggeredAtMs).toBeUndefined();
  });

  it("leaves out addresses of another family than it says", () => {
    expect(
      reduceEndpointSlice(makeSlice({ endpoints: [{ addresses: ["fd00::1"] }, { addresses: [] }, { addresses: ["10.0.0.1;drop"] }] }))
        ?.endpoints,
    ).toEqual([]);
  });

  it.each([
    ["of names", makeSlice({ addressType: "FQDN" })],
    ["of no Service", { ...makeSlice(), metadata: { namespace: "shop", name: "x" } }],
  ])("%s is not kept", (_what, slice) => {
    expect(reduceEndpointSlice(slice)).toBeUndefined();
  });
});

describe("a node", () => {
  it("has internal addresses, and external ones of a family without", () => {
    const addresses = [
      { type: "Hostname", address: "node-1" },
      { type: "ExternalIP", address: "203.0.113.9" },
      { type: "InternalIP", address: "10.1.0.1" },
      { type: "ExternalIP", address: "2001:db8::9" },
    ];
    expect(reduceNode(makeNode({}, addresses))?.internalIps).toEqual(["10.1.0.1", "2001:db8::9"]);
  });

  it("has a zone, pod ranges, and no wish for load balancers' traffic while it goes", () => {
    const zone = { uid: "u9", labels: { "topology.kubernetes.io/zone": "a" } };
    expect(reduceNode(makeNode({ podCIDR: "10.4.0.0/24" }, [], zone))).toMatchObject({
      uid: "u9",
      zone: "a",
      podCidrs: ["10.4.0.0/24"],
      isEligible: true,
    });
    expect(reduceNode(makeNode({ taints: [{ key: "ToBeDeletedByClusterAutoscaler", effect: "NoSchedule" }] }))?.isEligible).toBe(false);
    expect(reduceNode(makeNode({}, [], { deletionTimestamp: "2026-11-24T05:00:00Z" }))?.isEligible).toBe(false);
  });
});

describe("a ServiceCIDR", () => {
  it("counts once it is ready", () => {
    const spec = { cidrs: ["10.96.0.0/12"] };
    expect(reduceServiceCidr({ spec, status: { conditions: [{ type: "Ready", status: "True" }] } })).toEqual(["10.96.0.0/12"]);
    expect(reduceServiceCidr({ spec })).toBeUndefined();
  });
});

describe("what is watched", () => {
  it("leaves out other proxies' and headless Services, or takes those with our name", () => {
    expect(watchedServices(undefined).selectors).toEqual({
      labelSelector: "!service.kubernetes.io/service-proxy-name,!service.kubernetes.io/headless",
      fieldSelector: "spec.clusterIP!=None",
    });
    expect(watchedSlices("blue").selectors).toEqual({
      labelSelector: "service.kubernetes.io/service-proxy-name=blue,!service.kubernetes.io/headless",
    });
    expect(watchedNode("node-1").selectors).toEqual({ fieldSelector: "metadata.name=node-1" });
  });
});

describe("any JSON object", () => {
  it("is reduced or left out, and never a fault", () => {
    const names = [
      "metadata",
      "spec",
      "status",
      "name",
      "labels",
      "annotations",
      "ports",
      "port",
      "clusterIP",
      "clusterIPs",
      "endpoints",
      "addresses",
      "hints",
      "forZones",
      "conditions",
      "loadBalancer",
      "ingress",
      "taints",
      "addressType",
      "kubernetes.io/service-name",
    ];
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: "medium" },
        fc.constantFrom(null, 0, 80, -1, 1.5, true, "", "None", "10.0.0.1", "IPv4", "Ready"),
        tie("object"),
        fc.array(tie("value"), { maxLength: 3 }),
      ),
      object: fc.dictionary(fc.constantFrom(...names), tie("value"), { maxKeys: 6 }),
    }));
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 8 }), (object) => {
        for (const reduce of [reduceService, reduceEndpointSlice, reduceNode, reduceServiceCidr])
          expect(() => reduce(object)).not.toThrow();
      }),
      { numRuns: 2_000 },
    );
  });
});
