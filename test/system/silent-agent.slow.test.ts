/** An agent that is alive and never answers: a request may wait longer than an apiserver's own minute, and no longer. */
import { expect, test, onTestFinished } from "vitest";
import { createAgentKey, joinToken, mustOpenLane } from "#test/support/scripted-agent.ts";
import { ask, startGateway } from "#test/support/system.ts";
import { gatewayBundle } from "#test/support/worker-bundle.ts";

test("a request that its agent never answers ends with a timeout, without an invitation to repeat it, and the agent is told", async () => {
  const gateway = await startGateway({ bundle: gatewayBundle });
  onTestFinished(() => gateway.stop());
  const cluster = await gateway.register({ name: "one" });
  const lane = await mustOpenLane(gateway, { token: await joinToken(cluster) });
  expect(await lane.join({ key: createAgentKey() })).toBe("joined");
  const answer = await ask(gateway, "/k/one/api/v1/namespaces/a/pods/p", { token: await cluster.token("alice") });
  expect(answer.status).toBe(504);
  expect(JSON.parse(answer.body)).toMatchObject({ kind: "Status", reason: "Timeout", message: expect.stringContaining("AGENT_TIMEOUT") });
  expect(answer.headers["retry-after"]).toBeUndefined();
  expect(await lane.frame("reset")).toMatchObject({ code: "IDLE" });
  lane.socket.terminate();
});
