/** What takes a minute because it is about a minute: an idle cluster costs nothing, so its Durable Object sleeps beside connected agents. */
import { expect, test } from "vitest";
import { setTimeout as pause } from "node:timers/promises";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem();

/** The platform puts an object to sleep after ten idle seconds; this is how long the agents stay connected and say nothing that wakes it. */
const idleMs = 60_000;

interface HubState {
  readonly instance: string;
  readonly startedAt: string;
  readonly handled: number;
  readonly lanes: number;
}

async function hub(): Promise<HubState> {
  const token = await system.gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });
  return JSON.parse((await ask(system.gateway, "/gateway/v1/clusters/one/hub", { token })).body);
}

test("after a minute without requests the hub has slept, runs its constructor again at the next one, and the agent is still there", async () => {
  const token = await system.cluster.token("alice", { groups: ["dev"] });
  await ask(system.gateway, "/k/one/api/v1/namespaces/web/pods/p", { token });
  const before = await hub();
  await pause(idleMs);
  const after = await hub();
  expect(after.instance).not.toBe(before.instance);
  expect(Date.now() - Date.parse(after.startedAt)).toBeLessThan(idleMs / 4);
  expect(after).toMatchObject({ handled: 0, lanes: 2 });
  const answer = await ask(system.gateway, "/k/one/api/v1/namespaces/web/pods/p", { token });
  expect(answer.status).toBe(200);
  expect(system.agent.lines.filter((line) => line.includes('"event":"connecting"'))).toHaveLength(1);
});
