import { describe, expect, test } from "vitest";
import type { LocalDetection, Outcome } from "#agent/dataplane/dataplane.ts";
import { createClientRules } from "#agent/dataplane/userspace/client-rules.ts";
import type { Frontend, FrontendKind, MachineInterfaces } from "#agent/dataplane/userspace/frontends.ts";
import { balance, endpoint, servicePort, serviceTable } from "./tables.ts";

const internal = balance(endpoint(1));
const external = balance(endpoint(2));
const inside = balance(endpoint(3));
const drop: Outcome = { type: "drop" };
const frontendAddress = "203.0.113.1";
const interfaces: MachineInterfaces = {
  eth0: [{ address: "10.0.0.5", netmask: "255.255.255.0", family: "IPv4", mac: "", internal: false, cidr: "10.0.0.5/24" }],
  cni0: [{ address: "10.1.0.1", netmask: "255.255.255.0", family: "IPv4", mac: "", internal: false, cidr: "10.1.0.1/24" }],
};

function outcome(kind: FrontendKind, address: string, detection: LocalDetection, sourceRanges?: readonly string[]): Outcome {
  const port = servicePort({ internal, external, externalFromInside: inside, sourceRanges });
  const rules = createClientRules(serviceTable([port], { localDetection: detection }), interfaces);
  const frontend: Frontend = { key: "", kind, address: frontendAddress, port: 80, protocol: "TCP", servicePort: port };
  return rules(frontend, { address, frontendAddress });
}

const none: LocalDetection = { type: "none" };
const cidrs: LocalDetection = { type: "cidrs", cidrs: ["10.1.0.0/16"] };
const bridge: LocalDetection = { type: "bridge", interface: "cni0" };
const prefix: LocalDetection = { type: "interfacePrefix", prefix: "veth" };

describe("the rules for a client", () => {
  test.each([
    ["anybody to a cluster IP", "clusterIp", "198.51.100.7", cidrs, internal],
    ["a pod to a cluster IP", "clusterIp", "10.1.0.9", cidrs, internal],
    ["a client outside", "externalIp", "198.51.100.7", cidrs, external],
    ["a client outside", "nodePort", "198.51.100.7", cidrs, external],
    ["a client outside", "loadBalancerIp", "198.51.100.7", cidrs, external],
    ["a pod by its CIDR", "nodePort", "10.1.0.9", cidrs, inside],
    ["a pod by the bridge's network", "nodePort", "10.1.0.9", bridge, inside],
    ["a pod of another node beside the bridge", "nodePort", "10.1.1.9", bridge, external],
    ["a pod whose interface a socket cannot see", "nodePort", "10.1.0.9", prefix, external],
    ["a pod where nothing tells pods", "nodePort", "10.1.0.9", none, external],
    ["the node by one of its addresses", "nodePort", "10.0.0.5", none, inside],
    ["the node by loopback", "nodePort", "127.0.0.1", none, inside],
    ["the node by the frontend's own address", "externalIp", frontendAddress, none, inside],
  ] as const)("send %s at a frontend of kind %s the right way", (...row) => {
    const [, kind, address, detection, wanted] = row;
    expect(outcome(kind, address, detection)).toEqual(wanted);
  });

  test.each([
    ["inside the ranges", "loadBalancerIp", "198.51.100.7", ["198.51.100.0/24"], external],
    ["outside the ranges", "loadBalancerIp", "198.51.101.7", ["198.51.100.0/24"], drop],
    ["with no valid range", "loadBalancerIp", "198.51.100.7", ["198.51.100.0/99"], drop],
    ["with an empty list", "loadBalancerIp", "198.51.100.7", [], drop],
    ["pod outside the ranges", "loadBalancerIp", "10.1.0.9", ["198.51.100.0/24"], drop],
    ["node itself, whose address is in the ranges", "loadBalancerIp", frontendAddress, ["10.0.0.0/24"], inside],
    ["node itself, whose address is not", "loadBalancerIp", frontendAddress, ["198.51.100.0/24"], drop],
    ["at a node port, which ranges leave alone", "nodePort", "198.51.101.7", ["198.51.100.0/24"], external],
    ["at an external IP, which ranges leave alone", "externalIp", "198.51.101.7", ["198.51.100.0/24"], external],
  ] as const)("keep source ranges for a client %s", (...row) => {
    const [, kind, address, ranges, wanted] = row;
    expect(outcome(kind, address, cidrs, ranges)).toEqual(wanted);
  });
});
