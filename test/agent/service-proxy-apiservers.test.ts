import { describe, expect, it } from "vitest";
import type { ServerAddress } from "#agent/cluster/endpoints.ts";
import type { EndpointSliceObject } from "#agent/dataplane/objects.ts";
import { ApiserverFollower } from "#agent/service-proxy-apiservers.ts";
import { makeSlice } from "./service-proxy/makers.ts";

const serverName = "kubernetes.default.svc";
const configured = { url: "https://10.1.0.1:6443", ca: undefined, serverName };

function makeFollower() {
  const told: (readonly ServerAddress[])[] = [];
  return { told, follower: new ApiserverFollower([configured], (servers) => told.push(servers)) };
}

function slicesOf(addresses: readonly string[], fields: Partial<EndpointSliceObject> = {}): ReadonlyMap<string, EndpointSliceObject> {
  const endpoints = addresses.map((address) => ({
    address,
    ready: true,
    serving: true,
    terminating: false,
    nodeName: undefined,
    zone: undefined,
    forZones: undefined,
    forNodes: undefined,
  }));
  return new Map([["default/kubernetes", makeSlice({ endpoints, ports: [{ name: "https", protocol: "TCP", port: 6443 }], ...fields })]]);
}

describe("the apiservers of a service proxy", () => {
  it("are those of the Service, with the configured one as the last resort", () => {
    const { told, follower } = makeFollower();
    follower.follow(slicesOf(["fd00::1", "10.1.0.2"]));
    expect(told).toEqual([
      [
        { url: "https://10.1.0.2:6443", ca: undefined, serverName },
        { url: "https://[fd00::1]:6443", ca: undefined, serverName },
        { ...configured, lastResort: true },
      ],
    ]);
  });

  it("count once where the configured one is among them", () => {
    const { told, follower } = makeFollower();
    follower.follow(slicesOf(["10.1.0.1", "10.1.0.2"]));
    expect(told[0]?.map(({ url, lastResort }) => [url, lastResort])).toEqual([
      ["https://10.1.0.1:6443", undefined],
      ["https://10.1.0.2:6443", undefined],
    ]);
  });

  it("are told when they change, and not otherwise", () => {
    const { told, follower } = makeFollower();
    follower.follow(slicesOf(["10.1.0.1"]));
    follower.follow(slicesOf(["10.1.0.1"]));
    follower.follow(slicesOf(["10.1.0.1", "10.1.0.2"]));
    expect(told).toHaveLength(2);
  });

  it.each([
    ["no slices", undefined],
    ["no endpoints", slicesOf([])],
    ["another port", slicesOf(["10.1.0.1"], { ports: [{ name: "http", protocol: "TCP", port: 80 }] })],
  ])("stay as they are with %s", (_what, slices) => {
    const { told, follower } = makeFollower();
    follower.follow(slices);
    expect(told).toEqual([]);
  });
});
