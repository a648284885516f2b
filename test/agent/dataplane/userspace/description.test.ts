import { expect, test } from "vitest";
import { describeFrontends } from "#agent/dataplane/userspace/description.ts";
import { planFrontends } from "#agent/dataplane/userspace/frontends.ts";
import { createOrdinaryAddress } from "#agent/dataplane/ordinary-address.ts";
import { balance, endpoint, servicePort, serviceTable } from "./tables.ts";

test("a table is told as one line for each frontend, with what its clients meet", () => {
  const ports = [
    servicePort({ portName: "http", endpoints: [endpoint(8080, "10.1.0.1"), endpoint(8080, "10.1.0.2")], affinitySeconds: 600 }),
    servicePort({
      name: "local",
      clusterIp: "192.0.2.2",
      nodePort: 30_080,
      loadBalancerIps: ["203.0.113.1"],
      sourceRanges: ["198.51.100.0/24"],
      internal: { type: "reject" },
      external: { type: "drop" },
      externalFromInside: balance(endpoint(8080, "10.1.1.1")),
    }),
    servicePort({ name: "sctp", clusterIp: "192.0.2.3", protocol: "SCTP" }),
  ];
  const table = serviceTable(ports, { nodePortAddresses: { type: "only", addresses: ["10.0.0.5"] } });
  expect(describeFrontends(planFrontends(table, "everything", {}, createOrdinaryAddress()))).toBe(
    [
      "TCP 192.0.2.1:80 cluster IP of shop/web:http: to 10.1.0.1:8080 10.1.0.2:8080, each client to its own for 600 s",
      "TCP 192.0.2.2:80 cluster IP of shop/local: refused",
      "TCP 203.0.113.1:80 load balancer IP of shop/local: from outside dropped, from inside to 10.1.1.1:8080, only from 198.51.100.0/24",
      "TCP 10.0.0.5:30080 node port of shop/local: from outside dropped, from inside to 10.1.1.1:8080",
      "SCTP 192.0.2.3:80 cluster IP of shop/sctp: not served, SCTP needs the nftables dataplane: a program cannot hand on its associations",
      "",
    ].join("\n"),
  );
});

test("an IPv6 address is told apart from its port", () => {
  const port = servicePort({ family: "IPv6", clusterIp: "2001:db8::1", endpoints: [endpoint(8080, "fd00::1")] });
  const plan = planFrontends(serviceTable([port], { family: "IPv6" }), "everything", {}, createOrdinaryAddress());
  expect(describeFrontends(plan)).toBe("TCP [2001:db8::1]:80 cluster IP of shop/web: to [fd00::1]:8080\n");
});
