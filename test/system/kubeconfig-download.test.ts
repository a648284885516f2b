/** A kubeconfig from the browser: who gets one, what it opens, and how it ends. The gateway, the agent and the issuer are real. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from "jose";
import type { JSONWebKeySet } from "jose";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Browser, formOf } from "#test/support/browser.ts";
import type { BrowserPage } from "#test/support/browser.ts";
import { openSocket } from "#test/support/client-socket.ts";
import { RawConnection } from "#test/support/raw-connection.ts";
import { acceptWebSocket, startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import type { ScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { registerOidcCluster, registerTrustingCluster, startSignInSystem, trustingConfiguration } from "#test/support/sign-in-system.ts";
import type { SignInSystem } from "#test/support/sign-in-system.ts";
import { ask, authenticationConfiguration } from "#test/support/system.ts";
import type { AgentFixture } from "#test/support/system.ts";

let system: SignInSystem;
let apiserver: ScriptedApiserver;
const agents: AgentFixture[] = [];
const pods = "/api/v1/namespaces/web/pods";

beforeAll(async () => {
  const clients = ["one", "two", "plain", "wary"].map((name) => ({ id: `cluster-${name}` }));
  system = await startSignInSystem({ clusters: [], issuer: { clients }, variables: () => ({ GATEWAY_AUTHORITY: "-----BEGIN X-----" }) });
  apiserver = await startScriptedApiserver();
  const kubeconfig = await apiserver.kubeconfig(join(system.gateway.folder, "kubeconfig"));
  for (const name of ["one", "two", "wary"]) {
    const cluster = await registerTrustingCluster(system, name);
    if (name === "wary")
      await writeFile(cluster.authenticationFile, cluster.configuration.split("- issuer:").slice(0, 2).join("- issuer:"));
    agents.push(await cluster.startAgent({ kubeconfig }));
  }
  await registerOidcCluster(system.gateway, system.issuer, "plain");
  await system.gateway.register({
    name: "foreign",
    configuration: (url, audience) => trustingConfiguration(system, "foreign", url, audience),
  });
});
beforeEach(() => apiserver.reset());
afterAll(async () => {
  await apiserver.stop();
  for (const agent of agents) await agent.stop("SIGKILL");
  await system.gateway.stop();
  await system.issuer.stop();
});

interface Downloaded {
  readonly browser: Browser;
  readonly token: string;
  readonly file: BrowserPage;
}

async function press(browser: Browser, cluster: string): Promise<BrowserPage> {
  const home = await browser.visit(system.gateway.url);
  const { action, fields } = formOf(home, /action="\/kubeconfigs"/);
  fields.set("cluster", cluster);
  return browser.visit(action, { form: fields });
}

async function download(person: string, cluster = "one"): Promise<Downloaded> {
  const { browser } = await system.signIn(person);
  const file = await press(browser, cluster);
  if (file.status !== 200) throw new Error(file.text);
  const document: { readonly users: readonly [{ readonly user: { readonly token: string } }] } = JSON.parse(file.text);
  return { browser, file, token: document.users[0].user.token };
}

async function revoke(browser: Browser, id: string | undefined): Promise<BrowserPage> {
  const { action, fields } = formOf(await browser.visit(`${system.gateway.url}/kubeconfigs`), new RegExp(id ?? ""));
  return browser.visit(action, { form: fields });
}

describe("the file", () => {
  test("is a whole kubeconfig for one cluster, for nobody to keep on the way", async () => {
    const { file, token } = await download("alice");
    expect(file.headers).toMatchObject({ "content-disposition": 'attachment; filename="one.kubeconfig"', "cache-control": "no-store" });
    expect(JSON.parse(file.text)).toEqual({
      ...{ apiVersion: "v1", kind: "Config", "current-context": "one" },
      clusters: [
        {
          name: "one",
          cluster: {
            server: `https://one.k8s.localhost:${system.gateway.port}`,
            "certificate-authority-data": Buffer.from("-----BEGIN X-----").toString("base64"),
          },
        },
      ],
      users: [{ name: "one-browser", user: { token } }],
      contexts: [{ name: "one", context: { cluster: "one", user: "one-browser" } }],
    });
  });

  test("has a token for eight hours and this cluster, that says of the person what the cluster's own door says", async () => {
    const { token } = await download("alice");
    const { keys }: JSONWebKeySet = JSON.parse((await ask(system.gateway, "/issuer/jwks")).body);
    const { payload } = await jwtVerify(token, createLocalJWKSet({ keys }));
    expect(payload).toEqual({
      ...{ iss: `${system.gateway.url}/issuer`, aud: "one.gateway", sub: "oidc:alice", groups: ["oidc:developers"] },
      iat: expect.any(Number),
      exp: (payload.iat ?? 0) + 8 * 3600,
      jti: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
  });

  test("opens the cluster as that person, and no other cluster", async () => {
    const { token } = await download("alice");
    expect((await ask(system.gateway, `/k/one${pods}`, { token })).status).toBe(200);
    const impersonated = apiserver.seen.at(-1)?.headers.filter(([name]) => /^impersonate-(?:user|group|uid)$/i.test(name));
    expect(impersonated).toEqual([
      ["Impersonate-User", "oidc:alice"],
      ["Impersonate-Group", "oidc:developers"],
    ]);
    apiserver.reset();
    for (const other of ["two", "plain", "wary"]) expect((await ask(system.gateway, `/k/${other}${pods}`, { token })).status).toBe(401);
    expect(apiserver.seen).toEqual([]);
  });

  test("leaves a line in the log that names its person and its id, and not the token", async () => {
    const { token } = await download("alice");
    const id = decodeJwt(token).jti ?? "none";
    const line = system.gateway.lines.find((text) => text.includes(id)) ?? "{}";
    expect(JSON.parse(line)).toMatchObject({ event: "kubeconfig-issued", cluster: "one", username: "oidc:alice", subject: "alice" });
    expect(system.gateway.lines.join("\n")).not.toContain(token.split(".")[2]);
  });
});

describe("a cluster that does not trust the gateway as an issuer", () => {
  test("gives no kubeconfig, and the page says why", async () => {
    const { browser, page } = await system.signIn("alice");
    expect(page.text).toContain("AuthenticationConfiguration does not name the gateway as an issuer");
    expect(await press(browser, "plain")).toMatchObject({ status: 404, text: expect.stringContaining("KUBECONFIG_UNAVAILABLE") });
  });

  test("refuses the token at its agent, where the gateway only believes that it is trusted", async () => {
    const { token } = await download("alice", "wary");
    const answer = await ask(system.gateway, `/k/wary${pods}`, { token });
    expect([answer.status, answer.body]).toEqual([401, expect.stringContaining("is not one that this cluster trusts")]);
    expect(apiserver.seen).toEqual([]);
  });
});

test("a cluster whose audience is also another's gives no kubeconfig: its token would open both", async () => {
  const token = await system.gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });
  const registration = {
    ...{ name: "shared", issuerKeys: {}, allowSharedAudience: true },
    authenticationConfiguration: authenticationConfiguration("https://elsewhere.example", "two.gateway"),
    join: { issuer: "https://kubernetes.example", jwks: system.gateway.admin.keySet, audience: "sallyport", subject: "agent" },
  };
  const added = await ask(system.gateway, "/gateway/v1/clusters", { method: "POST", token, body: JSON.stringify(registration) });
  expect(added.status).toBe(201);
  const { browser } = await system.signIn("alice");
  expect(await press(browser, "two")).toMatchObject({ status: 404, text: expect.stringContaining("would open another") });
  await ask(system.gateway, "/gateway/v1/clusters/shared", { method: "DELETE", token });
  expect((await press(browser, "two")).status).toBe(200);
});

describe("nobody gets one", () => {
  test.each([
    ["without a session", {}],
    ["by another site's form", { "sec-fetch-site": "cross-site" }],
  ])("%s", async (_name, headers) => {
    const { browser, page } = await system.signIn("alice");
    const { action, fields } = formOf(page, /action="\/kubeconfigs"/);
    if (Object.keys(headers).length === 0) browser.jar(system.gateway.url).delete("__Host-sallyport-session");
    expect((await browser.visit(action, { form: fields, headers })).status).toBe(403);
  });

  test("after the session has ended, by a page that was still open", async () => {
    const { browser, page } = await system.signIn("alice");
    const cookie = browser.jar(system.gateway.url).get("__Host-sallyport-session") ?? "";
    const [ending, asking] = [formOf(page, /sign-out/), formOf(page, /action="\/kubeconfigs"/)];
    await browser.visit(ending.action, { form: ending.fields });
    browser.jar(system.gateway.url).set("__Host-sallyport-session", cookie);
    const answer = await browser.visit(asking.action, { form: asking.fields });
    expect([answer.status, answer.text]).toEqual([403, expect.stringContaining("session has ended")]);
  });

  test("by a bearer token, or by a link", async () => {
    const { browser, token } = await download("alice");
    expect((await ask(system.gateway, "/kubeconfigs", { method: "POST", token, body: "cluster=one" })).status).toBe(404);
    expect((await browser.visit(`${system.gateway.url}/kubeconfigs?cluster=one`)).headers["content-type"]).toMatch(/^text\/html/);
  });

  test("for a cluster that is not theirs, known or not", async () => {
    const { browser } = await system.signIn("alice");
    for (const name of ["foreign", "nine", "ONE", "../one", ""]) expect((await press(browser, name)).status).toBe(403);
  });
});

describe("a revoked token", () => {
  test("opens nothing from then on, and is listed no longer; the person's others still work", async () => {
    const { browser, token } = await download("carol");
    const second = await press(browser, "one");
    const other: string = JSON.parse(second.text).users[0].user.token;
    expect((await ask(system.gateway, `/k/one${pods}`, { token })).status).toBe(200);
    expect((await revoke(browser, decodeJwt(token).jti)).status).toBe(303);
    const refused = await ask(system.gateway, `/k/one${pods}`, { token });
    expect([refused.status, refused.body]).toEqual([401, expect.stringContaining("was revoked")]);
    expect((await ask(system.gateway, "/gateway/v1/clusters", { token })).status).toBe(401);
    expect((await ask(system.gateway, `/k/one${pods}`, { token: other })).status).toBe(200);
    const list = await browser.visit(`${system.gateway.url}/kubeconfigs`);
    expect(list.text).not.toContain(decodeJwt(token).jti);
    expect(list.text).toContain(decodeJwt(other).jti);
  });

  test("ends the streams that it opened, within ten seconds", async () => {
    const { browser, token } = await download("dave");
    apiserver.onUpgrade = (request, socket, head) => void acceptWebSocket(request, socket, head, "v5.channel.k8s.io");
    apiserver.onRequest = (_request, response) => void response.writeHead(200, { "content-type": "application/json" }).write("first\n");
    const exec = await openSocket(system.gateway, `/k/one${pods}/p/exec?command=id`, { token, protocols: ["v5.channel.k8s.io"] });
    const watch = await RawConnection.open(system.gateway);
    watch.write(`GET /k/one${pods}?watch=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ${token}\r\n\r\n`);
    await watch.until((received) => received.includes("first"));
    await revoke(browser, decodeJwt(token).jti);
    const revokedMs = Date.now();
    await Promise.all([exec.closed, watch.untilClosed()]);
    expect(Date.now() - revokedMs).toBeLessThan(10_000);
    expect(JSON.parse(exec.messages.at(-1)?.data.subarray(1).toString() ?? "")).toMatchObject({
      details: { causes: [{ reason: "SESSION_ENDED" }] },
    });
  });

  test("goes with all others of its person who signs out everywhere", async () => {
    const { browser, token } = await download("frank");
    const { action, fields } = formOf(await browser.visit(`${system.gateway.url}/session`), /end-all/);
    await browser.visit(action, { form: fields });
    expect((await ask(system.gateway, `/k/one${pods}`, { token })).status).toBe(401);
  });

  test("can be revoked by its own person only", async () => {
    const { token } = await download("erin");
    const mallory = await download("mallory");
    const { action, fields } = formOf(await mallory.browser.visit(`${system.gateway.url}/kubeconfigs`), /revoke/);
    fields.set("id", decodeJwt(token).jti ?? "");
    expect((await mallory.browser.visit(action, { form: fields })).status).toBe(404);
    expect((await ask(system.gateway, `/k/one${pods}`, { token })).status).toBe(200);
  });
});

describe("an admin", () => {
  const asAdmin = async (path: string, options: { readonly method?: string; readonly body?: string } = {}) => {
    const token = await system.gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });
    return ask(system.gateway, `/gateway/v1${path}`, { ...options, token });
  };

  test("sees whose kubeconfigs work, and revokes one", async () => {
    const { token } = await download("heidi");
    const id = decodeJwt(token).jti ?? "";
    const list = await asAdmin("/kubeconfigs");
    expect(JSON.parse(list.body).kubeconfigs).toContainEqual({
      ...{ id, cluster: "one", username: "oidc:heidi", issuer: system.issuer.url, subject: "heidi" },
      ...{ issuedAt: expect.stringMatching(/Z$/), expiresAt: expect.stringMatching(/Z$/) },
    });
    expect(list.body).not.toContain(token);
    expect((await asAdmin(`/kubeconfigs/${id}`, { method: "DELETE" })).status).toBe(204);
    expect((await ask(system.gateway, `/k/one${pods}`, { token })).status).toBe(401);
    expect((await asAdmin(`/kubeconfigs/${id}`, { method: "DELETE" })).status).toBe(404);
  });

  test("ends all that one person holds, and nobody else's", async () => {
    const [ivan, judy] = [await download("ivan"), await download("judy")];
    const body = JSON.stringify({ issuer: system.issuer.url, subject: "ivan" });
    expect(JSON.parse((await asAdmin("/people/end", { method: "POST", body })).body)).toEqual({ kubeconfigs: 1, sessions: 1 });
    const statuses = async ({ token, browser }: Downloaded) => [
      (await ask(system.gateway, `/k/one${pods}`, { token })).status,
      (await browser.visit(`${system.gateway.url}/session`)).status,
    ];
    expect(await statuses(ivan)).toEqual([401, 303]);
    expect(await statuses(judy)).toEqual([200, 200]);
  });

  test("is the only one who may", async () => {
    const { token } = await download("mallory");
    const id = decodeJwt((await download("alice")).token).jti ?? "";
    const other = await system.gateway.admin.token({ sub: "eve", aud: "sallyport-admin", groups: [] });
    for (const credential of [undefined, token, other]) {
      const options = credential === undefined ? {} : { token: credential };
      const body = JSON.stringify({ issuer: system.issuer.url, subject: "alice" });
      expect([401, 403]).toContain((await ask(system.gateway, "/gateway/v1/kubeconfigs", options)).status);
      expect([401, 403]).toContain((await ask(system.gateway, `/gateway/v1/kubeconfigs/${id}`, { ...options, method: "DELETE" })).status);
      expect([401, 403]).toContain((await ask(system.gateway, "/gateway/v1/people/end", { ...options, method: "POST", body })).status);
    }
  });

  test.each(["x", "[]", "{}", '{"issuer":"https://login.example"}'])("is told what is wrong with %s", async (body) => {
    expect((await asAdmin("/people/end", { method: "POST", body })).status).toBe(400);
  });
});

describe("the gateway as an issuer", () => {
  test("publishes its name, its keys, and no private part of them", async () => {
    const discovery = await ask(system.gateway, "/issuer/.well-known/openid-configuration");
    expect(JSON.parse(discovery.body)).toMatchObject({
      issuer: `${system.gateway.url}/issuer`,
      jwks_uri: `${system.gateway.url}/issuer/jwks`,
    });
    const { keys }: JSONWebKeySet = JSON.parse((await ask(system.gateway, "/issuer/jwks")).body);
    const { token } = await download("alice");
    expect(keys.map(({ kid }) => kid)).toEqual([decodeProtectedHeader(token).kid]);
    for (const key of keys) expect(Object.keys(key).toSorted()).toEqual(["alg", "crv", "kid", "kty", "use", "x", "y"]);
    expect((await ask(system.gateway, "/issuer/token")).status).toBe(404);
  });

  test("makes nobody an admin", async () => {
    const { token } = await download("alice");
    expect((await ask(system.gateway, "/gateway/v1/clusters/one/hub", { token })).status).toBe(401);
  });

  test("refuses a token that only looks like its own", async () => {
    const { token } = await download("alice");
    const [header = "", payload = "", signature = ""] = token.split(".");
    const claims = { ...decodeJwt(token), sub: "oidc:root", groups: ["oidc:admins"] };
    const forged = [header, Buffer.from(JSON.stringify(claims)).toString("base64url"), signature].join(".");
    const unsigned = [Buffer.from('{"alg":"none"}').toString("base64url"), payload, ""].join(".");
    for (const bad of [forged, unsigned]) expect((await ask(system.gateway, `/k/one${pods}`, { token: bad })).status).toBe(401);
  });
});
