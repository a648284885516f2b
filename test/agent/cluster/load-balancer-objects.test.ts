import { describe, expect, it } from "vitest";
import { reduceLoadBalancerNode, reduceLoadBalancerService, reduceReadyEndpoints } from "#agent/cluster/load-balancer-objects.ts";
import { patchServiceStatus, readClusterId } from "#agent/cluster/service-status.ts";
import type { JsonObject } from "#core/json-fields.ts";
import { makeApi } from "./scripted-api.ts";
import type { ScriptedAnswer } from "./scripted-api.ts";

const conditionType = "sallyport.dev/LoadBalancerReady";
const reduce = (object: JsonObject) => reduceLoadBalancerService(object, "example.com/ours", conditionType);

describe("a Service", () => {
  it("is read with all that a load balancer is made from", () => {
    const condition = { type: conditionType, status: "False", reason: "PortConflict", message: "m", lastTransitionTime: "t" };
    const service = reduce({
      metadata: {
        namespace: "shop",
        name: "web",
        uid: "u1",
        resourceVersion: "7",
        creationTimestamp: "2026-01-01T00:00:00Z",
        finalizers: ["example.com/ours"],
        annotations: {
          "sallyport.dev/a": "1",
          "service.beta.kubernetes.io/b": "2",
          "example.com/c": "3",
          "sallyport.dev/long": "x".repeat(4_097),
        },
      },
      spec: {
        type: "LoadBalancer",
        loadBalancerClass: "example.com/ours",
        ports: [
          { name: "http", protocol: "TCP", port: 80, nodePort: 30_080, targetPort: "web", appProtocol: "http" },
          { name: "dns", protocol: "UDP", port: 53, targetPort: 53 },
          { name: "odd", protocol: "DCCP", port: 1 },
        ],
        loadBalancerSourceRanges: ["192.0.2.0/24"],
        sessionAffinity: "ClientIP",
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
        externalTrafficPolicy: "Local",
        healthCheckNodePort: 31_000,
        ipFamilies: ["IPv6", "IPv4"],
        allocateLoadBalancerNodePorts: false,
      },
      status: {
        loadBalancer: { ingress: [{ ip: "192.0.2.1", ipMode: "VIP", ports: [{ port: 80, protocol: "TCP" }] }, { hostname: "lb.example" }] },
        conditions: [{ type: "Other" }, condition],
      },
    });
    expect(service).toMatchObject({
      uid: "u1",
      resourceVersion: "7",
      createdAtMs: Date.parse("2026-01-01T00:00:00Z"),
      isDeleting: false,
      isLoadBalancer: true,
      loadBalancerClass: "example.com/ours",
      spec: {
        ports: [
          { name: "http", protocol: "TCP", port: 80, nodePort: 30_080, targetPort: "web", appProtocol: "http" },
          { name: "dns", protocol: "UDP", port: 53, nodePort: undefined, targetPort: "53", appProtocol: undefined },
        ],
        sourceRanges: ["192.0.2.0/24"],
        affinitySeconds: 60,
        externalTrafficPolicy: "Local",
        healthCheckNodePort: 31_000,
        ipFamilies: ["IPv6", "IPv4"],
        allocatesNodePorts: false,
        annotations: { "sallyport.dev/a": "1", "service.beta.kubernetes.io/b": "2" },
      },
      status: {
        ingress: [{ ip: "192.0.2.1", ipMode: "VIP", ports: [{ port: 80, protocol: "TCP" }] }, { hostname: "lb.example" }],
        condition: { status: "False", reason: "PortConflict", message: "m", lastTransitionTime: "t" },
      },
    });
  });

  it.each([
    ["of another type", { type: "ClusterIP" }, [], false],
    ["of another type that still has our finalizer", { type: "ClusterIP" }, ["example.com/ours"], true],
    ["of another type with the common finalizer", { type: "ClusterIP" }, ["service.kubernetes.io/load-balancer-cleanup"], false],
    ["of type LoadBalancer", { type: "LoadBalancer" }, [], true],
  ])("%s is kept: %j", (_what, spec, finalizers, wanted) => {
    expect(reduce({ metadata: { namespace: "shop", name: "web", finalizers }, spec }) !== undefined).toBe(wanted);
  });

  it("differs with any annotation", () => {
    const digest = (annotations: JsonObject) =>
      reduce({ metadata: { name: "web", annotations }, spec: { type: "LoadBalancer" } })?.spec.annotationsDigest;
    expect(digest({ a: "1", b: "2" })).toBe(digest({ b: "2", a: "1" }));
    expect(digest({ a: "1" })).not.toBe(digest({ a: "2" }));
  });
});

describe("a Node", () => {
  it("is read with its addresses and whether it may stay", () => {
    const node = reduceLoadBalancerNode({
      metadata: { name: "n", labels: { a: "b" }, deletionTimestamp: "2026-01-01T00:00:00Z" },
      spec: { providerID: "p", taints: [{ key: "ToBeDeletedByClusterAutoscaler" }] },
      status: {
        addresses: [
          { type: "InternalIP", address: "10.0.0.1" },
          { type: "ExternalIP", address: "2001:db8::1" },
          { type: "Hostname", address: "n" },
          { type: "InternalIP", address: "no address" },
        ],
        conditions: [{ type: "Ready", status: "True" }],
      },
    });
    expect(node).toEqual({
      name: "n",
      providerId: "p",
      labels: { a: "b" },
      externalIps: ["2001:db8::1"],
      internalIps: ["10.0.0.1"],
      isReady: true,
      isDeleting: true,
      isToBeDeleted: true,
    });
  });
});

describe("an EndpointSlice", () => {
  it("is read as the nodes with ready endpoints", () => {
    const endpoint = (nodeName: string, ready?: boolean) => ({ nodeName, conditions: { ready } });
    const slice = {
      metadata: { namespace: "shop", name: "web-1", labels: { "kubernetes.io/service-name": "web" } },
      addressType: "IPv4",
      endpoints: [endpoint("b", true), endpoint("a"), endpoint("c", false), endpoint("b", true), {}],
    };
    expect(reduceReadyEndpoints(slice)).toEqual({ service: "shop/web", family: "IPv4", nodes: ["a", "b"] });
    expect(reduceReadyEndpoints({ ...slice, addressType: "FQDN" })).toBeUndefined();
  });
});

describe("a write to a Service", () => {
  const target = { namespace: "shop", name: "web", uid: "u1", resourceVersion: "7" };

  it("is for the one version of the one object, through its status", async () => {
    const { api, calls } = makeApi(() => ({ status: 200, object: { metadata: { resourceVersion: "8" } } }));
    expect(await patchServiceStatus(api, target, { metadata: { finalizers: ["a"] }, status: {} })).toEqual({
      type: "written",
      resourceVersion: "8",
    });
    expect(calls).toMatchObject([
      {
        method: "PATCH",
        target: "/api/v1/namespaces/shop/services/web/status",
        object: { metadata: { finalizers: ["a"], uid: "u1", resourceVersion: "7" }, status: {} },
      },
    ]);
  });

  it.each<[string, ScriptedAnswer, object]>([
    ["404", { status: 404 }, { type: "gone" }],
    ["409", { status: 409 }, { type: "outdated" }],
    [
      "403",
      { status: 403, object: { reason: "Forbidden" } },
      { type: "failed", message: "the apiserver refuses to change the Service with 403 Forbidden" },
    ],
    ["429", { status: 429, headers: [["Retry-After", "7"]] }, { type: "failed", retryAfterMs: 7_000 }],
    ["no answer", new Error("broken"), { type: "failed", message: "the Service could not be changed: broken" }],
  ])("that is answered with %s says so", async (_what, answer, outcome) => {
    const { api } = makeApi(() => answer);
    expect(await patchServiceStatus(api, target, {})).toMatchObject(outcome);
  });
});

describe("the cluster's id", () => {
  it.each<[string, ScriptedAnswer, object]>([
    ["there", { status: 200, object: { metadata: { uid: "u" } } }, { id: "u" }],
    ["refused", { status: 403, object: { reason: "Forbidden" } }, { id: undefined, reason: "403 Forbidden" }],
    ["missing", { status: 200, object: {} }, { id: undefined, reason: "it has no UID" }],
  ])("that is %s is read as that", async (_what, answer, wanted) => {
    const { api } = makeApi(() => answer);
    expect(await readClusterId(api)).toEqual(wanted);
  });
});
