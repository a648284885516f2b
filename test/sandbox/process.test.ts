import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isObject, parseJson, textAt } from "#sandbox/objects/json.ts";
import type { JsonObject } from "#sandbox/objects/json.ts";
import type { Sandbox } from "#sandbox/sandbox.ts";
import { Client } from "./harness.ts";
import { exec } from "./websocket-client.ts";

const entry = fileURLToPath(new URL("../../src/sandbox/main.ts", import.meta.url));

describe("the sandbox as a process", () => {
  let folder = "";
  let child: ChildProcess;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "sandbox-test-"));
    const flags = ["--agent-token-file", join(folder, "token"), "--agent-audience", "sallyport:test"];
    child = spawn(process.execPath, [entry, ...flags], { stdio: ["pipe", "pipe", "inherit"] });
  });
  afterEach(async () => {
    child.kill("SIGKILL");
    await rm(folder, { recursive: true });
  });

  async function ready(): Promise<{ readonly line: JsonObject; readonly client: Client }> {
    if (child.stdout === null) throw new Error("stdout is a pipe");
    const [text] = (await once(createInterface({ input: child.stdout }), "line")) as [string];
    const line = parseJson(text);
    if (!isObject(line)) throw new Error(`not ready: ${text}`);
    return { line, client: new Client(line as unknown as Sandbox) }; // the client needs only what the line has
  }

  /** Process id of a running web pod, from its own point of view. */
  async function webProcess(client: Client): Promise<number> {
    const watch = await client.lines("/api/v1/namespaces/web/pods?watch=1&labelSelector=app%3Dcart");
    const line = await watch.until((candidate) => candidate.includes('"ready":true'));
    watch.close();
    const name = textAt(parseJson(line), "object", "metadata", "name");
    const { stdout } = await exec(client, `/api/v1/namespaces/web/pods/${name}/exec`, { command: ["ps"] });
    return Number(/^ *(\d+) web/m.exec(stdout)?.[1]);
  }

  it("prints one line with its addresses, and keeps a token file for the agent", async () => {
    const { line, client } = await ready();
    expect(Object.keys(line).toSorted()).toEqual(["adminToken", "caPem", "joinIssuer", "jwks", "url"]);
    const token = await readFile(join(folder, "token"), "utf8");
    const spec = { token, audiences: ["sallyport:test"] };
    const review = await client.post("/apis/authentication.k8s.io/v1/tokenreviews", { spec });
    expect(review.body["status"]).toMatchObject({ authenticated: true });
  });

  it("ends with its standard input, and no container process stays behind", async () => {
    const { client } = await ready();
    const pid = await webProcess(client);
    expect(process.kill(pid, 0)).toBe(true);
    child.stdin?.end();
    await once(child, "exit");
    expect(() => process.kill(pid, 0)).toThrow("ESRCH");
  });
});

describe("a container's process", () => {
  it("ends when the sandbox is killed and can end nothing itself", async () => {
    const program = new URL("../../src/sandbox/node/program.ts", import.meta.url);
    const script = `
      const { Program } = await import(${JSON.stringify(program.href)});
      const start = { program: "web", argv: [], env: {}, hostname: "site", tty: false, ports: [8080], processes: [] };
      new Program(start, { listening: (_, port) => console.log(port), file: () => undefined });
    `;
    const parent = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    const [port] = (await once(createInterface({ input: parent.stdout }), "line")) as [string];
    const connection = connect(Number(port), "127.0.0.1");
    await once(connection, "connect");
    connection.on("error", () => undefined); // a reset is a close too, and `once` would take it for a failure
    const closed = new Promise<void>((resolve) => connection.once("close", () => resolve()));
    parent.kill("SIGKILL");
    await closed;
  });
});
