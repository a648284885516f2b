/**
 * `sallyport forward` as it is shipped, to real pods, Services, Deployments and nodes: bytes and datagrams arrive, a rollout is followed, RBAC
 * decides, and where an object names an address that is not its pod's, no packet leaves.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { get } from "node:http";
import { request as tlsRequest } from "node:https";
import { connect } from "node:net";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { namespace, toolbox, toolImage } from "#test/cluster/fixture/names.ts";
import { ann, lee, mia, type Person } from "#test/cluster/fixture/people.ts";
import { type GatewaySystem, waitForAgents } from "#test/cluster/fixture/system.ts";
import { ToolRunner } from "#test/cluster/fixture/tool-runner.ts";
import { clusterFiles } from "#test/cluster/harness/cache.ts";
import { mustRun } from "#test/cluster/harness/command.ts";
import type { LineReader } from "#test/cluster/harness/line-reader.ts";

/** An address that no pod and no node has: it is kept for documentation (RFC 5737). */
const strayAddress = "192.0.2.77";

/** Registers the tests. */
export function forwardTests(system: () => GatewaySystem): void {
  beforeAll(() => makeObjects(system()));

  async function sallyport(person: Person): Promise<ToolRunner> {
    const { hostsFile, onStart } = system();
    const command = [process.execPath, path.resolve("dist/sallyport.js"), "forward"];
    return new ToolRunner({ command, kubeconfig: await system().kubeconfig({ person }), hostsFile, onStart });
  }

  /** Starts it, and answers the first local port. */
  async function start(person: Person, args: readonly string[]): Promise<{ readonly forward: LineReader<string>; readonly port: number }> {
    const forward = (await sallyport(person)).start(args);
    const line = await forward.waitFor((text) => text.includes("Forwarding from 127.0.0.1:"));
    return { forward, port: Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1]) };
  }

  describe("reaches", () => {
    test("a pod by TCP and by UDP, at two ports of one command", async () => {
      const { forward, port } = await start(lee, [`pod/${toolbox}`, ":8080", ":8081/udp"]);
      const line = await forward.waitFor((text) => text.includes("8081/udp"));
      expect(await ask(port, "/hostname")).toBe(toolbox);
      expect((await exchange(Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1]), Buffer.from("hostname"))).toString()).toBe(toolbox);
      expect(await forward.stop("SIGINT")).toBe(0);
    });

    test("a Service by its port's name, and DNS by UDP at CoreDNS", async () => {
      const { forward, port } = await start(lee, ["svc/names", ":dns/udp"]);
      const answer = await exchange(port, dnsQuestion("answer.example"));
      expect([...answer.subarray(-4)]).toEqual([10, 1, 2, 3]);
      await forward.stop();
    });

    test("a node, for those who may proxy to it", async () => {
      const { forward, port } = await start(ann, ["node/node1", ":10250"]);
      const sent = tlsRequest({ host: "127.0.0.1", port, path: "/healthz", rejectUnauthorized: false, agent: false });
      sent.end();
      const [response] = (await once(sent, "response")) as [{ readonly statusCode: number; resume(): void }]; // of node:https
      response.resume();
      // The kubelet itself, which does not know who asks: a forward carries nobody's credential.
      expect(response.statusCode).toBe(401);
      await forward.stop();
    });

    test("standard input and output, as ssh's ProxyCommand has them", async () => {
      const stdin = "GET /hostname HTTP/1.0\r\n\r\n";
      const answer = await (await sallyport(lee)).must(["--stdio", `pod/${toolbox}`, "8080"], { stdin });
      expect(answer).toContain(toolbox);
    });
  });

  test("follows a Deployment through its rollout, and agents through theirs", async () => {
    const { cluster } = system();
    const { forward, port } = await start(lee, ["deployment/shop-front", ":http"]);
    const before = await ask(port, "/hostname");
    expect(before).toMatch(/^shop-front-/);
    await cluster.admin(["-n", namespace, "rollout", "restart", "deployment/shop-front"]);
    await cluster.waitForRollout(namespace, "deployment/shop-front");
    const after = await ask(port, "/hostname");
    expect(after).toMatch(/^shop-front-/);
    expect(after).not.toBe(before);
    expect(forward.stderr).toContain(`now reaches pods/${namespace}/${after}/8080`);
    await cluster.admin(["-n", "sallyport-system", "rollout", "restart", "deployment/sallyport-agent"]);
    await cluster.waitForRollout("sallyport-system", "deployment/sallyport-agent");
    await waitForAgents(system());
    expect(await ask(port, "/hostname")).toBe(after);
    await forward.stop();
  });

  test("speed, beside kubectl port-forward to the same pod, and what datagrams meet (printed)", async () => {
    const ours = await start(lee, ["pod/source", ":9000", ":9000/udp"]);
    const udpLine = await ours.forward.waitFor((text) => text.includes("9000/udp"));
    const kubectl = (await system().kubectl("1.35", { person: lee })).start(["port-forward", "pod/source", ":9000"]);
    const line = await kubectl.waitFor((text) => text.includes("Forwarding from 127.0.0.1:"));
    const theirPort = Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1]);
    const rates: { readonly ours: number; readonly kubectl: number }[] = [];
    for (let round = 0; round < speedRounds; round++)
      rates.push({ ours: await downloadRate(ours.port), kubectl: await downloadRate(theirPort) });
    const flow = await measureFlow(Number(/127\.0\.0\.1:(\d+)/.exec(udpLine)?.[1]));
    process.stderr.write(`forward: ${JSON.stringify({ downloadMBps: rates, udp: flow })}\n`);
    expect(flow.lost).toBeLessThan(flow.sent);
    await Promise.all([ours.forward.stop(), kubectl.stop()]);
  });

  describe("refuses with a sentence and an exit code", () => {
    test.each([
      [mia, [`pod/${toolbox}`, ":8080"], 5, `cannot create resource "pods/portforward"`],
      [lee, ["node/node1", ":10250"], 5, `cannot create resource "nodes/proxy"`],
      [lee, ["pod/absent", ":80"], 3, `pods "absent" not found`],
      [lee, ["svc/names", ":http"], 3, "its ports are dns 53/UDP"],
      [lee, ["svc/elsewhere", ":80"], 5, "ExternalName"],
      [lee, ["secret/x", ":80"], 2, "a forward reaches"],
    ] as const)("%o: %j", async (person, args, exitCode, text) => {
      const { code, stderr } = await (await sallyport(person)).run(args);
      expect([code, stderr]).toEqual([exitCode, expect.stringContaining(text)]);
    });
  });

  describe("no packet leaves", () => {
    const nodes = () => system().cluster.network?.nodes ?? [];

    beforeAll(async () => {
      for (const { namespace: place } of nodes()) await nft(place, ["--file", "-"], counters);
    });

    afterAll(async () => {
      for (const { namespace: place } of nodes()) await nft(place, ["delete", "table", "inet", "forbidden"]);
    });

    async function counted(): Promise<number> {
      const lists = await Promise.all(nodes().map(({ namespace: place }) => nft(place, ["list", "table", "inet", "forbidden"])));
      return lists.flatMap((list) => [...list.matchAll(/packets (\d+)/g)]).reduce((sum, [, count]) => sum + Number(count), 0);
    }

    test("for an endpoint at an address that is not its pod's, or that is no pod", async () => {
      const runner = await sallyport(lee);
      const before = await counted();
      for (const service of ["stray", "mislabelled", "rootless"]) {
        const { code, stderr } = await runner.run([`svc/${service}`, ":80"]);
        expect([service, code, stderr]).toEqual([service, 5, expect.stringContaining("TARGET_REFUSED")]);
        const raw = await runner.run(["--stdio", `svc/${service}`, "80"]);
        expect([service, raw.code]).toEqual([service, 5]);
      }
      expect(await counted()).toBe(before);
    });

    test("while the counters would have seen one", async () => {
      const before = await counted();
      await system()
        .cluster.admin(["-n", namespace, "exec", toolbox, "--", "/agnhost", "connect", `${strayAddress}:80`, "--timeout=1s"])
        .catch(
          () => undefined, // nobody answers there
        );
      expect(await counted()).toBeGreaterThan(before);
    });
  });
}

const counters = `table inet forbidden {
  chain leaving {
    type filter hook prerouting priority -400;
    ip daddr { 169.254.0.0/16, ${strayAddress} } counter
  }
  chain own {
    type filter hook output priority -400;
    ip daddr { 169.254.0.0/16, ${strayAddress} } counter
  }
}
`;

function nft(place: string, args: readonly string[], stdin = ""): Promise<string> {
  return mustRun("ip", ["netns", "exec", place, "nft", ...args], { stdin });
}

const speedRounds = 3;
/** What the pod "source" gives to each connection. */
const downloadBytes = 64 << 20;
/** A call's worth: 1,200 bytes each 2 ms are 4.8 Mbit/s. */
const flowDatagrams = 1_000;
const flowPaceMs = 2;

/** Megabytes a second of one download. */
async function downloadRate(port: number): Promise<number> {
  const startedMs = performance.now();
  let count = 0;
  for await (const chunk of connect(port, "127.0.0.1") as AsyncIterable<Buffer>) count += chunk.length; // a socket's chunks without an encoding
  expect(count).toBe(downloadBytes);
  return Math.round(count / 1e3 / (performance.now() - startedMs));
}

interface FlowMeasure {
  readonly sent: number;
  readonly lost: number;
  /** Median time there and back. */
  readonly roundTripMs: number;
  /** Mean difference between neighbours' round trips (RFC 3550 section 6.4.1, there and back). */
  readonly jitterMs: number;
}

/** Sends paced datagrams to an echo; the last ones are waited for until an answer that is asked for behind them has come. */
async function measureFlow(port: number): Promise<FlowMeasure> {
  const socket = createSocket("udp4");
  const sentAtMs: number[] = [];
  const tripsMs: number[] = [];
  socket.on("message", (payload) => {
    const index = payload.readUInt32BE(0);
    if (index < flowDatagrams) tripsMs.push(performance.now() - (sentAtMs[index] ?? 0));
    else socket.emit("last");
  });
  const send = (index: number): void => {
    const payload = Buffer.alloc(1_200);
    payload.writeUInt32BE(index, 0);
    sentAtMs[index] = performance.now();
    socket.send(payload, port, "127.0.0.1");
  };
  for (let index = 0; index < flowDatagrams; index++) {
    send(index);
    await pause(flowPaceMs);
  }
  const last = once(socket, "last");
  send(flowDatagrams);
  await last;
  socket.close();
  const changes = tripsMs.slice(1).map((trip, index) => Math.abs(trip - (tripsMs[index] ?? trip)));
  const round = (value: number): number => Math.round(value * 100) / 100;
  return {
    sent: flowDatagrams,
    lost: flowDatagrams - tripsMs.length,
    roundTripMs: round(tripsMs.toSorted((left, right) => left - right)[Math.floor(tripsMs.length / 2)] ?? Number.NaN),
    jitterMs: round(changes.reduce((sum, change) => sum + change, 0) / changes.length),
  };
}

/** A GET on a connection of its own. */
async function ask(port: number, target: string): Promise<string> {
  const sent = get({ host: "127.0.0.1", port, path: target, agent: false });
  const [response] = (await once(sent, "response")) as [AsyncIterable<Buffer>]; // of node:http
  let text = "";
  for await (const chunk of response) text += chunk.toString("utf8");
  return text;
}

/** Sends one datagram and answers the next that comes. */
async function exchange(port: number, payload: Buffer): Promise<Buffer> {
  const socket = createSocket("udp4");
  socket.send(payload, port, "127.0.0.1");
  const [answer] = (await once(socket, "message")) as [Buffer]; // of node:dgram
  socket.close();
  return answer;
}

/** A question for an A record (RFC 1035 section 4). */
function dnsQuestion(name: string): Buffer {
  const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Buffer.from([0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1]);
}

async function makeObjects(system: GatewaySystem): Promise<void> {
  const { cluster } = system;
  const address = (await cluster.admin(["-n", namespace, "get", "pod", toolbox, "-o", "jsonpath={.status.podIP}"])).trim();
  const items = [...dnsObjects(), frontDeployment(), sourcePod(system.image.name), ...hostileObjects(address)];
  await cluster.admin(["apply", "-f", "-"], { stdin: JSON.stringify({ apiVersion: "v1", kind: "List", items }) });
  await cluster.admin(["-n", namespace, "wait", "--for=condition=Ready", "pod/names", "pod/source", "--timeout=120s"]);
  await cluster.waitForRollout(namespace, "deployment/shop-front");
}

const meta = (name: string, labels: Readonly<Record<string, string>> = {}): object => ({ name, namespace, labels });

/** CoreDNS as a pod, from the node's own disk. */
function dnsObjects(): readonly object[] {
  const corefile = ".:53 {\n  hosts {\n    10.1.2.3 answer.example\n  }\n}\n";
  return [
    { apiVersion: "v1", kind: "ConfigMap", metadata: meta("names"), data: { Corefile: corefile } },
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: meta("names", { app: "names" }),
      spec: {
        containers: [
          {
            name: "main",
            image: toolImage,
            command: ["/opt/dns/coredns", "-conf", "/etc/dns/Corefile"],
            volumeMounts: [
              { name: "program", mountPath: "/opt/dns/coredns" },
              { name: "configuration", mountPath: "/etc/dns" },
            ],
          },
        ],
        volumes: [
          { name: "program", hostPath: { path: clusterFiles.coredns, type: "File" } },
          { name: "configuration", configMap: { name: "names" } },
        ],
        terminationGracePeriodSeconds: 0,
      },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: meta("names"),
      spec: { selector: { app: "names" }, ports: [{ name: "dns", port: 53, protocol: "UDP" }] },
    },
  ];
}

/** Gives bytes to each connection, and each datagram back. Node from the agent's image. */
function sourcePod(image: string): object {
  const program = `
    const server = require("node:net").createServer((socket) => {
      socket.on("error", () => undefined).resume().end(Buffer.alloc(${downloadBytes}));
    });
    server.listen(9000, "0.0.0.0");
    const udp = require("node:dgram").createSocket("udp4");
    udp.on("message", (payload, from) => udp.send(payload, from.port, from.address)).bind(9000);
  `;
  const main = {
    name: "main",
    image,
    command: ["/bin/node", "-e", program],
    readinessProbe: { tcpSocket: { port: 9000 }, periodSeconds: 1 },
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: meta("source"),
    spec: { containers: [main], terminationGracePeriodSeconds: 0 },
  };
}

function frontDeployment(): object {
  const labels = { app: "shop-front" };
  const container = {
    name: "main",
    image: toolImage,
    args: ["netexec"],
    ports: [{ name: "http", containerPort: 8080 }],
    readinessProbe: { httpGet: { path: "/", port: 8080 }, periodSeconds: 1 },
  };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: meta("shop-front"),
    spec: {
      replicas: 2,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [container], terminationGracePeriodSeconds: 0 } },
    },
  };
}

/** Services with endpoints that somebody wrote by hand. */
function hostileObjects(toolboxAddress: string): readonly object[] {
  const service = (name: string, spec: object = {}): object => ({
    apiVersion: "v1",
    kind: "Service",
    metadata: meta(name),
    spec: { ports: [{ port: 80 }], ...spec },
  });
  const slice = (name: string, endpoint: object): object => ({
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: meta(name, { "kubernetes.io/service-name": name }),
    addressType: "IPv4",
    ports: [{ name: "", port: 80, protocol: "TCP" }],
    endpoints: [endpoint],
  });
  const targetRef = { kind: "Pod", namespace, name: toolbox };
  return [
    service("elsewhere", { type: "ExternalName", externalName: "metadata.google.internal" }),
    // The apiserver takes no link-local address for an endpoint; any other it does.
    service("stray"),
    slice("stray", { addresses: [strayAddress], conditions: { ready: true }, targetRef }),
    service("mislabelled"),
    slice("mislabelled", { addresses: [toolboxAddress], conditions: { ready: true }, targetRef: { ...targetRef, name: "listener" } }),
    service("rootless"),
    slice("rootless", { addresses: [toolboxAddress], conditions: { ready: true } }),
  ];
}
