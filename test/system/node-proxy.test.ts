/** What a user with RBAC's `get nodes/proxy` reaches of a kubelet, and what the paths of old Kubernetes versions are answered with. */
import { describe, expect, test } from "vitest";
import { refusedSocket } from "#test/support/client-socket.ts";
import { ask } from "#test/support/system.ts";
import { useWholeSystem } from "#test/support/whole-system.ts";

const system = useWholeSystem({ agentArguments: ["--allow-kubelet-path=/run/web/*"] });
const onNode = (path: string): string => `/k/one/api/v1/nodes/node1/proxy${path}`;

describe("nodes/proxy", () => {
  test("reads the kubelet's metrics", async () => {
    const answer = await ask(system.gateway, onNode("/metrics/cadvisor"), { token: await system.cluster.token("alice") });
    expect(answer.status).toBe(200);
    expect(system.apiserver.seen.at(-1)?.target).toBe("/api/v1/nodes/node1/proxy/metrics/cadvisor");
  });

  test.each(["/exec/web/p/c?command=id", "/run/other/p/c?cmd=id", "/metrics/%2e%2e/exec/web/p/c", "/metrics//x"])(
    "never reaches %s",
    async (path) => {
      const answer = await ask(system.gateway, onNode(path), { token: await system.cluster.token("alice") });
      expect(answer.status).toBe(403);
      expect(JSON.parse(answer.body)).toMatchObject({
        kind: "Status",
        reason: "Forbidden",
        message: expect.stringContaining("nodes/proxy"),
      });
      expect(system.apiserver.seen).toHaveLength(0);
    },
  );

  test("opens no WebSocket to the kubelet's exec", async () => {
    const refused = await refusedSocket(system.gateway, onNode("/exec/web/p/c?command=id"), {
      token: await system.cluster.token("alice"),
      protocols: ["v4.channel.k8s.io"],
    });
    expect(refused.status).toBe(403);
    expect(system.apiserver.seen).toHaveLength(0);
  });

  test("reaches what the agent was told by name", async () => {
    const answer = await ask(system.gateway, onNode("/run/web/p/c?cmd=id"), { token: await system.cluster.token("alice"), method: "POST" });
    expect(answer.status).toBe(200);
    expect(system.apiserver.seen).toHaveLength(1);
  });
});

describe("a path that Kubernetes has removed", () => {
  test.each([
    ["/api/v1/proxy/namespaces/web/services/http:shop:80/cart", "/api/v1/namespaces/web/services/http:shop:80/proxy/"],
    ["/api/v1/redirect/namespaces/web/pods/p", "kubectl port-forward"],
  ])("%s is answered with what replaced it", async (path, replacement) => {
    const answer = await ask(system.gateway, `/k/one${path}`, { token: await system.cluster.token("alice") });
    expect(answer.status).toBe(404);
    expect(JSON.parse(answer.body)).toMatchObject({ kind: "Status", reason: "NotFound", message: expect.stringContaining(replacement) });
    expect(answer.headers["warning"]).toContain(replacement);
    expect(system.apiserver.seen).toHaveLength(0);
  });

  test("tells a stranger nothing", async () => {
    expect((await ask(system.gateway, "/k/one/api/v1/proxy/nodes/n/")).status).toBe(401);
  });
});
