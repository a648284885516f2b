/** An agent that vanishes with a request in its hands: what only reads is asked of another replica, what may have been done is not done again. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { encodePayload, parseOpen } from "#core/tunnel/payload.ts";
import { createAgentKey, joinToken, mustOpenLane } from "#test/support/scripted-agent.ts";
import type { ScriptedLane } from "#test/support/scripted-agent.ts";
import { ask, startGateway } from "#test/support/system.ts";
import type { ClusterFixture, GatewayFixture } from "#test/support/system.ts";
import { gatewayBundle } from "#test/support/worker-bundle.ts";

const key = createAgentKey();
const timing = { verifyMs: 0, upstreamMs: 0 };

let gateway: GatewayFixture;
let cluster: ClusterFixture;

beforeAll(async () => {
  gateway = await startGateway({ bundle: gatewayBundle });
  cluster = await gateway.register({ name: "one" });
});

afterAll(async () => gateway.stop());

async function joinAs(replica: string): Promise<ScriptedLane> {
  const lane = await mustOpenLane(gateway, { token: await joinToken(cluster, { "kubernetes.io": { pod: { uid: replica } } }) });
  expect(await lane.join({ key, replica })).toBe("joined");
  return lane;
}

function methods(lane: ScriptedLane): readonly string[] {
  return lane.frames.flatMap((frame) => {
    const open = frame.type === "open" ? parseOpen(frame.payload) : undefined;
    return open?.type === "parsed" ? [open.payload.method] : [];
  });
}

/** Sends a request to a first replica, which vanishes with it once a second one is there. */
async function loseOne(method: string, body?: string) {
  const first = await joinAs(`first-${method}`);
  const token = await cluster.token("alice");
  const answer = ask(gateway, "/k/one/api/v1/namespaces/a/pods", { method, token, ...(body !== undefined && { body }) });
  await first.frame("open");
  const second = await joinAs(`second-${method}`);
  first.socket.terminate();
  return { second, answer };
}

test.each(["GET", "HEAD"])("%s is asked of the other replica", async (method) => {
  const { second, answer } = await loseOne(method);
  const { stream } = await second.frame("open");
  second.send(
    { type: "head", stream, payload: encodePayload({ status: 200, headers: [], timing }) },
    { type: "end", stream, closeCode: undefined, closeReason: "" },
  );
  expect((await answer).status).toBe(200);
  second.socket.terminate();
});

test.each([
  ["POST", "{}"],
  ["PUT", "{}"],
  ["PATCH", "{}"],
  ["DELETE", undefined],
])("%s is not sent again, and its failure invites nobody to repeat it blindly", async (method, body) => {
  const { second, answer } = await loseOne(method, body);
  const { status, headers, body: text } = await answer;
  expect([status, headers["retry-after"]]).toEqual([502, undefined]);
  expect(text).toContain("AGENT_GONE");
  expect(methods(second)).toEqual([]);
  second.socket.terminate();
});
