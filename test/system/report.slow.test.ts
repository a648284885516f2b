/** What an agent tells of itself comes within half a minute of a change, so these tests wait that long. */
import { expect, test } from "vitest";
import { setTimeout as pause } from "node:timers/promises";
import { authenticationConfiguration, ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem({ cluster: { configuration: (issuer, audience) => authenticationConfiguration(issuer, audience, "") } });

const reportMs = 31_000;

test("groups that the allow-list dropped are counted in the cluster's summary", async () => {
  const token = await system.cluster.token("alice", { groups: ["oidc:in", "out", "also-out"] });
  await ask(system.gateway, "/k/one/api/v1/namespaces/web/pods/p", { token });
  expect(system.apiserver.seen[0]?.headers.filter(([name]) => name === "Impersonate-Group")).toEqual([["Impersonate-Group", "oidc:in"]]);
  await pause(reportMs);
  const admin = await system.gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });
  const answer = await ask(system.gateway, "/gateway/v1/clusters/one", { token: admin });
  expect(JSON.parse(answer.body).agents).toMatchObject([{ roles: { tunnel: { droppedGroups: 2 } } }]);
});
