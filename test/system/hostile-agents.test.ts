/** Agents that are not this cluster's, or are and misbehave: the gateway lets none in, and one that breaks the protocol loses its lane only. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { frameTypes } from "#core/tunnel/frame.ts";
import { encodePayload } from "#core/tunnel/payload.ts";
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
      body: expect.stringContaining("[1]"),
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
