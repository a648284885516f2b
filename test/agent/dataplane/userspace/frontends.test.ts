import fc from "fast-check";
import { isIP } from "node:net";
import type { NetworkInterfaceInfo } from "node:os";
import { describe, expect, test } from "vitest";
import { createOrdinaryAddress } from "#agent/dataplane/ordinary-address.ts";
import { planFrontends } from "#agent/dataplane/userspace/frontends.ts";
import { endpoint, servicePort, serviceTable } from "./tables.ts";

function ipv4(address: string, internal = false): NetworkInterfaceInfo {
  return { address, netmask: "255.255.255.0", family: "IPv4", mac: "00:00:00:00:00:00", internal, cidr: `${address}/24` };
}

function ipv6(address: string, internal = false): NetworkInterfaceInfo {
  return { address, netmask: "ffff::", family: "IPv6", mac: "00:00:00:00:00:00", internal, cidr: `${address}/64`, scopeid: 0 };
}

const interfaces = { lo: [ipv4("127.0.0.1", true), ipv6("::1", true)], eth0: [ipv4("10.0.0.5"), ipv6("fe80::5"), ipv6("2001:db8::5")] };
const isOrdinary = createOrdinaryAddress();
const all = { nodePortAddresses: { type: "all" } } as const;
const endpoints = [endpoint(8080, "10.1.0.1")];

function addressesOf(plan: ReturnType<typeof planFrontends>): readonly string[] {
  return [...plan.frontends.values()].map(({ kind, address, port }) => `${kind} ${address} ${port}`);
}

describe("the frontends of a table", () => {
  test("are the cluster IP, the load balancer's, the external and the node's addresses", () => {
    const port = servicePort({ nodePort: 30_080, externalIps: ["198.51.100.1"], loadBalancerIps: ["203.0.113.1"], endpoints });
    expect(addressesOf(planFrontends(serviceTable([port], all), "everything", interfaces, isOrdinary))).toEqual([
      "clusterIp 192.0.2.1 80",
      "loadBalancerIp 203.0.113.1 80",
      "externalIp 198.51.100.1 80",
      "nodePort 10.0.0.5 30080",
    ]);
  });

  test("leave loopback and link-local addresses out of all node addresses", () => {
    const port = servicePort({ family: "IPv6", clusterIp: "2001:DB8:0::1", nodePort: 30_080, endpoints });
    const table = serviceTable([port], { ...all, family: "IPv6" });
    expect(addressesOf(planFrontends(table, "everything", interfaces, isOrdinary))).toEqual([
      "clusterIp 2001:db8::1 80",
      "nodePort 2001:db8::5 30080",
    ]);
  });

  test("are only node ports at loopback in the scope of localhost", () => {
    const port = servicePort({ nodePort: 30_080, externalIps: ["198.51.100.1"], endpoints });
    const without = servicePort({ name: "inner", clusterIp: "192.0.2.2", endpoints });
    const plan = planFrontends(serviceTable([port, without], all), "localhostNodePorts", interfaces, isOrdinary);
    expect(addressesOf(plan)).toEqual(["nodePort 127.0.0.1 30080"]);
  });

  test("have node ports at loopback too in the scope that adds it, once", () => {
    const port = servicePort({ nodePort: 30_080, endpoints });
    const primary = { nodePortAddresses: { type: "only", addresses: ["10.0.0.5", "127.0.0.1"] } } as const;
    const plan = planFrontends(serviceTable([port], primary), "everythingAndLocalhost", interfaces, isOrdinary);
    expect(addressesOf(plan)).toEqual(["clusterIp 192.0.2.1 80", "nodePort 127.0.0.1 30080", "nodePort 10.0.0.5 30080"]);
    expect(plan.refused).toEqual([]);
  });

  test("keep the load balancer's source ranges for an address that is also an external one", () => {
    const port = servicePort({ externalIps: ["203.0.113.1"], loadBalancerIps: ["203.0.113.1"], endpoints });
    const plan = planFrontends(serviceTable([port]), "everything", interfaces, isOrdinary);
    expect(addressesOf(plan)).toEqual(["clusterIp 192.0.2.1 80", "loadBalancerIp 203.0.113.1 80"]);
    expect(plan.refused).toEqual([]);
  });

  test("may share a port between TCP and UDP", () => {
    const [tcp, udp] = [servicePort({ endpoints }), servicePort({ protocol: "UDP", portName: "udp", endpoints })];
    expect(planFrontends(serviceTable([tcp, udp]), "everything", interfaces, isOrdinary).frontends.size).toBe(2);
  });

  test("go to the first of two Services that claim one address and port", () => {
    const mine = servicePort({ endpoints, externalIps: ["203.0.113.1"] });
    const theirs = servicePort({ name: "thief", clusterIp: "192.0.2.2", endpoints, externalIps: ["203.0.113.1"] });
    const plan = planFrontends(serviceTable([mine, theirs]), "everything", interfaces, isOrdinary);
    expect(plan.frontends.get("TCP 203.0.113.1 80")?.servicePort).toBe(mine);
    expect(plan.refused.map(({ reason }) => reason)).toEqual(["shop/web has this address and port already"]);
  });

  test("are refused with a reason where no socket can serve them", () => {
    const sctp = servicePort({ protocol: "SCTP", endpoints });
    const wrong = servicePort({ name: "wrong", clusterIp: "192.0.2.2", externalIps: ["example.com", "2001:db8::1"], endpoints });
    const { refused } = planFrontends(serviceTable([sctp, wrong]), "everything", interfaces, isOrdinary);
    expect(refused.map(({ reason }) => reason)).toEqual([
      "SCTP needs the nftables dataplane: a program cannot hand on its associations",
      "example.com is no IPv4 address",
      "2001:db8::1 is no IPv4 address",
    ]);
  });

  test("are refused at addresses that would be the machine's own affair, unless the administrator serves node ports there", () => {
    const port = servicePort({ externalIps: ["127.0.0.1"], loadBalancerIps: ["0.0.0.0", "169.254.169.254"], nodePort: 30_080, endpoints });
    const table = serviceTable([port], { nodePortAddresses: { type: "only", addresses: ["127.0.0.1"] } });
    const plan = planFrontends(table, "everything", interfaces, isOrdinary);
    expect(addressesOf(plan)).toEqual(["clusterIp 192.0.2.1 80", "nodePort 127.0.0.1 30080"]);
    expect(plan.refused.map(({ address }) => address)).toEqual(["0.0.0.0", "169.254.169.254", "127.0.0.1"]);
  });

  test("are each served or refused with a reason, whatever a table says, and no socket is asked for twice", () => {
    const address = fc.oneof(
      fc.ipV4(),
      fc.ipV6(),
      fc.string(),
      fc.constantFrom("203.0.113.1", "198.51.100.1", "; flush ruleset", "10.0.0.1\n"),
    );
    const port = fc.record({
      name: fc.constantFrom("a", "b"),
      protocol: fc.constantFrom("TCP" as const, "UDP" as const, "SCTP" as const),
      clusterIp: address,
      port: fc.integer({ min: 1, max: 3 }),
      nodePort: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      externalIps: fc.array(address, { maxLength: 3 }),
      loadBalancerIps: fc.array(address, { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(port, { maxLength: 4 }), (ports) => {
        const plan = planFrontends(serviceTable(ports.map(servicePort), all), "everything", interfaces, isOrdinary);
        for (const [key, frontend] of plan.frontends) {
          expect(key).toBe(`${frontend.protocol} ${frontend.address} ${frontend.port}`);
          expect(isIP(frontend.address)).toBe(4);
        }
        const asked = ports.flatMap((wanted) => [wanted.clusterIp, ...wanted.externalIps, ...wanted.loadBalancerIps]);
        const answered = new Set([...plan.frontends.values(), ...plan.refused].map((frontend) => frontend.address));
        expect(asked.filter((text) => !answered.has(text))).toEqual([]);
      }),
    );
  });
});
