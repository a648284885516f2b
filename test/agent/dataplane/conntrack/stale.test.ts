import { describe, expect, test } from "vitest";
import { createStaleRule, fingerprintUdp } from "#agent/dataplane/conntrack/stale.ts";
import type { ConntrackEntry } from "#agent/dataplane/conntrack/entry.ts";
import type { ServicePort, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { endpoint, servicePort, serviceTable } from "../userspace/tables.ts";

const live = endpoint(5353, "10.1.0.7");
const dns = servicePort({
  name: "dns",
  protocol: "UDP",
  clusterIp: "10.96.0.10",
  port: 53,
  nodePort: 30_053,
  externalIps: ["198.51.100.1"],
  loadBalancerIps: ["203.0.113.1"],
  endpoints: [live],
});

function isStale(entry: Partial<ConntrackEntry>, ports: readonly ServicePort[] = [dns], changes: Partial<ServiceTable> = {}): boolean {
  const table = serviceTable(ports, { nodePortAddresses: { type: "only", addresses: ["10.0.0.5"] }, ...changes });
  const rule = createStaleRule(table, (address) => ["10.0.0.5", "10.0.1.5", "127.0.0.1"].includes(address));
  return rule.isStale({ destination: "10.96.0.10", destinationPort: 53, replySource: "10.1.0.8", replySourcePort: 5353, ...entry });
}

describe("a UDP entry", () => {
  test.each([
    ["to the cluster IP of a Service", {}, true],
    ["that was never translated, made before there were rules", { replySource: "10.96.0.10", replySourcePort: 53 }, true],
    ["to an external IP", { destination: "198.51.100.1" }, true],
    ["to a load balancer's IP", { destination: "203.0.113.1" }, true],
    ["to a node port", { destination: "10.0.0.5", destinationPort: 30_053 }, true],
    ["to an old target port of a live pod", { replySource: live.address, replySourcePort: 5354 }, true],
    ["to a live endpoint", { replySource: live.address }, false],
    ["to another port of the cluster IP", { destinationPort: 54 }, false],
    ["to an address of no Service", { destination: "10.96.0.11" }, false],
    ["to a node port's number at an address outside the node", { destination: "192.0.2.9", destinationPort: 30_053 }, false],
    ["to a node port at an address where it is not served", { destination: "10.0.1.5", destinationPort: 30_053 }, false],
    ["to a live endpoint by the node port", { destination: "10.0.0.5", destinationPort: 30_053, replySource: live.address }, false],
  ])("%s: stale %#", (_what, entry, wanted) => {
    expect(isStale(entry)).toBe(wanted);
  });

  test("to a node port is stale at every local address but loopback where all are served", () => {
    const all = { nodePortAddresses: { type: "all" } } as const;
    const at = (destination: string) => isStale({ destination, destinationPort: 30_053 }, [dns], all);
    expect([at("10.0.0.5"), at("10.0.1.5"), at("127.0.0.1"), at("192.0.2.9")]).toEqual([true, true, false, false]);
  });

  test("of a Service without serving endpoints is left alone", () => {
    expect(isStale({}, [{ ...dns, serving: [] }])).toBe(false);
  });

  test("to an endpoint that terminates but serves is left alone", () => {
    expect(isStale({ replySource: "10.1.0.8" }, [{ ...dns, serving: [live, endpoint(5353, "10.1.0.8")] }])).toBe(false);
  });

  test("of a TCP Service's address is left alone", () => {
    expect(isStale({}, [{ ...dns, protocol: "TCP" }])).toBe(false);
  });

  test("to an address that two Services claim is stale only if neither serves it", () => {
    const other = { ...dns, name: "other", clusterIp: "10.96.0.11", serving: [endpoint(5353, "10.1.0.8")] };
    expect(isStale({ destination: "198.51.100.1" }, [dns, other])).toBe(false);
    expect(isStale({ destination: "198.51.100.1", replySource: "10.1.0.9" }, [dns, other])).toBe(true);
  });

  test("is compared by address, not by the text of one", () => {
    const ipv6 = { ...dns, family: "IPv6", clusterIp: "FD00:96:0::A", externalIps: [], loadBalancerIps: [] } as const;
    const ports = [{ ...ipv6, serving: [endpoint(5353, "fd00:0001::7")] }];
    const entry = { destination: "fd00:96::a", replySource: "fd00:1::7" };
    expect(isStale(entry, ports, { family: "IPv6" })).toBe(false);
    expect(isStale({ ...entry, replySource: "fd00:1::8" }, ports, { family: "IPv6" })).toBe(true);
  });
});

describe("the fingerprint of a table's UDP", () => {
  const before = fingerprintUdp(serviceTable([dns]));

  test.each([
    ["an endpoint", { ...dns, serving: [] }],
    ["a target port", { ...dns, serving: [endpoint(5354, live.address)] }],
    ["an address", { ...dns, loadBalancerIps: [] }],
    ["the node port", { ...dns, nodePort: undefined }],
  ])("changes with %s", (_what, port) => {
    expect(fingerprintUdp(serviceTable([port]))).not.toBe(before);
  });

  test("does not change with what TCP or a policy says", () => {
    const tcp = servicePort({ name: "web", endpoints: [endpoint(1)] });
    expect(fingerprintUdp(serviceTable([tcp, { ...dns, external: { type: "drop" } }]))).toBe(before);
  });
});
