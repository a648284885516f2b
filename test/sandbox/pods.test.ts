import { createHash, randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { listAt, numberAt, parseJson, textAt, valueAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import { as, configMap, pod, podUntil, startTestSandbox } from "./harness.ts";
import type { Client } from "./harness.ts";
import { ChannelClient, exec } from "./websocket-client.ts";

const core = "/api/v1/namespaces/default";
const toybox = `${core}/pods/box/exec`;

const status = (object: JsonObject): JsonObject => (listAt(object, "status", "containerStatuses")[0] ?? {}) as JsonObject; // a list of objects
const isRunning = (object: JsonObject): boolean => valueAt(status(object), "ready") === true;

let client: Client;

beforeAll(async () => {
  client = await startTestSandbox();
  await client.post(`${core}/configmaps`, configMap("settings", { colour: "green" }));
  const env = [
    { name: "PLAIN", value: "a b" },
    { name: "COLOUR", valueFrom: { configMapKeyRef: { name: "settings", key: "colour" } } },
    { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    { name: "NODE_OPTIONS", value: "--require=/etc/passwd" },
  ];
  await client.post(`${core}/pods`, pod("box", { image: "toybox", env }));
  await podUntil(client, "box", isRunning);
});
afterAll(() => client.sandbox.stop());

describe("exec", () => {
  it.each<[readonly string[], string, number]>([
    [["echo", "hi", "there"], "hi there\n", 0],
    [["/bin/echo", "-n", "x"], "x", 0],
    [["sh", "-c", "exit 3"], "", 3],
    [["sh", "-c", "echo a; false || echo b && echo $?"], "a\nb\n0\n", 0],
    [["sh", "-c", "printenv COLOUR; echo $PLAIN \"$POD\" '$POD'"], "green\na b box $POD\n", 0],
    [["sh", "-c", "seq 3 | wc -l"], "3\n", 0],
    [["sh", "-c", "echo saved > /tmp/f && cat /tmp/f; cat < /tmp/f; rm /tmp/f; test -e /tmp/f"], "saved\nsaved\n", 1],
    [["sh", "-c", "nothing 2>/dev/null; echo $?"], "127\n", 0],
    [["cat", "/etc/hostname"], "box\n", 0],
    [["sh", "-c", "head -c 100000 /dev/zero | sha256sum"], `${createHash("sha256").update(Buffer.alloc(100_000)).digest("hex")}  -\n`, 0],
    [["printenv", "NODE_OPTIONS"], "--require=/etc/passwd\n", 0],
  ])("%j prints %j and exits with %d", async (command, stdout, code) => {
    const result = await exec(client, toybox, { command });
    const exit = textAt(parseJson(result.status), "details", "causes") || valueAt(parseJson(result.status), "details", "causes");
    expect({ stdout: result.stdout, closeCode: result.closeCode }).toEqual({ stdout, closeCode: 1000 });
    expect(exit).toEqual(code === 0 ? undefined : [{ reason: "ExitCode", message: String(code) }]);
  });

  it("fails an unknown command with 127 and says what there is", async () => {
    const result = await exec(client, toybox, { command: ["/usr/bin/python3", "-c", "1"] });
    expect(result.stderr).toContain("command not found in this sandbox");
    expect(parseJson(result.status)).toMatchObject({ reason: "NonZeroExitCode", details: { causes: [{ message: "127" }] } });
  });

  it("reads no file of the machine and cannot leave its own file space", async () => {
    for (const path of ["/etc/passwd", "../../../../etc/passwd", "/proc/self/environ", import.meta.filename]) {
      const result = await exec(client, toybox, { command: ["cat", path] });
      expect(result).toMatchObject({ stdout: "", stderr: expect.stringContaining("No such file") as unknown });
    }
  });

  it("runs in a process that may neither write, start others, nor load native code", async () => {
    const { stdout } = await exec(client, toybox, { command: ["rights"] });
    expect(stdout.split("\n").filter((line) => line.endsWith("yes"))).toEqual([]);
    expect(stdout).toContain("child      no");
  });

  it("carries a megabyte of input byte for byte, and ends it by the close message", async () => {
    const input = randomBytes(1_000_000);
    const result = await exec(client, toybox, { command: ["sha256sum"], input });
    expect(result.stdout).toBe(`${createHash("sha256").update(input).digest("hex")}  -\n`);
  });

  it("carries ten megabytes of output to a client that reads", async () => {
    const result = await exec(client, toybox, { command: ["head", "-c", "10M", "/dev/zero"] });
    expect(result.stdout.length).toBe(10 * 1024 * 1024);
  });

  it("sends an empty message first, and the Status before the close", async () => {
    const channel = await ChannelClient.open(client, `${toybox}?command=true&stdout=true`);
    const result = await channel.result();
    expect(channel.first).toEqual(Buffer.of(1));
    expect(result).toMatchObject({ status: '{"metadata":{},"status":"Success"}', closeCode: 1000 });
  });

  it("serves v4 clients, without half-close", async () => {
    const channel = await ChannelClient.open(client, `${toybox}?command=cat&stdin=true&stdout=true`, "v4.channel.k8s.io");
    expect(channel.protocol).toBe("v4.channel.k8s.io");
    channel.endInput(); // in v4 this is data for an unknown channel
    channel.input("still here");
    await channel.until("still here");
    channel.drop();
  });

  it("gives a terminal its size, echo, editing and Ctrl-C", async () => {
    const channel = await ChannelClient.open(client, `${toybox}?command=sh&stdin=true&stdout=true&tty=true`);
    await channel.until("box:/# ");
    channel.resize(101, 37);
    channel.input("stty sizeX\x7f\r");
    await channel.until("37 101\r\n");
    channel.input("sleep 1000\r");
    await channel.until("sleep 1000\r\n");
    channel.input("\x03");
    channel.input("exit $?\r");
    const result = await channel.result();
    expect(result.stdout).toContain("stty sizeX\b \b\r\n");
    expect(parseJson(result.status)).toMatchObject({ details: { causes: [{ message: "130" }] } });
  });

  it("ends the session of a client that sends a close message for no channel", async () => {
    const channel = await ChannelClient.open(client, `${toybox}?command=cat&stdin=true&stdout=true`);
    channel.send(Buffer.of(255, 9));
    expect((await channel.result()).closeCode).toBe(1002);
  });

  it("kills the command when the client goes", async () => {
    const channel = await ChannelClient.open(
      client,
      `${toybox}?command=sh&command=-c&command=${encodeURIComponent("echo on; sleep 1000")}&stdout=true`,
    );
    await channel.until("on");
    channel.drop();
    const ps = async (): Promise<string> => (await exec(client, toybox, { command: ["ps"] })).stdout;
    expect(await ps()).not.toContain("sleep");
  });

  it.each([
    ["pods/nope/exec?command=id", 404, "not found"],
    ["pods/box/exec?command=id&container=nope", 400, "is not valid for pod box"],
    ["pods/box/exec", 400, "at least 1 command"],
    ["pods/box/exec?command=id", 400, "Use kubectl 1.31 or later"],
  ])("answers POST %s (SPDY) with %d and a sentence", async (path, code, text) => {
    const lines = [
      ["connection", "Upgrade"],
      ["upgrade", "SPDY/3.1"],
      ["x-stream-protocol-version", "v4.channel.k8s.io"],
    ] as const;
    const answer = await client.ask(`${core}/${path}`, { method: "POST", lines });
    expect({ status: answer.status, kind: answer.body["kind"] }).toEqual({ status: code, kind: "Status" });
    expect(textAt(answer.body, "message")).toContain(text);
  });

  it("refuses an upgrade without the right, with the same Status as a plain request", async () => {
    const answer = await client.ask(`${core}/pods/box/exec?command=id`, {
      lines: [...as("lee"), ["connection", "Upgrade"], ["upgrade", "websocket"]],
    });
    expect(answer).toMatchObject({ status: 403, body: { reason: "Forbidden" } });
  });
});

describe("the life of a pod", () => {
  it("says which images there are instead of running another one", async () => {
    await client.post(`${core}/pods`, pod("stranger", { image: "docker.io/library/nginx:1" }));
    const object = await podUntil(client, "stranger", (candidate) => textAt(status(candidate), "state", "waiting", "reason") !== "");
    const waiting = await podUntil(
      client,
      "stranger",
      (candidate) => textAt(status(candidate), "state", "waiting", "reason") === "ImagePullBackOff",
    );
    expect(textAt(object, "status", "phase")).toBe("Pending");
    expect(textAt(status(waiting), "state", "waiting", "message")).toContain("sallyport.dev/sandbox/web:1");
    const events = await client.get(`${core}/events?fieldSelector=involvedObject.name%3Dstranger,reason%3DFailed`);
    expect(textAt(listAt(events.body, "items")[0] ?? null, "message")).toContain("this sandbox has only these images");
  });

  it("ends with its command's exit code when it is not restarted", async () => {
    await client.post(
      `${core}/pods`,
      pod("once", { image: "toybox", command: ["sh", "-c", "echo bye; exit 4"] }, { restartPolicy: "Never" }),
    );
    const object = await podUntil(client, "once", (candidate) => textAt(candidate, "status", "phase") === "Failed");
    expect(numberAt(status(object), "state", "terminated", "exitCode")).toBe(4);
    expect((await client.get(`${core}/pods/once/log`)).text).toBe("bye\n");
  });

  it("shows the log of the instance that failed, and waits before it starts another", async () => {
    await client.post(`${core}/pods`, pod("crash", { image: "crasher", args: ["9"] }));
    const object = await podUntil(
      client,
      "crash",
      (candidate) => textAt(status(candidate), "state", "waiting", "reason") === "CrashLoopBackOff",
    );
    expect(numberAt(status(object), "lastState", "terminated", "exitCode")).toBe(9);
    expect((await client.get(`${core}/pods/crash/log?previous=true`)).text).toContain("this program always fails");
  });

  it("follows a log, cuts it by lines, time and bytes, and ends it with the container", async () => {
    await client.post(`${core}/pods`, pod("tick", { image: "ticker", args: ["0.05"] }, { restartPolicy: "Never" }));
    await podUntil(client, "tick", isRunning);
    const stream = await client.lines(`${core}/pods/tick/log?follow=true`);
    await stream.until((line) => line === "tick 3");
    expect((await client.get(`${core}/pods/tick/log?tailLines=1`)).text.trim().split("\n").length).toBe(1);
    expect((await client.get(`${core}/pods/tick/log?limitBytes=4`)).text.length).toBe(4);
    expect((await client.get(`${core}/pods/tick/log?timestamps=true&tailLines=1`)).text).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z /);
    expect((await client.get(`${core}/pods/tick/log?container=nope`)).status).toBe(400);
    expect((await client.get(`${core}/pods/tick/log?tailLines=-1`)).status).toBe(400);
    await client.ask(`${core}/pods/tick`, { method: "DELETE" });
    await stream.until((line) => line === "ticker: asked to stop");
    expect(await stream.next()).toBeUndefined();
  });

  it("is marked, asked to stop, and removed when its process has ended", async () => {
    await client.post(`${core}/pods`, pod("leave", { image: "toybox" }));
    await podUntil(client, "leave", isRunning);
    const watch = await client.lines(`${core}/pods?watch=1&fieldSelector=metadata.name=leave`);
    const marked = await client.ask(`${core}/pods/leave`, { method: "DELETE" });
    expect(marked.body).toMatchObject({ metadata: { deletionGracePeriodSeconds: 30 } });
    await watch.until((line) => line.startsWith('{"type":"DELETED"'));
    watch.close();
  });

  it("attaches to the container's own process, input and output", async () => {
    await client.post(
      `${core}/pods`,
      pod("chat", { image: "toybox", command: ["cat"], stdin: true, stdinOnce: true }, { restartPolicy: "Never" }),
    );
    await podUntil(client, "chat", isRunning);
    const channel = await ChannelClient.open(client, `${core}/pods/chat/attach?stdin=true&stdout=true`);
    channel.input("hello\n");
    await channel.until("hello\n");
    channel.endInput();
    expect((await channel.result()).closeCode).toBe(1000);
    await podUntil(client, "chat", (candidate) => textAt(candidate, "status", "phase") === "Succeeded");
  });

  it("rolls a Deployment out and leads its Service to the ready pods", async () => {
    const labels = { app: "site" };
    const container = { name: "web", image: "web", ports: [{ containerPort: 8080, name: "http" }] };
    const spec = { replicas: 2, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [container] } } };
    await client.post(`${core}/services`, {
      metadata: { name: "site" },
      spec: { selector: labels, ports: [{ port: 80, targetPort: "http" }] },
    });
    await client.post("/apis/apps/v1/namespaces/default/deployments", { metadata: { name: "site" }, spec });
    const done = '"message":"ReplicaSet \\"site-';
    const watch = await client.lines("/apis/apps/v1/namespaces/default/deployments?watch=1&fieldSelector=metadata.name=site");
    await watch.until((line) => line.includes("NewReplicaSetAvailable") && line.includes(done));
    const slices = await client.get(
      "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dsite",
    );
    const [slice] = listAt(slices.body, "items");
    expect(listAt(slice, "endpoints").filter((endpoint) => valueAt(endpoint, "conditions", "ready") === true).length).toBe(2);
    expect(valueAt(slice, "ports")).toEqual([{ port: 8080, protocol: "TCP" }]);
    const annotations = { "kubectl.kubernetes.io/restartedAt": "now" };
    const patch = { spec: { template: { metadata: { annotations } } } };
    await client.patch("/apis/apps/v1/namespaces/default/deployments/site", patch, "application/strategic-merge-patch+json");
    await watch.until(
      (line) =>
        line.includes('"deployment.kubernetes.io/revision":"2"') &&
        line.includes("NewReplicaSetAvailable") &&
        line.includes('"observedGeneration":2'),
    );
    watch.close();
  });
});
