import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { objectAt, textAt, valueAt } from "#sandbox/objects/json.ts";
import { as, configMap, startTestSandbox, TestClock } from "./harness.ts";
import type { Client } from "./harness.ts";

const rbac = "/apis/rbac.authorization.k8s.io/v1";
const review = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

describe("who asks", () => {
  const clock = new TestClock();
  let client: Client;

  beforeAll(async () => {
    client = await startTestSandbox({ clock });
  });
  afterAll(() => client.sandbox.stop());

  it("refuses a wrong bearer token with 401 instead of taking the caller for anonymous", async () => {
    for (const token of ["wrong", "a.b.c", client.sandbox.agentToken("x")]) {
      const answer = await client.ask("/version", { token });
      expect(answer).toMatchObject({ status: 401, body: { kind: "Status", reason: "Unauthorized" } });
    }
  });

  it("refuses a ServiceAccount's token whose claims or signature were changed", async () => {
    const issued = await client.post("/api/v1/namespaces/default/serviceaccounts/default/token", { spec: {} });
    const [header = "", payload = "", signature = ""] = textAt(issued.body, "status", "token").split(".");
    const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = JSON.parse(Buffer.from(payload, "base64url").toString()) as object;
    const forged = [
      [header, encode({ ...claims, exp: 9_999_999_999 }), signature],
      [header, payload, Buffer.alloc(256).toString("base64url")],
      [header, payload, ""],
      [encode({ alg: "none" }), payload, ""],
      [header, payload, signature, signature],
    ];
    const statuses = forged.map(async (parts) => (await client.ask("/version", { token: parts.join(".") })).status);
    expect(await Promise.all(statuses)).toEqual([401, 401, 401, 401, 401]);
    expect((await client.ask("/version", { token: [header, payload, signature].join(".") })).status).toBe(200);
  });

  it("lets callers without a credential see only health and version", async () => {
    expect((await client.ask("/version", { token: "" })).status).toBe(200);
    const answer = await client.ask("/api/v1/pods", { token: "" });
    expect(answer.status).toBe(403);
    expect(answer.body["message"]).toBe(
      'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" at the cluster scope',
    );
  });

  it("says in Kubernetes' words what a user may not do", async () => {
    const answer = await client.get("/apis/apps/v1/namespaces/default/deployments/x/scale", as("lee"));
    expect(answer.status).toBe(403);
    expect(answer.body["message"]).toBe(
      'deployments.apps "x" is forbidden: User "lee" cannot get resource "deployments/scale" in API group "apps" in the namespace "default"',
    );
  });

  it.each([
    ["a user", [["Impersonate-User", "lee"]], { username: "lee", groups: ["system:authenticated"] }],
    [
      "two groups on two lines, a comma inside of one kept",
      [
        ["Impersonate-User", "lee"],
        ["Impersonate-Group", "a,b"],
        ["impersonate-group", "c"],
      ],
      { username: "lee", groups: ["a,b", "c", "system:authenticated"] },
    ],
    [
      "a ServiceAccount with its own groups",
      [["Impersonate-User", "system:serviceaccount:default:default"]],
      {
        username: "system:serviceaccount:default:default",
        groups: ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"],
      },
    ],
    [
      "uid and extras, keys lower-cased and percent-decoded, broken escapes kept",
      [
        ["Impersonate-User", "lee"],
        ["Impersonate-Uid", "u-1"],
        ["Impersonate-Extra-Example.com%2Ffoo", "1"],
        ["Impersonate-Extra-example.com%2ffoo", "2"],
        ["Impersonate-Extra-almost%zz", "3"],
      ],
      { username: "lee", uid: "u-1", groups: ["system:authenticated"], extra: { "example.com/foo": ["1", "2"], "almost%zz": ["3"] } },
    ],
    [
      "a name in UTF-8",
      [["Impersonate-User", Buffer.from("zażółć").toString("latin1")]],
      { username: "zażółć", groups: ["system:authenticated"] },
    ],
    [
      "an empty user as nobody",
      [["Impersonate-User", ""]],
      { username: "sandbox-admin", groups: ["system:masters", "system:authenticated"] },
    ],
  ] as const)("impersonates %s", async (_what, lines, userInfo) => {
    const answer = await client.ask(review, { method: "POST", body: {}, lines: [...lines] });
    expect(valueAt(answer.body, "status", "userInfo")).toEqual(userInfo);
  });

  it("gives the impersonated anonymous user no group of authenticated users", async () => {
    const answer = await client.ask(review, { method: "POST", body: {}, lines: as("system:anonymous") });
    expect(answer.status).toBe(403);
    expect(textAt(answer.body, "message")).toContain('User "system:anonymous" cannot create');
  });

  it.each(["Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-x"])("refuses %s without a user", async (name) => {
    expect((await client.ask(review, { method: "POST", body: {}, lines: [[name, "x"]] })).status).toBe(500);
  });

  it("asks for the right to each impersonated part, and for nothing more", async () => {
    const rules = [
      { apiGroups: [""], resources: ["users"], resourceNames: ["lee"], verbs: ["impersonate"] },
      { apiGroups: [""], resources: ["groups"], resourceNames: ["dev"], verbs: ["impersonate"] },
      { apiGroups: ["authentication.k8s.io"], resources: ["userextras/scope"], resourceNames: ["read"], verbs: ["impersonate"] },
      { apiGroups: ["authentication.k8s.io"], resources: ["uids"], resourceNames: ["7"], verbs: ["impersonate"] },
    ];
    const account = "system:serviceaccount:default:proxy";
    await client.post("/api/v1/namespaces/default/serviceaccounts", { metadata: { name: "proxy" } });
    await client.post(`${rbac}/clusterroles`, { metadata: { name: "proxy" }, rules });
    const subjects = [{ kind: "ServiceAccount", name: "proxy", namespace: "default" }];
    await client.post(`${rbac}/clusterrolebindings`, {
      metadata: { name: "proxy" },
      subjects,
      roleRef: { kind: "ClusterRole", name: "proxy" },
    });
    const issued = await client.post("/api/v1/namespaces/default/serviceaccounts/proxy/token", { spec: {} });
    const token = textAt(issued.body, "status", "token");
    const ask = async (...lines: readonly (readonly [string, string])[]): Promise<string> => {
      const answer = await client.ask(review, { method: "POST", body: {}, token, lines });
      return textAt(answer.body, "message") || textAt(answer.body, "status", "userInfo", "username");
    };
    const lee = ["Impersonate-User", "lee"] as const;
    expect(await ask()).toBe(account);
    expect(await ask(lee, ["Impersonate-Group", "dev"], ["Impersonate-Extra-scope", "read"], ["Impersonate-Uid", "7"])).toBe("lee");
    const refused = (what: string): string => `User "${account}" cannot impersonate resource "${what}"`;
    expect(await ask(["Impersonate-User", "dana"])).toContain(refused("users"));
    expect(await ask(lee, ["Impersonate-Group", "system:masters"])).toContain(refused("groups"));
    expect(await ask(lee, ["Impersonate-Extra-scope", "write"])).toContain(refused("userextras/scope"));
    expect(await ask(lee, ["Impersonate-Uid", "8"])).toContain(refused("uids"));
    expect(await ask(["Impersonate-User", "system:serviceaccount:default:default"])).toContain(refused("serviceaccounts"));
  });

  it("ends a ServiceAccount's token with its time, its account, and the pod it is bound to", async () => {
    const path = "/api/v1/namespaces/default/serviceaccounts";
    const whoami = async (token: string): Promise<number> => (await client.ask(review, { method: "POST", body: {}, token })).status;
    await client.post(path, { metadata: { name: "short" } });
    const pod = await client.post("/api/v1/namespaces/default/pods", {
      metadata: { name: "holder" },
      spec: { serviceAccountName: "short", containers: [{ name: "a", image: "outside" }] },
    });
    const boundObjectRef = { kind: "Pod", apiVersion: "v1", name: "holder", uid: textAt(pod.body, "metadata", "uid") };
    const issue = async (spec: object): Promise<string> =>
      textAt((await client.ask(`${path}/short/token`, { method: "POST", body: { spec: { ...spec } } })).body, "status", "token");
    const bound = await issue({ boundObjectRef });
    const brief = await issue({ expirationSeconds: 600 });
    const plain = await issue({ expirationSeconds: 7200 });
    expect(await Promise.all([bound, brief, plain].map(whoami))).toEqual([201, 201, 201]);
    clock.advance(601_000);
    expect(await whoami(brief)).toBe(401);
    await client.ask("/api/v1/namespaces/default/pods/holder?gracePeriodSeconds=0", { method: "DELETE" });
    expect(await whoami(bound)).toBe(401);
    expect(await whoami(plain)).toBe(201);
    await client.ask(`${path}/short`, { method: "DELETE" });
    expect(await whoami(plain)).toBe(401);
  });

  it("gives the agent a token for one audience, worth nothing at the apiserver, that its published keys verify", async () => {
    const token = client.sandbox.agentToken("sallyport:demo");
    const keys = (await client.get("/openid/v1/jwks")).body;
    expect(keys).toEqual(client.sandbox.jwks);
    const { status } = (
      await client.post("/apis/authentication.k8s.io/v1/tokenreviews", { spec: { token, audiences: ["sallyport:demo", "other"] } })
    ).body;
    expect(status).toMatchObject({
      authenticated: true,
      audiences: ["sallyport:demo"],
      user: { username: "system:serviceaccount:sallyport-system:sallyport-agent" },
    });
    const elsewhere = await client.post("/apis/authentication.k8s.io/v1/tokenreviews", { spec: { token } });
    expect(elsewhere.body["status"]).toMatchObject({ authenticated: false });
    expect((await client.get("/.well-known/openid-configuration")).body["issuer"]).toBe(client.sandbox.joinIssuer);
  });
});

describe("the agent's rights", () => {
  it("are to act for users and to ask what they may do, and nothing else", async () => {
    const client = await startTestSandbox();
    const issued = await client.post("/api/v1/namespaces/sallyport-system/serviceaccounts/sallyport-agent/token", { spec: {} });
    const token = textAt(issued.body, "status", "token");
    const userOf = async (...lines: readonly (readonly [string, string])[]): Promise<string> => {
      const answer = await client.ask(review, { method: "POST", body: {}, token, lines });
      return textAt(answer.body, "status", "userInfo", "username") || textAt(answer.body, "reason");
    };
    const lee = ["Impersonate-User", "lee"] as const;
    expect(await userOf(lee, ["Impersonate-Group", "dev"], ["Impersonate-Uid", "7"])).toBe("lee");
    expect(await userOf(lee, ["Impersonate-Extra-sallyport.dev%2Foriginal-user", "ada"])).toBe("lee");
    expect(await userOf(lee, ["Impersonate-Extra-other", "x"])).toBe("Forbidden");
    expect(await userOf(["Impersonate-User", "system:serviceaccount:default:default"])).toBe("Forbidden");
    expect((await client.ask("/api/v1/namespaces/sallyport-system/secrets", { token })).status).toBe(403);
    expect((await client.ask("/api/v1/pods", { token })).status).toBe(403);
    await client.sandbox.stop();
  });
});

describe("what RBAC allows", () => {
  let client: Client;

  beforeAll(async () => {
    client = await startTestSandbox();
    await client.post("/api/v1/namespaces", { metadata: { name: "web" } });
    for (const name of ["one", "two"]) await client.post("/api/v1/namespaces/web/configmaps", configMap(name));
    const rules = [
      { apiGroups: [""], resources: ["configmaps"], resourceNames: ["one"], verbs: ["get", "update"] },
      { apiGroups: [""], resources: ["pods/log"], verbs: ["get"] },
      { apiGroups: ["apps"], resources: ["*"], verbs: ["list"] },
      { apiGroups: [""], resources: ["*/status"], verbs: ["*"] },
    ];
    await client.post(`${rbac}/namespaces/web/roles`, { metadata: { name: "mixed" }, rules });
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "mixed" };
    await client.post(`${rbac}/namespaces/web/rolebindings`, {
      metadata: { name: "mixed" },
      subjects: [{ kind: "Group", name: "dev" }],
      roleRef,
    });
  });
  afterAll(() => client.sandbox.stop());

  it.each([
    { verb: "get", group: "", resource: "configmaps", subresource: "", name: "one", allowed: true },
    { verb: "get", group: "", resource: "configmaps", subresource: "", name: "two", allowed: false },
    { verb: "get", group: "", resource: "configmaps", subresource: "", name: "", allowed: false },
    { verb: "delete", group: "", resource: "configmaps", subresource: "", name: "one", allowed: false },
    { verb: "get", group: "", resource: "pods", subresource: "log", name: "p", allowed: true },
    { verb: "get", group: "", resource: "pods", subresource: "", name: "p", allowed: false },
    { verb: "get", group: "", resource: "pods", subresource: "exec", name: "p", allowed: false },
    { verb: "list", group: "apps", resource: "deployments", subresource: "", name: "", allowed: true },
    { verb: "list", group: "", resource: "deployments", subresource: "", name: "", allowed: false },
    { verb: "patch", group: "", resource: "pods", subresource: "status", name: "p", allowed: true },
    { verb: "patch", group: "apps", resource: "deployments", subresource: "status", name: "p", allowed: false },
  ])("$verb $group $resource/$subresource $name: $allowed", async ({ allowed, ...asked }) => {
    const resourceAttributes = { ...asked, namespace: "web" };
    const ask = async (attributes: object, groups: readonly string[]): Promise<unknown> => {
      const spec = { user: "lee", groups: [...groups], resourceAttributes: { ...attributes } };
      return valueAt((await client.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", { spec })).body, "status", "allowed");
    };
    expect(await ask(resourceAttributes, ["dev"])).toBe(allowed);
    expect(await ask({ ...resourceAttributes, namespace: "default" }, ["dev"])).toBe(false);
    expect(await ask(resourceAttributes, ["ops"])).toBe(false);
  });

  it("answers reviews of the self for the impersonated user", async () => {
    const spec = { resourceAttributes: { verb: "list", group: "apps", resource: "deployments", namespace: "web" } };
    const path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    const asked = await client.ask(path, { method: "POST", body: { spec }, lines: as("lee", "dev") });
    expect(asked.body["status"]).toEqual({
      allowed: true,
      reason: 'RBAC: allowed by RoleBinding "mixed/web" of Role "mixed" to Group "dev"',
    });
  });

  it("lets nobody give rights that they do not have", async () => {
    await client.post(`${rbac}/namespaces/web/rolebindings`, {
      metadata: { name: "admins" },
      subjects: [{ kind: "User", name: "ada" }],
      roleRef: { kind: "ClusterRole", name: "admin" },
    });
    const post = (kind: string, body: object) =>
      client.ask(`${rbac}/namespaces/web/${kind}`, { method: "POST", body: { ...body }, lines: as("ada") });
    const held = { metadata: { name: "held" }, rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }] };
    const wider = { metadata: { name: "wider" }, rules: [{ apiGroups: ["*"], resources: ["*"], verbs: ["*"] }] };
    expect((await post("roles", held)).status).toBe(201);
    expect((await post("roles", wider)).status).toBe(403);
    const subjects = [{ kind: "User", name: "ada" }];
    expect(
      (await post("rolebindings", { metadata: { name: "up" }, subjects, roleRef: { kind: "ClusterRole", name: "cluster-admin" } })).status,
    ).toBe(403);
    expect(
      (await post("rolebindings", { metadata: { name: "same" }, subjects, roleRef: { kind: "ClusterRole", name: "view" } })).status,
    ).toBe(201);
    const patched = await client.ask(`${rbac}/namespaces/web/roles/held`, {
      method: "PATCH",
      body: { rules: wider.rules },
      contentType: "application/merge-patch+json",
      lines: as("ada"),
    });
    expect(patched.status).toBe(403);
  });

  it("asks for the right to create when a stream is opened by GET", async () => {
    await client.post(`${rbac}/clusterroles`, {
      metadata: { name: "get-exec" },
      rules: [{ apiGroups: [""], resources: ["pods/exec"], verbs: ["get"] }],
    });
    await client.post(`${rbac}/clusterrolebindings`, {
      metadata: { name: "get-exec" },
      subjects: [{ kind: "User", name: "eve" }],
      roleRef: { kind: "ClusterRole", name: "get-exec" },
    });
    const answer = await client.get("/api/v1/namespaces/default/pods/any/exec?command=id", as("eve"));
    expect(answer.status).toBe(403);
    expect(textAt(answer.body, "message")).toContain('cannot create resource "pods/exec"');
    expect(objectAt(answer.body, "details")).toMatchObject({ kind: "pods" });
  });
});
