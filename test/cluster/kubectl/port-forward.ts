/**
 * Single connections through `kubectl port-forward`, as Kubernetes' own end-to-end tests try them (test/e2e/kubectl/portforward.go): half-closes,
 * silence, and a pod that goes away. The server is the one that those tests use, agnhost's port-forward-tester.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

import { beforeAll, describe, expect, test } from "vitest";

import { toolbox, toolImage } from "#test/cluster/fixture/names.ts";
import { lee } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";
import type { ToolRunner } from "#test/cluster/fixture/tool-runner.ts";
import type { LineReader } from "#test/cluster/harness/line-reader.ts";
import type { KubectlVersion } from "#test/cluster/harness/tools.ts";

import { entrances } from "./everyday.ts";
import { portForwardEnvironment } from "./streams.ts";

/** The oldest and the newest that forward over WebSocket. */
const versions: readonly KubectlVersion[] = ["1.30", "1.35"];
const testerPort = 8081;
const toolboxPort = 8080;
/** What the tester waits for, and what it answers: ten pieces of ten `x`. */
const expectedData = "abc";
const answer = "x".repeat(100);

/** Registers the tests. */
export function portForwardTests(system: () => GatewaySystem): void {
  describe.each(versions)("kubectl %s", (version) => {
    const suffix = version.replace(".", "-");
    const make = async (): Promise<ToolRunner> => {
      const plain = await system().kubectl(version, { person: lee, entrance: entrances[version] });
      return plain.with(portForwardEnvironment(version));
    };
    portForwardCases({ suffix, make });
    lostPodCase({ suffix, make });
  });
}

interface PortForwardCases {
  /** Tells the names of one kubectl's things from another's. */
  readonly suffix: string;
  readonly make: () => Promise<ToolRunner>;
}

/** Registers the tests of one kubectl's connections. */
export function portForwardCases({ suffix, make }: PortForwardCases): void {
  let kubectl: ToolRunner;

  beforeAll(async () => {
    kubectl = await make();
  });

  test("a client that sends, closes its half and reads on gets the whole answer", async () => {
    const pod = await startTester(kubectl, `forward-answer-${suffix}`);
    const { forward, port } = await startForward(kubectl, pod, testerPort);
    const socket = await open(port);
    socket.end(expectedData);
    expect(await readAll(socket)).toBe(answer);
    expect(await kubectl.must(["logs", pod])).toContain("Received expected client data");
    await forward.stop();
    await kubectl.must(["delete", "pod", pod, "--wait=false"]);
  });

  test("a client that sends nothing and closes is seen as one that sent nothing", async () => {
    const pod = await startTester(kubectl, `forward-nothing-${suffix}`);
    const { forward, port } = await startForward(kubectl, pod, testerPort);
    const socket = await open(port);
    const logs = kubectl.start(["logs", pod, "--follow"]);
    socket.end();
    await logs.waitFor((line) => line.includes("Expected to read 3 bytes from client, but got 0 instead"));
    await logs.stop();
    await forward.stop();
    await kubectl.must(["delete", "pod", pod, "--wait=false"]);
  });
}

/** Registers the test of what a kubectl does when its pod goes; earlier than 1.28 it ends with 0, or not at all. */
export function lostPodCase({ suffix, make }: PortForwardCases): void {
  test("a pod that goes away ends it with a failure that says so, and a user who ends it gets none", async () => {
    const kubectl = await make();
    const pod = `forward-gone-${suffix}`;
    await kubectl.must(["run", pod, `--image=${toolImage}`, "--restart=Never", "--", "netexec", `--http-port=${testerPort}`]);
    await kubectl.must(["wait", "--for=condition=Ready", `pod/${pod}`, "--timeout=60s"]);
    const { forward, port } = await startForward(kubectl, pod, testerPort);
    await kubectl.must(["delete", "pod", pod, "--grace-period=0", "--force"]);
    const ended = forward.finish();
    const isOver = ended.then(() => true);
    while (!(await Promise.race([isOver, tryConnection(port).then(() => false)])));
    expect(await ended).toBe(1);
    expect(forward.stderr).toContain("lost connection to pod");

    const stopped = await startForward(kubectl, toolbox, toolboxPort);
    expect(await stopped.forward.stop("SIGINT")).not.toBe(1);
    expect(stopped.forward.stderr).not.toContain("lost connection");
  });
}

/** A pod whose program takes one connection, wants the expected data, and answers it. */
async function startTester(kubectl: ToolRunner, name: string): Promise<string> {
  const settings = {
    BIND_PORT: testerPort,
    EXPECTED_CLIENT_DATA: expectedData,
    CHUNKS: 10,
    CHUNK_SIZE: 10,
    CHUNK_INTERVAL: 10,
  };
  const environment = Object.entries(settings).map(([variable, value]) => `--env=${variable}=${value}`);
  await kubectl.must(["run", name, `--image=${toolImage}`, "--restart=Never", ...environment, "--", "port-forward-tester"]);
  await kubectl.must(["wait", "--for=condition=Ready", `pod/${name}`, "--timeout=60s"]);
  return name;
}

async function startForward(
  kubectl: ToolRunner,
  pod: string,
  podPort: number,
): Promise<{ readonly forward: LineReader<string>; readonly port: number }> {
  const forward = kubectl.start(["port-forward", `pod/${pod}`, `:${podPort}`]);
  const line = await forward.waitFor((text) => text.includes("Forwarding from 127.0.0.1:"));
  return { forward, port: Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1]) };
}

async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => undefined); // told by what was read
  await once(socket, "connect");
  return socket;
}

async function readAll(socket: Socket): Promise<string> {
  let received = "";
  for await (const chunk of socket.setEncoding("latin1")) received += String(chunk);
  return received;
}

/** Uses a connection until it is closed; one that is refused is over too. */
function tryConnection(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined); // nobody listens any more
  socket.on("connect", () => socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  socket.resume();
  return new Promise((resolve) => socket.on("close", () => resolve()));
}
