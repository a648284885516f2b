/** The gateway's own routes: what is never kept, what a broken configuration says, and that an API path without its cluster is no route of ours. */
import { afterAll, beforeAll, describe, expect, test, onTestFinished } from "vitest";
import { createAgentKey, joinToken, mustOpenLane } from "#test/support/scripted-agent.ts";
import type { AgentKey } from "#test/support/scripted-agent.ts";
import { ask, startGateway } from "#test/support/system.ts";
import type { ClusterFixture, GatewayFixture } from "#test/support/system.ts";
import { gatewayBundle } from "#test/support/worker-bundle.ts";

let gateway: GatewayFixture;
let one: ClusterFixture;
let two: ClusterFixture;
let adminToken: string;

beforeAll(async () => {
  const login = { issuer: "https://admins.example", clientId: "sallyport", scopes: ["openid"] };
  gateway = await startGateway({ bundle: gatewayBundle, variables: { ADMIN_LOGIN: JSON.stringify(login) } });
  one = await gateway.register({ name: "one" });
  two = await gateway.register({ name: "two" });
  adminToken = await gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });
});

afterAll(async () => gateway.stop());

describe("an answer of the gateway's own", () => {
  test.each([
    ["/healthz", 200],
    ["/gateway/v1/login", 200],
    ["/gateway/v1/clusters", 200],
    ["/gateway/v1/clusters/one", 200],
    ["/gateway/v1/clusters/one/hub", 200],
    ["/gateway/v1/clusters/none", 404],
    ["/gateway/v1/nothing", 404],
    ["/", 404],
  ])("is never kept by a cache: %s", async (path, status) => {
    const answer = await ask(gateway, path, path === "/healthz" ? {} : { token: adminToken });
    expect(answer.status).toBe(status);
    expect(answer.headers["cache-control"]).toBe("no-store");
    expect(answer.headers["x-content-type-options"]).toBe("nosniff");
  });
});

test("the gateway tells its time, so that `sallyport doctor` finds a clock that is wrong", async () => {
  const before = Math.floor(Date.now() / 1000) * 1000;
  const date = Date.parse(String((await ask(gateway, "/gateway/v1/login")).headers["date"]));
  expect(date).toBeGreaterThanOrEqual(before);
  expect(date).toBeLessThanOrEqual(Date.now());
});

describe("a route for admins", () => {
  test.each([
    ["POST", "/gateway/v1/clusters"],
    ["DELETE", "/gateway/v1/clusters/one"],
    ["GET", "/gateway/v1/clusters/one/hub"],
  ])("is closed to everybody else: %s %s", async (method, path) => {
    const request = { method, ...(method === "POST" && { body: "{}" }) };
    const stranger = await gateway.admin.token({ sub: "eve", aud: "sallyport-admin", groups: ["users"] });
    expect(await ask(gateway, path, request)).toMatchObject({ status: 401, body: expect.stringContaining("NOT_SIGNED_IN") });
    expect(await ask(gateway, path, { ...request, token: await one.token("alice") })).toMatchObject({ status: 401 });
    expect(await ask(gateway, path, { ...request, token: stranger })).toMatchObject({
      status: 403,
      body: expect.stringContaining("ADMIN_ONLY"),
    });
    const { clusters } = JSON.parse((await ask(gateway, "/gateway/v1/clusters", { token: adminToken })).body);
    expect(clusters.map(({ name }: { name: string }) => name)).toEqual(["one", "two"]);
  });

  test("takes no registration that is no JSON, or more than any is", async () => {
    const broken = await ask(gateway, "/gateway/v1/clusters", { method: "POST", token: adminToken, body: "{" });
    expect(broken).toMatchObject({ status: 400, body: expect.stringContaining("REQUEST_INVALID") });
    const large = await ask(gateway, "/gateway/v1/clusters", { method: "POST", token: adminToken, body: "x".repeat(3 << 20) });
    expect(large).toMatchObject({ status: 413, body: expect.stringContaining("TOO_LARGE") });
  });
});

test("a cluster that is removed loses its agent at once, and added again it takes a new key and not the old one", async () => {
  const join = async (cluster: ClusterFixture, key: AgentKey) => {
    const lane = await mustOpenLane(gateway, { token: await joinToken(cluster), cluster: "three" });
    return { lane, outcome: await lane.join({ key, cluster: "three" }) };
  };
  const [oldKey, newKey] = [createAgentKey(), createAgentKey()];
  const before = await join(await gateway.register({ name: "three" }), oldKey);
  expect(before.outcome).toBe("joined");
  expect((await ask(gateway, "/gateway/v1/clusters/three", { method: "DELETE", token: adminToken })).status).toBe(204);
  expect(await before.lane.closed).toMatchObject({ reason: expect.stringContaining("removed") });
  const again = await gateway.register({ name: "three" });
  const after = await join(again, newKey);
  expect(after.outcome).toBe("joined");
  expect((await join(again, oldKey)).outcome).toMatchObject({ code: 4403, reason: expect.stringContaining("another key") });
  after.lane.socket.terminate();
  await ask(gateway, "/gateway/v1/clusters/three", { method: "DELETE", token: adminToken });
});

describe("a cluster's user", () => {
  test("sees that cluster and no other", async () => {
    const token = await two.token("bob");
    const { clusters } = JSON.parse((await ask(gateway, "/gateway/v1/clusters", { token })).body);
    expect(clusters).toMatchObject([{ name: "two" }]);
    expect((await ask(gateway, "/gateway/v1/clusters/two", { token })).status).toBe(200);
    expect(await ask(gateway, "/gateway/v1/clusters/one", { token })).toMatchObject({
      status: 403,
      body: expect.stringContaining("POLICY_DENIED"),
    });
  });
});

describe("an API path without its cluster, as kubectl before 1.33 sends it for `get --raw`", () => {
  test.each(["/api/v1/namespaces", "/apis", "/version", "/healthz", "/readyz?verbose", "/metrics", "/openapi/v2"])(
    "says so: %s",
    async (path) => {
      const answer = await ask(gateway, path, { token: adminToken });
      expect(answer.status).toBe(404);
      expect(JSON.parse(answer.body).message).toContain("it must begin with /k/<cluster>");
    },
  );
});

describe("a configuration of the admins' door that is wrong", () => {
  test("lets nobody in, names all that is wrong at once, and stops no user", async () => {
    const variables = {
      ADMIN_AUTHENTICATION: "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: 5\n",
      ADMIN_RULE: "user.groups.",
      ADMIN_LOGIN: "{",
      ADMIN_ISSUER_KEYS: '{"https://admins.example": {"keys": "none"}}',
    };
    const broken = await startGateway({ bundle: gatewayBundle, variables });
    onTestFinished(() => broken.stop());
    const answer = await ask(broken, "/gateway/v1/clusters", { token: adminToken });
    expect(answer.status).toBe(400);
    const { message } = JSON.parse(answer.body);
    for (const name of Object.keys(variables)) expect(message).toContain(name);
    expect(message).toMatch(/ADMIN_AUTHENTICATION:3: /);
    const login = await ask(broken, "/gateway/v1/login");
    expect(login.status).toBe(400);
    expect(login.body).toContain("ADMIN_LOGIN");
    expect((await ask(broken, "/k/one/api")).status).toBe(401);
  });

  test("that is not there lets nobody in and says which variables to set", async () => {
    const open = await startGateway({ bundle: gatewayBundle, variables: { ADMIN_AUTHENTICATION: "", ADMIN_RULE: "" } });
    onTestFinished(() => open.stop());
    const answer = await ask(open, "/gateway/v1/clusters", { token: adminToken });
    expect(answer.status).toBe(400);
    expect(answer.body).toContain("ADMIN_AUTHENTICATION and ADMIN_RULE");
  });
});
