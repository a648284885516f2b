/**
 * A gateway that was taken over, in front of a real agent: it may refuse, delay and read, but it cannot make the agent act for anybody
 * whose own token the agent has not verified, and it cannot break the agent.
 */
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createAuthority } from "#cli/workerd/certificates.ts";
import { encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame } from "#core/tunnel/frame.ts";
import { encodePayload, parseHead } from "#core/tunnel/payload.ts";
import { startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import type { ScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { openPayload, startScriptedHub } from "#test/support/scripted-hub.ts";
import type { HubLane, ScriptedHub } from "#test/support/scripted-hub.ts";
import { startGateway } from "#test/support/system.ts";
import type { AgentFixture, ClusterFixture, GatewayFixture } from "#test/support/system.ts";
import { gatewayBundle } from "#test/support/worker-bundle.ts";

let gateway: GatewayFixture;
let cluster: ClusterFixture;
let apiserver: ScriptedApiserver;
let hub: ScriptedHub;
let agent: AgentFixture;
let kubeconfig: string;
/** The agent's interactive lane, as it is now. */
let lane: HubLane;
let lastStream = 0;

beforeAll(async () => {
  // The true gateway only makes the cluster's files; the agent is sent to the hostile one.
  gateway = await startGateway({ bundle: gatewayBundle });
  cluster = await gateway.register({ name: "one" });
  apiserver = await startScriptedApiserver();
  kubeconfig = await apiserver.kubeconfig(join(gateway.folder, "kubeconfig"));
  hub = await startScriptedHub(gateway.authority);
  hub.onLane = (opened) =>
    void opened.welcome().then((hello) => {
      if (hello?.lane === "interactive") lane = opened;
    });
  agent = await cluster.startAgent({ kubeconfig, gatewayUrl: hub.url });
});

beforeEach(() => apiserver.reset());

afterAll(async () => {
  await agent.stop("SIGKILL");
  await hub.stop();
  await apiserver.stop();
  await gateway.stop();
});

interface AgentAnswer {
  readonly status: number;
  readonly code: string | undefined;
}

/** Opens a stream and waits for the agent's own answer. */
async function open(payload: Uint8Array): Promise<AgentAnswer | string> {
  const stream = ++lastStream;
  lane.send({ type: "open", stream, payload }, { type: "end", stream, closeCode: undefined, closeReason: "" });
  const ours = (frame: Frame) => "stream" in frame && frame.stream === stream;
  const outcome = await Promise.race([lane.frame("head", ours), lane.frame("reset", ours)]);
  if (outcome.type === "reset") return outcome.code;
  const head = parseHead(outcome.payload);
  await lane.frame("end", ours);
  const body = Buffer.concat(lane.frames.flatMap((frame) => (frame.type === "data" && frame.stream === stream ? [frame.payload] : [])));
  const status = head.type === "parsed" ? head.payload.status : 0;
  return { status, code: /"reason":"(?<code>[A-Z_]+)"/.exec(body.toString())?.groups?.["code"] };
}

describe("an OPEN", () => {
  test("with a user's true token runs as that user, whatever else it says", async () => {
    const headers = [
      ["impersonate-anything", "x"],
      ["x-remote-user", "root"],
      ["authorization", "Bearer stolen"],
      ["x-forwarded-for", "6.6.6.6"],
    ];
    expect(await open(openPayload(await cluster.token("alice"), { headers }))).toMatchObject({ status: 200 });
    const [seen] = apiserver.seen;
    expect(seen?.headers.filter(([name]) => /^(?:impersonate|x-remote|x-forwarded)/i.test(name))).toEqual([
      ["Impersonate-User", "oidc:alice"],
    ]);
    expect(apiserver.bytes()).not.toContain("stolen");
  });

  test.each<readonly [string, () => Promise<Uint8Array>, AgentAnswer | string]>([
    ["no token", async () => openPayload(""), { status: 401, code: "TOKEN_INVALID" }],
    ["an invented token", async () => openPayload("eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."), { status: 401, code: "TOKEN_INVALID" }],
    ["a token that has expired", async () => openPayload(await cluster.token("alice", {}, -3600)), { status: 401, code: "TOKEN_EXPIRED" }],
    [
      "a token for another cluster",
      async () => openPayload(await cluster.token("alice", { aud: "cluster-two" })),
      { status: 401, code: "TOKEN_INVALID" },
    ],
    [
      "a token of an admin of the gateway",
      async () => openPayload(await gateway.admin.token({ sub: "root", aud: cluster.audience })),
      { status: 401, code: "TOKEN_INVALID" },
    ],
    [
      "a token that the gateway signed itself",
      async () => openPayload(await cluster.join.token({ sub: "root", aud: cluster.audience, iss: cluster.users.url })),
      { status: 401, code: "TOKEN_INVALID" },
    ],
    [
      "another cluster's name",
      async () => openPayload(await cluster.token("alice"), { cluster: "two" }),
      { status: 403, code: "POLICY_DENIED" },
    ],
    [
      "a path with two readings",
      async () => openPayload(await cluster.token("alice"), { target: "/api/v1/namespaces/a%2fsecrets" }),
      { status: 400, code: "REQUEST_INVALID" },
    ],
    [
      "a request line inside its target",
      async () => openPayload(await cluster.token("alice"), { target: "/version HTTP/1.1\r\nImpersonate-User: root\r\n\r\nGET /x" }),
      { status: 400, code: "REQUEST_INVALID" },
    ],
    [
      "another server as its target",
      async () => openPayload(await cluster.token("alice"), { target: "http://169.254.169.254/" }),
      { status: 400, code: "REQUEST_INVALID" },
    ],
    [
      "a method that is none",
      async () => openPayload(await cluster.token("alice"), { method: "GET / HTTP/1.1\r\nX: y\r\n\r\nGET" }),
      { status: 405, code: "METHOD_NOT_ALLOWED" },
    ],
    ["CONNECT", async () => openPayload(await cluster.token("alice"), { method: "CONNECT" }), { status: 405, code: "METHOD_NOT_ALLOWED" }],
    [
      "a header with a line feed",
      async () => openPayload(await cluster.token("alice"), { headers: [["accept", "a\r\nImpersonate-User: root"]] }),
      { status: 400, code: "REQUEST_INVALID" },
    ],
    [
      "a header name with a line feed",
      async () => openPayload(await cluster.token("alice"), { headers: [["accept: a\r\nimpersonate-user", "root"]] }),
      { status: 400, code: "REQUEST_INVALID" },
    ],
    [
      "two hosts",
      async () =>
        openPayload(await cluster.token("alice"), {
          headers: [
            ["host", "a"],
            ["host", "b"],
          ],
        }),
      { status: 400, code: "REQUEST_INVALID" },
    ],
    [
      "an audit id with a line feed",
      async () => openPayload(await cluster.token("alice"), { auditId: "x\r\nImpersonate-User: root" }),
      { status: 500, code: "INTERNAL" },
    ],
    ["an unknown kind", async () => openPayload(await cluster.token("alice"), { kind: "tcp" }), "PROTOCOL"],
    ["a field that is missing", async () => openPayload(await cluster.token("alice"), { token: undefined }), "PROTOCOL"],
    ["a payload that is no JSON", async () => new Uint8Array([0xff, 0x00]), "PROTOCOL"],
  ])("with %s is refused, and the apiserver hears nothing", async (_name, make, expected) => {
    const answer = await open(await make());
    if (typeof expected === "string") expect(answer).toBe(expected);
    else expect(answer).toEqual(expected);
    expect(apiserver.seen).toEqual([]);
    expect(apiserver.bytes()).not.toContain("root");
  });

  test("that the agent cannot handle leaves a line in its log, which the reference in its failure finds", async () => {
    await open(openPayload(await cluster.token("alice"), { auditId: "reference-1\n" }));
    await agent.waitFor(/"event":"fault","auditId":"reference-1\\n"/);
    expect(lane.frames.some((frame) => frame.type === "data" && Buffer.from(frame.payload).includes("(reference reference-1"))).toBe(true);
  });

  test("that asks to be somebody else needs that user's right to impersonate", async () => {
    apiserver.review = () => false;
    const headers = [["impersonate-user", "admin"]];
    expect(await open(openPayload(await cluster.token("mallory"), { headers }))).toEqual({ status: 403, code: "POLICY_DENIED" });
    expect(apiserver.seen).toEqual([]);
  });

  test("for an exec that is dressed as a plain request reaches no exec", async () => {
    await open(
      openPayload(await cluster.token("alice"), {
        target: "/api/v1/namespaces/a/pods/p/exec?command=id",
        headers: [
          ["connection", "upgrade"],
          ["upgrade", "websocket"],
        ],
      }),
    );
    const names = apiserver.seen.flatMap((seen) => seen.headers.map(([name, value]) => `${name}: ${value}`.toLowerCase()));
    expect(names).not.toContain("upgrade: websocket");
  });
});

describe("frames of a gateway that break the protocol", () => {
  const bytes = (...values: readonly number[]) => new Uint8Array(values);

  test.each<readonly [string, number, (stream: number) => Uint8Array]>([
    ["a truncated header", 1002, () => bytes(3, 0)],
    ["a frame longer than its message", 1002, () => bytes(3, 0, 0, 9, 0, 0, 0, 1)],
    ["an unknown type", 1002, () => bytes(0x3f, 0, 0, 0, 0, 0, 0, 0)],
    [
      "data before any OPEN",
      1002,
      (stream) => encodeFrames([{ type: "data", stream: stream + 1000, payload: bytes(1), messageEnd: false, text: false }]),
    ],
    ["33 MiB in one message", 1009, () => new Uint8Array(33 << 20)],
  ])("close the lane, and the agent comes back: %s", async (_name, code, make) => {
    const broken = lane;
    const { promise: back, resolve } = Promise.withResolvers<void>();
    hub.onLane = (opened) =>
      void opened.welcome().then((hello) => {
        if (hello?.lane !== "interactive") return;
        lane = opened;
        resolve();
      });
    broken.socket.send(make(lastStream));
    expect((await broken.closed).code).toBe(code);
    await back;
    lastStream = 0;
    expect(await open(openPayload(await cluster.token("alice")))).toMatchObject({ status: 200 });
  });

  test.each<readonly [string, (stream: number) => readonly Frame[]]>([
    [
      "more data than was granted",
      (stream) =>
        Array.from({ length: 8 }, (): Frame => ({
          type: "data",
          stream,
          payload: new Uint8Array(100_000),
          messageEnd: false,
          text: false,
        })),
    ],
    [
      "data behind the END",
      (stream) => [
        { type: "end", stream, closeCode: undefined, closeReason: "" },
        { type: "data", stream, payload: bytes(1), messageEnd: false, text: false },
      ],
    ],
    ["more credit than any window", (stream) => [{ type: "window", stream, credit: 0xff_ff_ff_ff }]],
  ])("reset their stream and nothing else: %s", async (_name, frames) => {
    apiserver.onRequest = () => undefined; // takes the request and keeps it
    const stream = ++lastStream;
    lane.send({
      type: "open",
      stream,
      payload: openPayload(await cluster.token("alice"), { method: "POST", target: "/api/v1/namespaces/a/pods", hasBody: true }),
    });
    for (const frame of frames(stream)) lane.send(frame);
    const reset = await lane.frame("reset", (frame) => "stream" in frame && frame.stream === stream);
    expect(["FLOW", "PROTOCOL"]).toContain(reset.code);
    apiserver.reset();
    expect(await open(openPayload(await cluster.token("alice")))).toMatchObject({ status: 200 });
  });

  test("in text, pings, unknown ignorable types and empty messages mean nothing", async () => {
    lane.socket.send("hello");
    lane.socket.ping();
    lane.socket.send(new Uint8Array(0));
    lane.socket.send(bytes(0x7f, 0, 0, 1, 0, 0, 0, 0, 9));
    expect(await open(openPayload(await cluster.token("alice")))).toMatchObject({ status: 200 });
  });

  test("have neither stopped the agent nor made it a fault", () => {
    expect(agent.process.exitCode).toBeNull();
    expect(agent.lines.filter((line) => line.includes('"event":"fault"') && !line.includes("auditId"))).toEqual([]);
  });
});

describe("an agent does not join", () => {
  async function refusedAgent(
    options: { readonly gatewayUrl: string; readonly gatewayCertificate?: string },
    until: RegExp,
  ): Promise<string> {
    const other = await cluster.startAgent({ kubeconfig, replica: "other", until, ...options });
    const line = await other.waitFor(until);
    await other.stop("SIGKILL");
    return line;
  }

  test("a gateway that redirects its upgrade", async () => {
    const hostile = await startScriptedHub(gateway.authority);
    hostile.onUpgrade = (_request, socket) =>
      void socket.end(`HTTP/1.1 307 X\r\nLocation: ${hub.url}/tunnel/one\r\nContent-Length: 0\r\n\r\n`);
    const before = hub.upgrades.length;
    expect(await refusedAgent({ gatewayUrl: hostile.url }, /"lastEnd"/)).toContain("307");
    expect(hub.upgrades.length).toBe(before);
    await hostile.stop();
  });

  test("a gateway whose certificate another authority has signed", async () => {
    const other = await createAuthority("somebody else", 86_400_000);
    expect(await refusedAgent({ gatewayUrl: hub.url, gatewayCertificate: other.certificate }, /"lastEnd"/)).toMatch(/certificate/);
  });

  test("a gateway that speaks no version of its protocol", async () => {
    const hostile = await startScriptedHub(gateway.authority);
    hostile.onLane = (opened) => opened.send({ type: "hello", payload: encodePayload({ version: 99, build: "x", nonce: "n" }) });
    expect(await refusedAgent({ gatewayUrl: hostile.url }, /"lastEnd"/)).toMatch(/HELLO/);
    await hostile.stop();
  });

  test("over plain HTTP: its start fails and says why", async () => {
    const failed = cluster.startAgent({ kubeconfig, replica: "plain", gatewayUrl: "http://localhost:1" });
    await expect(failed).rejects.toThrow(/never use plain http/);
  });
});

describe("an upgrade that a gateway asks for", () => {
  test.each([
    ["h2c", { method: "GET", upgrade: "h2c", target: "/api/v1/namespaces/a/services/s/proxy/" }],
    ["a list", { method: "POST", upgrade: "SPDY/3.1, h2c" }],
    ["a line feed", { method: "POST", upgrade: "SPDY/3.1\r\nImpersonate-User: root" }],
    ["an unknown protocol of a pod's exec", { method: "GET", upgrade: "foo", target: "/api/v1/namespaces/a/pods/p/exec" }],
    ["SPDY by PUT", { method: "PUT", upgrade: "SPDY/3.1" }],
  ])("is not made to %s", async (_name, different) => {
    const token = await cluster.token("alice");
    const target = "/api/v1/namespaces/a/pods/p/exec?command=id";
    expect(await open(openPayload(token, { kind: "upgrade", target, ...different }))).toEqual({ status: 400, code: "REQUEST_INVALID" });
    expect(apiserver.seen).toEqual([]);
  });

  test("without naming its protocol is no OPEN", async () => {
    expect(await open(openPayload(await cluster.token("alice"), { kind: "upgrade", method: "POST" }))).toBe("PROTOCOL");
  });

  test("is over on both sides when its user has closed", async () => {
    const { promise: gone, resolve } = Promise.withResolvers<void>();
    apiserver.onUpgrade = (_request, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n");
      socket.on("data", () => undefined).on("end", resolve);
    };
    const stream = ++lastStream;
    const ours = (frame: Frame): boolean => "stream" in frame && frame.stream === stream;
    const different = { kind: "upgrade", method: "POST", upgrade: "SPDY/3.1", target: "/api/v1/namespaces/a/pods/p/exec?command=id" };
    lane.send({ type: "open", stream, payload: openPayload(await cluster.token("alice"), different) });
    await lane.frame("head", ours);
    lane.send({ type: "end", stream, closeCode: 1000, closeReason: "" });
    expect(await lane.frame("end", ours)).toMatchObject({ stream });
    await gone;
  });

  test("ends with the user's credential, whatever the gateway does", async () => {
    apiserver.onUpgrade = (_request, socket) =>
      void socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n");
    const stream = ++lastStream;
    const different = { kind: "upgrade", method: "POST", upgrade: "SPDY/3.1", target: "/api/v1/namespaces/a/pods/p/exec?command=id" };
    lane.send({ type: "open", stream, payload: openPayload(await cluster.token("alice", {}, 2), different) });
    const ended = await lane.frame("reset", (frame) => "stream" in frame && frame.stream === stream);
    expect(ended).toMatchObject({ code: "EXPIRED" });
  });
});
