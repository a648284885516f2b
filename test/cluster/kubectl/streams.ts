/** kubectl's streams through the gateway: exec, attach, cp and port-forward, with their exit codes, terminals and half-closes. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import path from "node:path";

import { beforeAll, describe, expect, test } from "vitest";

import { toolbox, toolImage } from "#test/cluster/fixture/names.ts";
import { lee } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";
import type { ToolRunner } from "#test/cluster/fixture/tool-runner.ts";
import { type KubectlVersion, kubectlVersions } from "#test/cluster/harness/tools.ts";

import { entrances } from "./everyday.ts";

/** Megabytes that each version copies both ways; one carries a large file. */
const copiedMegabytes: Readonly<Record<KubectlVersion, number>> = { "1.30": 8, "1.32": 8, "1.34": 8, "1.35": 200 };
const parallelConnections = 50;
const toolboxPort = 8080;

/** Registers the tests. */
export function streamTests(system: () => GatewaySystem): void {
  describe.each(kubectlVersions)("kubectl %s", (version) => {
    const make = async (): Promise<ToolRunner> => {
      const kubectl = await system().kubectl(version, { person: lee, entrance: entrances[version] });
      return kubectl.with(portForwardEnvironment(version));
    };
    const suffix = version.replace(".", "-");
    streamCases({ suffix, megabytes: copiedMegabytes[version], make });
    runCase({ suffix, make });
  });

  test("kubectl 1.30 without its switch for port-forward over WebSocket is told about it", async () => {
    const kubectl = await system().kubectl("1.30", { person: lee, entrance: "host" });
    const refused = await kubectl.run(["port-forward", `pod/${toolbox}`, `:${toolboxPort}`]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain("KUBECTL_PORT_FORWARD_WEBSOCKETS=true");
  });
}

export interface StreamCases {
  /** Tells the names of one kubectl's things from another's. */
  readonly suffix: string;
  /** Megabytes to copy both ways. */
  readonly megabytes: number;
  readonly make: () => Promise<ToolRunner>;
}

/** Registers the tests of one kubectl. */
export function streamCases({ suffix, megabytes, make }: StreamCases): void {
  let kubectl: ToolRunner;

  beforeAll(async () => {
    kubectl = await make();
  });

  test.each([0, 1, 7, 255])("runs a command that ends with %i", async (code) => {
    const script = `read -r line; echo "out $line"; echo "err $line" >&2; exit ${code}`;
    const result = await kubectl.run(["exec", "-i", toolbox, "--", "sh", "-c", script], { stdin: "hello\n" });
    expect(result).toMatchObject({ code, stdout: "out hello\n" });
    expect(result.stderr).toContain("err hello\n");
  });

  test("ends a command's input where the user's ends", async () => {
    const input = randomBytes(3 << 20);
    const result = await kubectl.run(["exec", "-i", toolbox, "--", "sh", "-c", "sha256sum; echo read to the end"], { stdin: input });
    expect(result).toMatchObject({ code: 0, stdout: `${digest(input)}  -\nread to the end\n` });
  });

  test("refuses what cannot be run with the apiserver's own words", async () => {
    const missing = await kubectl.run(["exec", "no-such-pod", "--", "true"]);
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining('pods "no-such-pod" not found') });
    const noProgram = await kubectl.run(["exec", toolbox, "--", "no-such-program"]);
    expect(noProgram.code).not.toBe(0);
    expect(noProgram.stderr).toContain("no-such-program");
  });

  test("works on a terminal whose window changes", async () => {
    const terminal = kubectl.terminal(["exec", "-it", toolbox, "--", "bash"]);
    // kubectl sends the size and what is typed side by side, so a shell may read the line first.
    terminal.type("until [ \"$(stty size 2>&1)\" = '30 90' ]; do :; done; echo first-$((1+1))\r");
    await terminal.output.waitFor((line) => line.includes("first-2"));
    terminal.resize(40, 120);
    terminal.type("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo second-$((1+1)); exit 5\r");
    await terminal.output.waitFor((line) => line.includes("second-2"));
    expect(await terminal.output.finish()).toBe(5);
  });

  test("attaches to a running program", async () => {
    const attached = kubectl.start(["attach", "-i", "listener"]);
    attached.say(`hello-${suffix}`);
    await attached.waitFor((line) => line === `heard hello-${suffix}`);
    await attached.stop();
  });

  test(`copies ${megabytes} MB to a pod and back`, async () => {
    const folder = path.dirname(kubectl.kubeconfig);
    const [sent, back] = [path.join(folder, "sent"), path.join(folder, "back")];
    const content = randomBytes(megabytes * 1_000_000);
    writeFileSync(sent, content);
    await kubectl.must(["cp", sent, `${toolbox}:/tmp/copy-${suffix}`]);
    const there = await kubectl.must(["exec", toolbox, "--", "sha256sum", `/tmp/copy-${suffix}`]);
    expect(there.split(" ")[0]).toBe(digest(content));
    await kubectl.must(["cp", `${toolbox}:/tmp/copy-${suffix}`, back]);
    expect(digest(readFileSync(back))).toBe(digest(content));
    await kubectl.must(["exec", toolbox, "--", "rm", `/tmp/copy-${suffix}`]);
    for (const file of [sent, back]) rmSync(file);
  });

  test(`forwards a port for ${parallelConnections} connections at once`, async () => {
    const forward = kubectl.start(["port-forward", `pod/${toolbox}`, `:${toolboxPort}`]);
    const line = await forward.waitFor((text) => text.includes("Forwarding from 127.0.0.1:"));
    const port = Number(/127\.0\.0\.1:(\d+)/.exec(line)?.[1]);
    const connections = await Promise.all(Array.from({ length: parallelConnections }, () => HttpConnection.open(port)));
    // Twice round, so that all of them are open while each is used.
    for (const round of ["first", "second"]) {
      const answers = await Promise.all(connections.map((connection, index) => connection.ask(`/echo?msg=${round}-${index}`)));
      expect(answers).toEqual(connections.map((_, index) => `${round}-${index}`));
    }
    for (const connection of connections) connection.close();
    await forward.stop();
  });
}

/** Registers the test of `kubectl run`, which is a pod, an attach and the pod's end in one. */
export function runCase({ suffix, make }: Omit<StreamCases, "megabytes">): void {
  test("runs a pod, talks to it, and ends with its code", async () => {
    const kubectl = await make();
    const script = "read -r line; echo got $line; exit 4";
    const args = ["run", `once-${suffix}`, `--image=${toolImage}`, "-i", "--rm", "--quiet", "--restart=Never", "--command", "--"];
    const result = await kubectl.run([...args, "sh", "-c", script], { stdin: "word\n" });
    expect(result).toMatchObject({ code: 4, stdout: expect.stringContaining("got word") });
  });
}

/** kubectl 1.30 forwards ports over WebSocket only when it is told to. */
export function portForwardEnvironment(version: KubectlVersion): Readonly<Record<string, string>> {
  return version === "1.30" ? { KUBECTL_PORT_FORWARD_WEBSOCKETS: "true" } : {};
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** A connection that stays open between requests, so that many are open at once. */
class HttpConnection {
  readonly #socket: Socket;
  #received = "";

  static async open(port: number): Promise<HttpConnection> {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return new HttpConnection(socket);
  }

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => (this.#received += text));
  }

  /** Sends a GET and returns the answer's body, whose length the server tells. */
  async ask(target: string): Promise<string> {
    this.#received = "";
    this.#socket.write(`GET ${target} HTTP/1.1\r\nHost: toolbox\r\n\r\n`);
    for (;;) {
      const match = /^HTTP\/1\.1 200 OK\r\n[^]*?content-length: (\d+)[^]*?\r\n\r\n([^]*)$/i.exec(this.#received);
      if (match !== null && match[2]?.length === Number(match[1])) return match[2];
      await Promise.race([once(this.#socket, "data"), once(this.#socket, "close").then(() => Promise.reject(new Error("closed early")))]);
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}
