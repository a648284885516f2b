/** `sallyport forward` against a real gateway: what it prints, what goes through its ports, and how it fails. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { answerObjects, paths, pod, service, slices } from "#test/support/forward-cluster.ts";
import type { ClusterObjects } from "#test/support/forward-cluster.ts";
import { startCommand } from "#test/support/running-command.ts";
import type { RunningCommand } from "#test/support/running-command.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem({ agentProgram: "test/support/forward-agent.ts" });
let kubeconfig: string;
let target: Server;
let targetPort: number;
const running: RunningCommand[] = [];

beforeAll(async () => {
  kubeconfig = join(system.gateway.folder, "alice.kubeconfig");
  const cluster = { server: `${system.gateway.url}/k/one`, "certificate-authority-data": btoa(system.gateway.authority.certificate) };
  await writeFile(
    kubeconfig,
    JSON.stringify({
      clusters: [{ name: "c", cluster }],
      users: [{ name: "u", user: { token: await system.cluster.token("alice") } }],
      contexts: [{ name: "c", context: { cluster: "c", user: "u", namespace: "web" } }],
      "current-context": "c",
    }),
  );
});

beforeEach(async () => {
  target = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined); // a test breaks it
    socket.pipe(socket);
  });
  target.listen(0, "127.0.0.1");
  await once(target, "listening");
  targetPort = (target.address() as AddressInfo).port; // a TCP server's address is never text
  serve({});
});

afterEach(async () => {
  for (const command of running.splice(0)) await command.stop();
  target.close();
});

function serve(more: ClusterObjects): void {
  const ports = [
    { name: "echo", containerPort: targetPort },
    { name: "other", containerPort: 1 },
  ];
  system.apiserver.onRequest = answerObjects({ [paths.pod("a")]: pod({ name: "a", address: "10.9.0.5", ports }), ...more });
}

function start(args: readonly string[]): RunningCommand {
  const command = startCommand(["forward", "--kubeconfig", kubeconfig, ...args]);
  running.push(command);
  return command;
}

/** The local port of the first line that fits. */
async function portOf(command: RunningCommand, pattern = /127\.0\.0\.1:(\d+)/): Promise<number> {
  return Number(pattern.exec(await command.printed(pattern))?.[1]);
}

async function through(port: number, text: string): Promise<string> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.end(text);
  let received = "";
  for await (const chunk of socket.setEncoding("latin1")) received += String(chunk);
  return received;
}

describe("listening", () => {
  test("says where, and carries each connection with its half-close", async () => {
    const command = start(["a", `:${targetPort}`]);
    const port = await portOf(command);
    expect(await Promise.all(["one", "two"].map((text) => through(port, text)))).toEqual(["one", "two"]);
    expect(command.stdout()).toContain(`Forwarding from 127.0.0.1:${port} -> a:${targetPort} (pods/web/a/${targetPort})`);
    expect(await command.stop()).toBe(0);
  });

  test("at a port by name takes the number that the pod has for it, and several at once", async () => {
    const udp = createSocket("udp4");
    udp.on("message", (payload, from) => udp.send(payload, from.port, from.address));
    udp.bind(0, "127.0.0.1");
    await once(udp, "listening");
    const command = start(["pod/a", ":echo", `:${udp.address().port}/udp`]);
    expect(await through(await portOf(command), "named")).toBe("named");
    const udpPort = await portOf(command, /127\.0\.0\.1:(\d+) -> pod\/a:\d+\/udp/);
    const client = createSocket("udp4");
    client.send("ping", udpPort, "127.0.0.1");
    const [answer] = (await once(client, "message")) as [Buffer]; // of node:dgram
    expect(answer.toString()).toBe("ping");
    client.close();
    udp.close();
  });

  test("ends at once when it is interrupted while connections are open, and they end at the target", async () => {
    const accepted = once(target, "connection");
    const command = start(["a", `:${targetPort}`]);
    const socket = connect(await portOf(command), "127.0.0.1");
    socket.on("error", () => undefined); // it is broken off
    const [far] = await accepted;
    const closed = new Promise((resolve) => far.on("close", resolve));
    socket.write("there and back");
    await once(socket, "data");
    expect(await command.stop()).toBe(0);
    await closed;
  });

  test("tells once that a target cannot be reached and once that it works again, and resets what it could not carry", async () => {
    const command = start(["a", `:${targetPort}`]);
    const port = await portOf(command);
    target.close();
    await once(target, "close");
    for (let round = 0; round < 2; round++) {
      const socket = connect(port, "127.0.0.1");
      expect((await once(socket, "error"))[0]).toMatchObject({ code: "ECONNRESET" });
    }
    target = createServer((socket) => socket.end("back"));
    target.listen(targetPort, "127.0.0.1");
    await once(target, "listening");
    expect(await through(port, "")).toBe("back");
    const told = command
      .stderr()
      .split("\n")
      .filter((line) => line !== "");
    expect(told).toEqual([expect.stringContaining("TARGET_UNREACHABLE"), expect.stringContaining("works again")]);
  });
});

describe("standard input and output", () => {
  test("are joined to one port, and the end of both is a success", async () => {
    const [input, output] = [new PassThrough(), new PassThrough()];
    const command = startCommand(["forward", "--kubeconfig", kubeconfig, "--stdio", "a", String(targetPort)], { input, output });
    input.end("through ssh");
    let received = "";
    for await (const chunk of output) received += String(chunk);
    expect([received, await command.ended, command.stdout()]).toEqual(["through ssh", 0, ""]);
  });

  test("a connection that breaks is a failure", async () => {
    target.removeAllListeners("connection");
    target.on("connection", (socket: Socket) => socket.on("data", () => socket.resetAndDestroy()));
    const [input, output] = [new PassThrough(), new PassThrough()];
    const command = startCommand(["forward", "--kubeconfig", kubeconfig, "--stdio", "a", String(targetPort)], { input, output });
    input.write("x");
    expect([await command.ended, command.stderr()]).toEqual([6, expect.stringContaining("the target broke the connection")]);
  });
});

describe("a failure before anything listens", () => {
  beforeEach(() => {
    serve({
      [paths.service("shop")]: service([
        { name: "http", port: 80 },
        { name: "dns", port: 53, protocol: "UDP" },
      ]),
      [paths.slices()]: slices([{ name: "http", port: 8080 }], [{ address: "10.9.0.5", pod: "a" }]),
    });
  });

  test.each([
    [["pod/absent", "80"], 3, 'pods "absent" not found in the namespace "web"'],
    [["pod/absent", "80", "-n", "other"], 3, 'in the namespace "other"'],
    [["svc/shop", "https"], 3, "its ports are http 80/TCP, dns 53/UDP"],
    [["svc/shop", "80/udp"], 3, "has no UDP port 80"],
    [["a", "grpc"], 3, 'no TCP port "grpc"; its ports are echo'],
    [["cronjob/x", "80"], 2, "a forward reaches"],
    [["a"], 2, "argument"],
    [["--stdio", "a", "80", "81"], 2, "--stdio takes one TCP port"],
    [["--context", "absent", "a", "80"], 2, "absent"],
  ])("%j ends with %i and says why", async (args, exitCode, text) => {
    const command = start(args);
    expect([await command.ended, command.stderr()]).toEqual([exitCode, expect.stringContaining(text)]);
  });

  test("a user who may not forward", async () => {
    system.apiserver.review = () => false;
    const command = start(["pod/b", "80"]);
    expect([await command.ended, command.stderr()]).toEqual([5, expect.stringContaining("pods/portforward")]);
  });

  test("a port that another program has", async () => {
    const command = start(["a", `${targetPort}:echo`]);
    expect([await command.ended, command.stderr()]).toEqual([1, expect.stringContaining("Another program listens there")]);
  });

  test("a server that is no gateway", async () => {
    const server = `http://127.0.0.1:${system.apiserver.port}`;
    system.apiserver.onRequest = (_request, response) => void response.writeHead(404).end("404 page not found");
    const command = start(["--server", server, "a", "80"]);
    expect([await command.ended, command.stderr()]).toEqual([3, expect.stringContaining("use kubectl port-forward")]);
  });
});

// The last of the file: the agent of the others ends here.
test("waits for an agent that is away, and carries on when it is back", async () => {
  const command = start(["a", `:${targetPort}`]);
  const port = await portOf(command);
  await system.agent.stop("SIGKILL");
  const answer = through(port, "patience");
  await command.waited();
  const restarted = await system.cluster.startAgent({
    kubeconfig: await system.apiserver.kubeconfig(join(system.gateway.folder, "agent.kubeconfig")),
    program: "test/support/forward-agent.ts",
    replica: "replica-2",
  });
  command.goOn();
  expect(await answer).toBe("patience");
  await restarted.stop("SIGKILL");
});
