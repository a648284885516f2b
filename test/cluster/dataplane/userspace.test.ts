/** The userspace dataplane as a process without privileges, in a network where addresses are more than loopback. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { IpFamily, ServicePort, ServiceTable } from "#agent/dataplane/dataplane.ts";
import { balance, endpoint, servicePort, serviceTable } from "#test/agent/dataplane/userspace/tables.ts";
import type { LineReader } from "../harness/line-reader.ts";
import { type Namespace, openNamespace } from "./namespace.ts";
import type { PeerAnswer, PeerRequest } from "./peers/main.ts";
import type { AgentReport } from "./userspace-agent/main.ts";

let namespace: Namespace;
let peers: LineReader<PeerAnswer>;
let agent: LineReader<AgentReport>;
let nextId = 0;
let tables = 0;

beforeEach(async () => {
  namespace = await openNamespace();
  peers = namespace.start<PeerAnswer>("peers");
  agent = namespace.start<AgentReport>("userspace-agent");
  tables = 0;
});
afterEach(() => namespace.stop());

type Wish<Request> = Request extends unknown ? Omit<Request, "id"> : never;

async function wish(request: Wish<PeerRequest>): Promise<string> {
  const id = nextId++;
  peers.say(JSON.stringify({ ...request, id }));
  return (await peers.waitFor((line) => line.id === id)).answer;
}

async function apply(table: ServiceTable): Promise<AgentReport["frontends"]> {
  tables += 1;
  const number = tables;
  agent.say(JSON.stringify(table));
  return (await agent.waitFor((line) => line.number === number)).frontends;
}

async function addAddress(address: string): Promise<void> {
  const extra = address.includes(":") ? ["nodad"] : [];
  await namespace.run("ip", ["addr", "add", `${address}/${address.includes(":") ? 128 : 32}`, "dev", "lo", ...extra]);
}

/** One Service with a TCP and a UDP port, whose only pod answers with its address. */
async function startService(family: IpFamily, clusterIp: string, pod: string): Promise<readonly ServicePort[]> {
  await addAddress(pod);
  await wish({ type: "serveTcp", address: pod, port: 8080 });
  await wish({ type: "serve", address: pod, port: 5353 });
  const common = { family, clusterIp } as const;
  return [
    servicePort({ ...common, portName: "web", port: 8000, endpoints: [endpoint(8080, pod)] }),
    servicePort({ ...common, portName: "dns", protocol: "UDP", port: 5300, endpoints: [endpoint(5353, pod)] }),
  ];
}

test("cluster IPs are served without privileges once their range is local, and until then say what makes it so", async () => {
  const [clusterIp, pod] = ["10.96.0.20", "10.1.0.1"];
  const table = serviceTable(await startService("IPv4", clusterIp, pod), { serviceCidrs: ["10.96.0.0/16"] });
  const advice = `${clusterIp} is no address of this machine: run \`ip route add local 10.96.0.0/16 dev lo\` once as root, for all cluster IPs`;
  expect(await apply(table)).toEqual({ [`TCP ${clusterIp} 8000`]: advice, [`UDP ${clusterIp} 5300`]: advice });
  await namespace.run("ip", ["route", "add", "local", "10.96.0.0/16", "dev", "lo"]);
  expect(await apply(table)).toEqual({ [`TCP ${clusterIp} 8000`]: "listening", [`UDP ${clusterIp} 5300`]: "listening" });
  expect(await wish({ type: "connect", address: clusterIp, port: 8000, from: pod })).toBe(pod);
  expect(await wish({ type: "ask", client: "a", address: clusterIp, port: 5300 })).toBe(pod);
});

test("cluster IPs of IPv6 are served without privileges once what is said was done", async () => {
  const [clusterIp, pod] = ["fd00:96::20", "fd00:1::1"];
  const table = serviceTable(await startService("IPv6", clusterIp, pod), { family: "IPv6", serviceCidrs: ["fd00:96::/108"] });
  const reasons = Object.values(await apply(table));
  expect(reasons[0]).toContain("`ip route add local fd00:96::/108 dev lo` and `sysctl -w net.ipv6.ip_nonlocal_bind=1`");
  await namespace.run("ip", ["route", "add", "local", "fd00:96::/108", "dev", "lo"]);
  await namespace.run("sysctl", ["-qw", "net.ipv6.ip_nonlocal_bind=1"]);
  expect(Object.values(await apply(table))).toEqual(["listening", "listening"]);
  expect(await wish({ type: "connect", address: clusterIp, port: 8000, from: pod })).toBe(pod);
  expect(await wish({ type: "ask", client: "a", address: clusterIp, port: 5300 })).toBe(pod);
});

test("a port below 1024 says what it needs, and is served when it has that", async () => {
  await addAddress("10.1.0.1");
  await wish({ type: "serveTcp", address: "10.1.0.1", port: 8080 });
  const port = servicePort({ clusterIp: "10.96.0.20", port: 443, endpoints: [endpoint(8080, "10.1.0.1")] });
  await namespace.run("ip", ["route", "add", "local", "10.96.0.0/16", "dev", "lo"]);
  const needs = "port 443 needs the capability NET_BIND_SERVICE, or the sysctl net.ipv4.ip_unprivileged_port_start=0";
  expect(await apply(serviceTable([port]))).toEqual({ "TCP 10.96.0.20 443": needs });
  await namespace.run("sysctl", ["-qw", "net.ipv4.ip_unprivileged_port_start=0"]);
  expect(await apply(serviceTable([port]))).toEqual({ "TCP 10.96.0.20 443": "listening" });
  expect(await wish({ type: "connect", address: "10.96.0.20", port: 443, from: "10.1.0.1" })).toBe("10.1.0.1");
});

test("an endpoint where nobody listens is never the dataplane's own socket", async () => {
  const [clusterIp, pod, podPort] = ["10.96.0.20", "10.1.0.1", 40_000];
  const usePorts = (range: string) => namespace.run("sysctl", ["-qw", `net.ipv4.ip_local_port_range=${range}`]);
  await addAddress(pod);
  await namespace.run("ip", ["route", "add", "local", "10.96.0.0/16", "dev", "lo"]);
  const common = { clusterIp, port: 8000, endpoints: [endpoint(podPort, pod)] };
  expect(Object.values(await apply(serviceTable([servicePort(common), servicePort({ ...common, protocol: "UDP" })])))).toEqual([
    "listening",
    "listening",
  ]);
  // The client has its own port before the only one that is left for a connection to the pod is the one that is dialled.
  await wish({ type: "tell", client: "a", address: pod, port: 9 });
  await usePorts(`${podPort} ${podPort}`);
  await wish({ type: "tell", client: "a", address: clusterIp, port: 8000 });
  expect(await wish({ type: "connect", address: clusterIp, port: 8000, from: undefined })).toBe("ECONNRESET");
  await usePorts("40001 50000");
  await wish({ type: "serve", address: pod, port: podPort });
  expect(await wish({ type: "ask", client: "a", address: clusterIp, port: 8000 })).toBe(pod);
});

test("node ports are served at the node's addresses, to each client as its source deserves", async () => {
  const [local, remote, outside, pod, node] = ["10.1.0.1", "10.1.1.1", "198.51.100.7", "10.1.0.9", "10.0.0.5"];
  for (const address of [local, remote, outside, pod]) await addAddress(address);
  for (const address of [local, remote]) await wish({ type: "serveTcp", address, port: 8080 });
  await namespace.run("ip", ["link", "add", "eth0", "up", "type", "veth", "peer", "name", "far"]);
  await namespace.run("ip", ["link", "set", "far", "up"]);
  await namespace.run("ip", ["addr", "add", `${node}/24`, "dev", "eth0"]);
  const service = servicePort({
    nodePort: 30_080,
    external: balance(endpoint(8080, local)),
    externalFromInside: balance(endpoint(8080, remote)),
  });
  const table = serviceTable([service], {
    nodePortAddresses: { type: "all" },
    localDetection: { type: "cidrs", cidrs: ["10.1.0.0/24"] },
    serviceCidrs: [],
  });
  expect(await apply(table)).toMatchObject({ [`TCP ${node} 30080`]: "listening" });
  const reached = (from: string) => wish({ type: "connect", address: node, port: 30_080, from });
  expect([await reached(outside), await reached(pod), await reached(node)]).toEqual([local, remote, remote]);
});
