import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { join } from "node:path";
import { startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import type { ScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { ask, startGateway } from "#test/support/system.ts";
import type { AgentFixture, ClusterFixture, GatewayFixture } from "#test/support/system.ts";

let gateway: GatewayFixture;
let cluster: ClusterFixture;
let agent: AgentFixture;
let apiserver: ScriptedApiserver;

beforeAll(async () => {
  apiserver = await startScriptedApiserver();
  gateway = await startGateway({ bundle: "dist/worker/main.js" });
  cluster = await gateway.register({ name: "one" });
  agent = await cluster.startAgent({ kubeconfig: await apiserver.kubeconfig(join(gateway.folder, "kubeconfig")) });
});

afterAll(async () => {
  await agent.stop();
  await gateway.stop();
  await apiserver.stop();
});

describe("a request of a user", () => {
  test("reaches the apiserver as that user", async () => {
    const token = await cluster.token("alice", { groups: ["dev", "a, b"] });
    const answer = await ask(gateway, "/k/one/api/v1/namespaces/web/pods/p?pretty=true", { token });
    expect(answer.status).toBe(200);
    expect(answer.body).toBe("{}");
    const seen = apiserver.seen.at(-1);
    expect(seen?.target).toBe("/api/v1/namespaces/web/pods/p?pretty=true");
    expect(seen?.headers.filter(([name]) => name.toLowerCase().startsWith("impersonate-"))).toEqual([
      ["Impersonate-User", "oidc:alice"],
      ["Impersonate-Group", "oidc:dev"],
      ["Impersonate-Group", "oidc:a, b"],
    ]);
  });

  test("without a token gets a Status that says so", async () => {
    const answer = await ask(gateway, "/k/one/api/v1/pods");
    expect(answer.status).toBe(401);
    expect(JSON.parse(answer.body)).toMatchObject({ kind: "Status", reason: "Unauthorized" });
  });
});
