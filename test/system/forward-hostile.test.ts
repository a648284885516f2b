/** Forwards against a gateway that was taken over, in front of a real agent, and against clients that break the protocol, at a real gateway. */
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { forwardProtocol } from "#core/kube/forward-target.ts";
import { decodeFrames, encodeFrames } from "#core/tunnel/frame.ts";
import type { Frame } from "#core/tunnel/frame.ts";
import { encodePayload, parseHead } from "#core/tunnel/payload.ts";
import { openSocket } from "#test/support/client-socket.ts";
import { answerObjects, paths, pod } from "#test/support/forward-cluster.ts";
import { openPayload, startScriptedHub } from "#test/support/scripted-hub.ts";
import type { HubLane, ScriptedHub } from "#test/support/scripted-hub.ts";
import type { AgentFixture } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem({ agentProgram: "test/support/forward-agent.ts" });
const forward = "/apis/forward.sallyport.dev/v1/namespaces/web/pods/a";
let target: Server;
let port: number;

beforeAll(async () => {
  target = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined); // tests break it
    socket.resume();
  });
  target.listen(0, "127.0.0.1");
  await once(target, "listening");
  port = (target.address() as AddressInfo).port; // a TCP server's address is never text
});

afterAll(() => {
  target.close();
});

beforeEach(() => {
  system.apiserver.onRequest = answerObjects({ [paths.pod("a")]: pod({ name: "a", address: "10.9.0.5" }) });
});

describe("a gateway that was taken over", () => {
  let hub: ScriptedHub;
  let agent: AgentFixture;
  let lane: HubLane;
  let lastStream = 0;

  beforeAll(async () => {
    hub = await startScriptedHub(system.gateway.authority);
    const interactive = Promise.withResolvers<HubLane>();
    hub.onLane = (opened) =>
      void opened.welcome().then((hello) => {
        if (hello?.lane === "interactive") interactive.resolve(opened);
      });
    agent = await system.cluster.startAgent({
      kubeconfig: await system.apiserver.kubeconfig(join(system.gateway.folder, "hostile.kubeconfig")),
      gatewayUrl: hub.url,
      program: "test/support/forward-agent.ts",
      replica: "hostile",
    });
    lane = await interactive.promise;
  });

  afterAll(async () => {
    await agent.stop("SIGKILL");
    await hub.stop();
  });

  /** Opens a stream and answers the head's status. */
  async function status(payload: Uint8Array): Promise<number> {
    const stream = ++lastStream;
    lane.send({ type: "open", stream, payload });
    const head = parseHead((await lane.frame("head", (frame) => "stream" in frame && frame.stream === stream)).payload);
    return head.type === "parsed" ? head.payload.status : 0;
  }

  const dials = () => agent.lines.filter((line) => line.includes('"event":"dial"')).length;

  test.each([
    ["websocket", `${forward}/tcp?port=80`],
    ["forward", "/api/v1/namespaces/web/pods/a"],
    ["forward", "/api/v1/namespaces/web/pods/a/portforward"],
    ["forward", "/version"],
  ])("cannot open a stream of another kind than its path is for: %s %s", async (kind, path) => {
    const before = dials();
    expect(await status(openPayload(await system.cluster.token("alice"), { kind, target: path }))).toBe(400);
    expect([dials() - before, system.apiserver.seen]).toEqual([0, []]);
  });

  test.each([
    ["no token", ""],
    ["a token of nobody's", "eyJhbGciOiJub25lIn0.e30."],
  ])("cannot dial with %s", async (_what, token) => {
    const before = dials();
    expect(await status(openPayload(token, { kind: "forward", target: `${forward}/tcp?port=${port}` }))).toBe(401);
    expect([dials() - before, system.apiserver.seen]).toEqual([0, []]);
  });

  test("cannot keep a forward beyond its credential: the agent alone ends it", async () => {
    const token = await system.cluster.token("alice", {}, 2);
    expect(await status(openPayload(token, { kind: "forward", target: `${forward}/tcp?port=${port}` }))).toBe(101);
    const stream = lastStream;
    const reset = await lane.frame("reset", (frame) => "stream" in frame && frame.stream === stream);
    expect(reset.code).toBe("EXPIRED");
  });

  test("cannot send bytes into a flow of datagrams", async () => {
    const token = await system.cluster.token("alice");
    expect(await status(openPayload(token, { kind: "forward", target: `${forward}/udp?port=${port}` }))).toBe(101);
    const stream = lastStream;
    lane.send({ type: "data", stream, payload: Buffer.from("x"), messageEnd: true, text: false });
    expect((await lane.frame("reset", (frame) => "stream" in frame && frame.stream === stream)).code).toBe("PROTOCOL");
  });
});

describe("a client that breaks the protocol", () => {
  const empty = new Uint8Array(0);
  const data = { type: "data", messageEnd: false, text: false } as const;
  const attacks: readonly (readonly [what: string, frames: readonly Frame[]])[] = [
    ["an OPEN", [{ type: "open", stream: 1, payload: encodePayload({}) }]],
    ["a HEAD", [{ type: "head", stream: 1, payload: encodePayload({}) }]],
    ["an EXTEND", [{ type: "extend", stream: 1, expiresAtMs: 4_102_444_800_000 }]],
    ["a HELLO", [{ type: "hello", payload: encodePayload({}) }]],
    ["a GOAWAY", [{ type: "goaway", payload: encodePayload({ reason: "x" }) }]],
    ["a STATUS", [{ type: "status", payload: encodePayload({}) }]],
    ["a PING", [{ type: "ping", payload: new Uint8Array(8) }]],
    ["another stream's data", [{ ...data, stream: 2, payload: empty }]],
    ["another stream's reset", [{ type: "reset", stream: 7, code: "CANCEL", reason: "" }]],
  ];

  async function open() {
    const token = await system.cluster.token("mallory");
    return openSocket(system.gateway, `/k/one${forward}/tcp?port=${port}`, { token, protocols: [forwardProtocol] });
  }

  /** The code of the reset that came. */
  function resetCode(messages: readonly { readonly data: Buffer }[]): string | undefined {
    const frames = messages.flatMap(({ data: bytes }) => {
      const decoded = decodeFrames(bytes);
      return decoded.type === "frames" ? decoded.frames : [];
    });
    return frames.find((frame) => frame.type === "reset")?.code;
  }

  test.each(attacks)("with %s, which no client may send, is ended", async (_what, frames) => {
    const client = await open();
    client.socket.send(encodeFrames(frames));
    await client.closed;
    expect(resetCode(client.messages)).toBe("PROTOCOL");
  });

  test.each([
    ["a text message", "text"],
    ["half a frame", Buffer.from([3, 0, 0, 9, 0, 0, 0, 1, 1])],
    ["an unknown frame", Buffer.from([0x30, 0, 0, 0, 0, 0, 0, 1])],
  ])("with %s is ended", async (_what, message) => {
    const client = await open();
    client.socket.send(message);
    await client.closed;
    expect(resetCode(client.messages)).toBe("PROTOCOL");
  });

  test("with more than it was granted is ended, and others go on", async () => {
    const other = await open();
    const client = await open();
    const payload = Buffer.alloc(64 << 10);
    const flood = Array.from({ length: 8 }, () => ({ ...data, stream: 1, payload }));
    client.socket.send(encodeFrames(flood));
    await client.closed;
    expect(resetCode(client.messages)).toBe("PROTOCOL");
    const accepted = once(target, "connection");
    await open();
    await accepted;
    expect(other.socket.readyState).toBe(other.socket.OPEN);
  });

  test("that says nothing at its end leaves nothing behind at the target", async () => {
    const accepted = once(target, "connection");
    const client = await open();
    const [socket] = await accepted;
    const closed = new Promise((resolve) => socket.on("close", resolve));
    client.socket.terminate();
    await closed;
  });
});
