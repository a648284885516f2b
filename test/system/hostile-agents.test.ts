/** Agents that are not this cluster's, or are and misbehave: the gateway lets none in, and one that breaks the protocol loses its lane only. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { frameTypes } from "#core/tunnel/frame.ts";
import type { Frame } from "#core/tunnel/frame.ts";
import { frameCostBytes, initialWindowBytes, maxDataBytes, maxLaneFrames, smallestBurstBytes } from "#core/tunnel/limits.ts";
import { encodePayload } from "#core/tunnel/payload.ts";
import { openSocket, refusedSocket } from "#test/support/client-socket.ts";
import { createAgentKey, joinToken, mustOpenLane, openLane, ScriptedLane } from "#test/support/scripted-agent.ts";
import type { AgentKey } from "#test/support/scripted-agent.ts";
import { ask, startGateway } from "#test/support/system.ts";
import type { ClusterFixture, GatewayFixture } from "#test/support/system.ts";
import { gatewayBundle } from "#test/support/worker-bundle.ts";

let gateway: GatewayFixture;
let one: ClusterFixture;
let two: ClusterFixture;
let key: AgentKey;
let ours: ScriptedLane;

beforeAll(async () => {
  gateway = await startGateway({ bundle: gatewayBundle });
  one = await gateway.register({ name: "one" });
  two = await gateway.register({ name: "two" });
  key = createAgentKey();
  ours = await mustOpenLane(gateway, { token: await joinToken(one) });
  expect(await ours.join({ key })).toBe("joined");
});

afterAll(async () => {
  ours.socket.terminate();
  await gateway.stop();
});

async function cluster(): Promise<{
  readonly agents: readonly { readonly replica: string; readonly lanes: number; readonly lastError?: string }[];
}> {
  const token = await gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });
  return JSON.parse((await ask(gateway, "/gateway/v1/clusters/one", { token })).body);
}

function alarms(): readonly string[] {
  return gateway.lines.filter((line) => line.includes('"event":"agent-refused"'));
}

/** A second lane of the true agent, for what will cost it. */
async function joined(replica: string): Promise<ScriptedLane> {
  const lane = await mustOpenLane(gateway, { token: await joinToken(one, { "kubernetes.io": { pod: { uid: replica } } }) });
  expect(await lane.join({ key, replica })).toBe("joined");
  return lane;
}

describe("a join token", () => {
  test.each([
    ["of another audience", async () => joinToken(one, { aud: "https://kubernetes.default.svc" })],
    ["of another ServiceAccount", async () => joinToken(one, { sub: "system:serviceaccount:default:default" })],
    ["of another cluster", async () => joinToken(two)],
    ["that claims this cluster's issuer and is signed by another's", async () => joinToken(two, { iss: one.join.url })],
    ["of its own cluster's key under another issuer's name", async () => joinToken(one, { iss: "https://elsewhere.example" })],
    ["that has expired", async () => joinToken(one, {}, -60)],
    ["that was issued more than a day ago", async () => joinToken(one, { iat: Math.floor(Date.now() / 1000) - 100_000 })],
    ["that never expires", async () => joinToken(one, { exp: undefined })],
    ["that is a user's", async () => one.token("alice")],
    ["that is none", async () => ""],
    ["that is no token", async () => "a.b.c"],
    ["of 20,000 characters", async () => "a".repeat(20_000)],
  ])("%s opens no lane", async (_name, make) => {
    const answer = await openLane(gateway, { token: await make() });
    expect(answer).toMatchObject({ status: 403 });
    expect(answer).toMatchObject({ body: expect.stringContaining("AGENT_REFUSED") });
  });

  test("of one cluster does not open another's tunnel", async () => {
    expect(await openLane(gateway, { token: await joinToken(one), cluster: "two" })).toMatchObject({ status: 403 });
    expect(await openLane(gateway, { token: await joinToken(one), cluster: "three" })).toMatchObject({ status: 404 });
  });
});

describe("a HELLO", () => {
  test("with a second key is refused, logged and reported", async () => {
    const lane = await mustOpenLane(gateway, { token: await joinToken(one) });
    expect(await lane.join({ key: createAgentKey() })).toMatchObject({ code: 4403, reason: expect.stringContaining("another key") });
    expect(alarms().at(-1)).toContain("another key is pinned");
    expect((await cluster()).agents).toMatchObject([
      { replica: "pod-1", lanes: 1, lastError: expect.stringContaining("another key is pinned") },
    ]);
  });

  test.each([
    [
      "the pinned key's name without the key",
      async (lane: ScriptedLane) => lane.hello({ key: { ...createAgentKey(), publicX: key.publicX } }),
      "signature",
    ],
    ["an empty signature", async (lane: ScriptedLane) => lane.hello({ key, signature: "" }), "signature"],
    ["a signature over another nonce", async (lane: ScriptedLane) => lane.hello({ key, nonce: "another" }), "signature"],
    ["another cluster's name", async (lane: ScriptedLane) => lane.hello({ key, cluster: "two" }), "another cluster"],
    ["another pod's name", async (lane: ScriptedLane) => lane.hello({ key, replica: "pod-2" }), "replica"],
  ])("with %s is refused", async (_name, make, reason) => {
    const lane = await mustOpenLane(gateway, { token: await joinToken(one) });
    lane.socket.send(await make(lane));
    expect(await lane.closed).toMatchObject({ code: 4403, reason: expect.stringContaining(reason) });
  });

  test("that was recorded and is replayed on a new connection is refused", async () => {
    const recorded = await (await mustOpenLane(gateway, { token: await joinToken(one) })).hello({ key });
    const lane = await mustOpenLane(gateway, { token: await joinToken(one) });
    await lane.nonce();
    lane.socket.send(recorded);
    expect(await lane.closed).toMatchObject({ code: 4403, reason: expect.stringContaining("signature") });
  });

  test("with a second key is refused even while the first one is being verified", async () => {
    const lanes = await Promise.all([1, 2, 3, 4].map(async () => mustOpenLane(gateway, { token: await joinToken(two), cluster: "two" })));
    await Promise.all(lanes.map(async (lane) => lane.nonce()));
    const outcomes = await Promise.all(
      lanes.map(async (lane, index) =>
        lane.join({ key: createAgentKey(), cluster: "two", lane: index % 2 === 0 ? "interactive" : "bulk" }),
      ),
    );
    expect(outcomes.filter((outcome) => outcome === "joined")).toHaveLength(1);
    for (const lane of lanes) lane.socket.terminate();
  });

  test("of the same replica replaces the older connection", async () => {
    const older = await joined("pod-7");
    const newer = await joined("pod-7");
    expect(await older.closed).toMatchObject({ code: 4409 });
    newer.socket.close();
  });

  test.each([
    ["no version", [], 426],
    ["only versions that are not known yet", ["sallyport.tunnel.v99"], 426],
  ])("is not asked for when the agent speaks %s", async (_name, protocols, status) => {
    expect(await openLane(gateway, { token: await joinToken(one), protocols })).toMatchObject({
      status,
      body: expect.stringMatching(/"kind":"Status".*AGENT_TOO_OLD: this gateway speaks versions \[1\]/),
    });
  });

  test("of an agent that speaks a newer version too is taken with the one that both know", async () => {
    const lane = await mustOpenLane(gateway, { token: await joinToken(one), protocols: ["sallyport.tunnel.v2", "sallyport.tunnel.v1"] });
    expect(lane.socket.protocol).toBe("sallyport.tunnel.v1");
    lane.socket.close();
  });

  test("that does not come in time closes the lane", async () => {
    const lane = await mustOpenLane(gateway, { token: await joinToken(one) });
    expect(await lane.closed).toMatchObject({ code: 4408 });
  });
});

describe("frames of an agent that break the protocol", () => {
  const header = (type: number, length: number, stream: number) => {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setUint32(0, ((type << 24) | length) >>> 0);
    new DataView(bytes.buffer).setUint32(4, stream);
    return bytes;
  };
  const withPayload = (head: Uint8Array, payload: Uint8Array) => Buffer.concat([head, payload]);

  test.each<readonly [string, Uint8Array]>([
    ["an OPEN, which only the edge sends", withPayload(header(frameTypes.open, 2, 1), Buffer.from("{}"))],
    ["data of a stream that was never opened", withPayload(header(frameTypes.data, 1, 9), Buffer.from("x"))],
    ["a head of a stream that was never opened", withPayload(header(frameTypes.head, 2, 9), Buffer.from("{}"))],
    ["an unknown type", header(0x3f, 0, 0)],
    ["a truncated header", new Uint8Array([3, 0, 0])],
    ["a frame longer than its message", header(frameTypes.data, 100, 1)],
    ["data on stream 0", header(frameTypes.data, 0, 0)],
    ["a control frame of 16 MiB by its header", header(frameTypes.hello, 0xff_ff_ff, 0)],
    ["20,000 empty frames in one message", Buffer.concat(Array.from({ length: 20_000 }, () => header(frameTypes.pong, 0, 0)))],
  ])("close its lane and leave an alarm: %s", async (name, bytes) => {
    const before = alarms().length;
    const lane = await joined(`pod-${name}`.slice(0, 60));
    lane.socket.send(bytes);
    expect((await lane.closed).code).toBe(1008);
    expect(alarms().length).toBe(before + 1);
  });

  test.each<readonly [string, Frame]>([
    ["PING", { type: "ping", payload: new Uint8Array(8) }],
    ["STATUS", { type: "status", payload: encodePayload({ roles: {}, issuerKeys: {} }) }],
  ])("close it when they are a flood of frames about the lane itself: %s", async (name, frame) => {
    const lane = await joined(`pod-flood-${name}`);
    for (let index = 0; index < 100; index++) lane.send(frame, frame);
    expect(await lane.closed).toMatchObject({ code: 1008, reason: expect.stringContaining("flood") });
    expect(lane.frames.filter(({ type }) => type === "pong").length).toBeLessThan(100);
  });

  test("may be as many PINGs as there are bursts before them", async () => {
    const lane = await joined("pod-bursts");
    // Of a type that whoever does not know it ignores.
    const burst = withPayload(header(0x40, smallestBurstBytes - 8, 0), Buffer.alloc(smallestBurstBytes - 8));
    for (let index = 1; index <= 2 * maxLaneFrames; index++) {
      lane.socket.send(burst);
      lane.send({ type: "ping", payload: new Uint8Array([0, 0, 0, 0, 0, 0, 0, index]) });
    }
    await lane.frame("pong", (frame) => frame.type === "pong" && frame.payload[7] === 2 * maxLaneFrames);
    lane.socket.terminate();
  });

  test("may be some PINGs, which are answered with their bytes", async () => {
    const lane = await joined("pod-ping");
    lane.send({ type: "ping", payload: new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]) });
    expect((await lane.frame("pong")).payload).toEqual(Buffer.from([1, 2, 3, 4, 5, 6, 7, 8]));
    lane.socket.terminate();
  });

  test("close it when a message is larger than any may be", async () => {
    const lane = await joined("pod-large");
    lane.socket.send(Buffer.alloc(2 << 20));
    expect((await lane.closed).code).toBe(1008);
  });

  test("do the gateway no harm when a message is larger than the platform takes", async () => {
    const lane = await joined("pod-huge");
    lane.socket.send(Buffer.alloc(33 << 20));
    expect((await ask(gateway, "/healthz")).status).toBe(200);
    lane.socket.terminate();
  });

  test("bring nothing to a person that is not in a report of nodes", async () => {
    const lane = await joined("pod-nodes");
    const hostile = { node: "a\u001b[2J", state: "synced", since: "now", generation: 1 };
    const good = { node: "node-1", state: "failing", since: "2026-11-28T10:00:00Z", generation: 1, lastError: "a\u001b]0;x\u0007\nb" };
    let asked = 0;
    const shown = async (roles: object) => {
      const number = (asked += 1);
      lane.send({ type: "status", payload: encodePayload({ roles, issuerKeys: {} }) });
      lane.send({ type: "ping", payload: new Uint8Array([number, 0, 0, 0, 0, 0, 0, 0]) });
      await lane.frame("pong", (frame) => frame.type === "pong" && frame.payload[0] === number);
      return (await cluster()).agents.find(({ replica }) => replica === "pod-nodes");
    };
    expect(await shown({ "service-proxy": { nodes: 1, notSynced: 0, listed: [hostile] } })).toMatchObject({
      roles: { "service-proxy": { state: "unreadable" } },
    });
    expect(await shown({ "service-proxy": { nodes: 1, notSynced: 1, listed: [{ ...good, more: 1 }], state: "\u001b" } })).toMatchObject({
      roles: {
        "service-proxy": {
          state: "degraded",
          nodes: 1,
          notSynced: 1,
          listed: [{ ...good, since: "2026-11-28T10:00:00.000Z", lastError: "a ]0;x b" }],
        },
      },
    });
    lane.socket.terminate();
  });

  test("are frames before its HELLO was taken", async () => {
    const lane = await mustOpenLane(gateway, { token: await joinToken(one) });
    await lane.nonce();
    lane.send({ type: "status", payload: encodePayload({ roles: {}, issuerKeys: {} }) });
    expect((await lane.closed).code).toBe(4403);
  });

  test("have cost the other lanes nothing", async () => {
    expect(ours.socket.readyState).toBe(ours.socket.OPEN);
    expect(await cluster()).toMatchObject({ agents: expect.arrayContaining([expect.objectContaining({ replica: "pod-1" })]) });
  });
});

describe("what an agent says to a user's request", () => {
  async function askWhile(answer: (stream: number) => void) {
    const response = ask(gateway, "/k/one/api/v1/namespaces/a/pods/p", { token: await one.token("alice") });
    const open = await ours.frame("open", (frame) => "stream" in frame && !answered.has(frame.stream));
    answered.add(open.stream);
    answer(open.stream);
    return response;
  }
  const answered = new Set<number>();
  const timing = { verifyMs: 0, upstreamMs: 0 };

  test.each([
    ["a head that is no JSON", new TextEncoder().encode("{")],
    ["a head without a status", encodePayload({ headers: [], timing })],
    ["a status that no response has", encodePayload({ status: 99, headers: [], timing })],
    ["a header with a line feed", encodePayload({ status: 200, headers: [["X-A", "b\r\nSet-Cookie: a=b"]], timing })],
    ["a redirect to another site", encodePayload({ status: 302, headers: [["Location", "https://evil.example/"]], timing })],
    [
      "two lengths",
      encodePayload({
        status: 200,
        headers: [
          ["Content-Length", "1"],
          ["Content-Length", "2"],
        ],
        timing,
      }),
    ],
  ])("becomes one clear failure: %s", async (_name, payload) => {
    const answer = await askWhile((stream) =>
      ours.send({ type: "head", stream, payload }, { type: "end", stream, closeCode: undefined, closeReason: "" }),
    );
    expect([500, 502]).toContain(answer.status);
    expect(JSON.parse(answer.body)).toMatchObject({ kind: "Status", status: "Failure" });
    expect(answer.body).toContain(answer.status === 500 ? `(reference ${String(answer.headers["audit-id"])})` : "UPSTREAM_INVALID");
    expect(answer.headers["location"] ?? answer.headers["set-cookie"]).toBeUndefined();
  });

  test("is an upgrade that nobody asked for: refused", async () => {
    const answer = await askWhile((stream) =>
      ours.send({ type: "head", stream, payload: encodePayload({ status: 101, headers: [], timing }) }),
    );
    expect([500, 502]).toContain(answer.status);
  });

  test("must stay within the credit that it was given", async () => {
    const answer = await askWhile((stream) => {
      ours.send({ type: "head", stream, payload: encodePayload({ status: 200, headers: [], timing }) });
      for (let index = 0; index < 40; index++)
        ours.send({ type: "data", stream, payload: new Uint8Array(100_000), messageEnd: false, text: false });
    }).then(
      (response) => response.status,
      () => "broken off",
    );
    expect([500, 502, "broken off"]).toContain(answer);
  });
});

describe("what an agent does on a user's WebSocket", () => {
  const exec = "/k/one/api/v1/namespaces/a/pods/p/exec?command=id";
  const taken = new Set<number>();

  /** Opens a user's exec and takes its stream as the agent. */
  async function openExec(token?: string, expiresAtMs?: number) {
    const opening = openSocket(gateway, exec, {
      token: token ?? (await one.token("alice")),
      protocols: ["v5.channel.k8s.io"],
    });
    const open = await ours.frame("open", (frame) => "stream" in frame && !taken.has(frame.stream) && isExec(frame));
    taken.add(open.stream);
    const head = { status: 101, headers: [], protocol: "v5.channel.k8s.io", expiresAtMs, timing: { verifyMs: 0, upstreamMs: 0 } };
    ours.send({ type: "head", stream: open.stream, payload: encodePayload(head) });
    return { stream: open.stream, client: await opening };
  }

  const isExec = (frame: Frame) => "payload" in frame && new TextDecoder().decode(frame.payload).includes('"websocket"');

  test.each<readonly [string, number, string, number]>([
    ["a code below all codes", 0, "", 1011],
    ["a code of no protocol", 999, "", 1011],
    ["a code that stands for none", 1006, "", 1011],
    ["a code of TLS, which no frame may hold", 1015, "", 1011],
    ["a code above all codes", 5000, "", 1011],
    ["a reason longer than a close holds", 1000, "r".repeat(5000), 1000],
    ["a reason whose cut would split a character", 1001, "ä".repeat(100), 1001],
  ])("ends with a close that says a failure, never with silence: %s", async (_name, closeCode, closeReason, seen) => {
    const { stream, client } = await openExec();
    ours.send({ type: "end", stream, closeCode, closeReason });
    const { code, reason } = await client.closed;
    expect(code).toBe(seen);
    expect(Buffer.byteLength(reason)).toBeLessThanOrEqual(123);
    expect(reason).not.toContain("\ufffd");
  });

  test("is nothing beyond its token's end, whatever the agent claims: the gateway ends it by itself", async () => {
    const { client } = await openExec(await one.token("alice", {}, 2), Date.now() + 86_400_000);
    expect((await client.closed).code).toBe(1000);
    expect(client.messages.map(({ data }) => data.toString())).toEqual([expect.stringContaining("SESSION_ENDED")]);
  });

  test("is a message without end: the stream ends when it is longer than any may be", async () => {
    const { stream, client } = await openExec();
    const isOver = client.closed.then(() => true);
    for (let sent = 0, over = false; !over;) {
      const payload = new Uint8Array(Math.min(maxDataBytes, granted(stream) - sent - frameCostBytes));
      if (payload.length > 0) ours.send({ type: "data", stream, payload, messageEnd: false, text: false });
      sent += frameCostBytes + payload.length;
      over = await Promise.race([isOver, ours.until(() => granted(stream) > sent + frameCostBytes).then(() => false)]);
    }
    expect((await client.closed).code).toBe(1000);
    expect(client.messages.map(({ data }) => data.toString())).toEqual([expect.stringContaining("TOO_LARGE: a message over 32 MiB")]);
  });

  /** All credit that a stream was given. */
  function granted(stream: number): number {
    const credits = ours.frames.map((frame) => (frame.type === "window" && frame.stream === stream ? frame.credit : 0));
    return credits.reduce((sum, credit) => sum + credit, initialWindowBytes);
  }

  test.each([200, 204, 302])("is not what an agent answered an upgrade with that is none: %i", async (status) => {
    const refused = refusedSocket(gateway, exec, { token: await one.token("alice"), protocols: ["v5.channel.k8s.io"] });
    const open = await ours.frame("open", (frame) => "stream" in frame && !taken.has(frame.stream) && isExec(frame));
    taken.add(open.stream);
    const head = { status, headers: [["Location", "/elsewhere"]], timing: { verifyMs: 0, upstreamMs: 0 } };
    ours.send({ type: "head", stream: open.stream, payload: encodePayload(head) });
    const answer = await refused;
    expect(answer.status).toBe(502);
    expect(answer.headers["location"]).toBeUndefined();
  });

  test("is text that is none: the stream fails and says so", async () => {
    const { stream, client } = await openExec();
    ours.send({ type: "data", stream, payload: new Uint8Array([0xff, 0xfe]), messageEnd: true, text: true });
    const { code } = await client.closed;
    expect(code).toBe(1000);
    expect(client.messages.map(({ data }) => data.toString())).toEqual([expect.stringContaining('"status":"Failure"')]);
  });
});
