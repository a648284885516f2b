/** Browser sign-in as gateways are set up: with client secrets, with issuers that ask, without keys, and what is left on the disk. */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { Browser, formOf } from "#test/support/browser.ts";
import { startSignInSystem } from "#test/support/sign-in-system.ts";
import type { SignInSystem, SignInSystemOptions } from "#test/support/sign-in-system.ts";
import { ask, authenticationConfiguration } from "#test/support/system.ts";

const running: SignInSystem[] = [];

async function start(options: SignInSystemOptions): Promise<SignInSystem> {
  const system = await startSignInSystem(options);
  running.push(system);
  return system;
}

afterEach(async () => {
  for (const system of running.splice(0)) {
    await system.gateway.stop();
    await system.issuer.stop();
  }
});

test("a client with a secret shows it at the issuer, and a wrong one does not sign in", async () => {
  const issuer = { clients: [{ id: "cluster-one", secret: "s3cret-of-one" }] };
  const secrets = (secret: string) => (url: string) => ({ LOGIN_CLIENT_SECRETS: JSON.stringify({ [url]: { "cluster-one": secret } }) });
  const good = await start({ clusters: ["one"], issuer, variables: secrets("s3cret-of-one") });
  expect((await good.signIn("alice")).page.text).toContain("You may reach one cluster.");
  const bad = await start({ clusters: ["one"], issuer, variables: secrets("wrong") });
  expect((await bad.signIn("alice")).page).toMatchObject({
    status: 400,
    text: expect.stringContaining("refused the gateway itself as its client cluster-one"),
  });
});

test("an issuer that asks for each client is asked for one: the others open by their names", async () => {
  const system = await start({ issuer: { asksConsent: true } });
  const { browser, page } = await system.signIn("alice");
  expect(page.text).toContain("You may reach one cluster.");
  const { action, fields } = formOf(page, /name="cluster"/);
  fields.set("cluster", "two");
  const both = await browser.follow(await browser.visit(action, { form: fields }), "alice");
  expect(both.text).toContain("You may reach 2 clusters.");
});

test("somebody else at the same issuer takes over the whole of it, by whichever client they came", async () => {
  const system = await start({ issuer: { asksConsent: true } });
  const { browser, page } = await system.signIn("alice");
  browser.jar(system.issuer.url).clear();
  const { action, fields } = formOf(page, /name="cluster"/);
  fields.set("cluster", "two");
  const home = await browser.follow(await browser.visit(action, { form: fields }), "mallory");
  expect(home.text).toContain("You may reach one cluster.");
  expect(home.text).toContain("oidc:mallory");
  expect(home.text).not.toContain("oidc:alice");
});

test("a cluster's name that nobody registered is not found", async () => {
  const system = await start({ clusters: ["one"] });
  const { browser, page } = await system.signIn("alice");
  const { action, fields } = formOf(page, /name="cluster"/);
  fields.set("cluster", "nine");
  expect(await browser.visit(action, { form: fields })).toMatchObject({ status: 404, text: expect.stringContaining("CLUSTER_UNKNOWN") });
});

test("what is stored tells no token, no cookie and no person", async () => {
  const system = await start({ clusters: ["one"] });
  const { browser } = await system.signIn("alice-in-storage");
  const folder = join(system.gateway.folder, "gateway", "sallyport-sessions");
  const files = await readdir(folder);
  const stored = (await Promise.all(files.map((file) => readFile(join(folder, file), "latin1")))).join("\n");
  expect(stored).toMatch(/k1\.[\w-]{16}\.[\w-]{200}/);
  expect(stored).not.toMatch(/eyJ[\w-]{10,}\.eyJ/);
  for (const secret of ["alice-in-storage", ...browser.jar(system.gateway.url).values()]) expect(stored).not.toContain(secret);
  expect(system.gateway.lines.join("\n")).not.toMatch(/eyJ[\w-]{10,}\.|__Host-/);
});

test.each([
  ["without keys", { SESSION_KEYS: "" }, 404, /SIGN_IN_UNAVAILABLE/],
  ["with a key that is too short", { SESSION_KEYS: "k1:abc" }, 400, /SESSION_KEYS: entry 1 must be/],
  ["with secrets that are no JSON", { LOGIN_CLIENT_SECRETS: "x" }, 400, /LOGIN_CLIENT_SECRETS must be/],
])("a gateway %s says so on its pages, and serves everything else", async (_name, variables, status, message) => {
  const { gateway, authority } = await start({ clusters: ["one"], variables: () => variables });
  for (const path of ["/", "/sign-in", "/sign-in/callback?state=x", "/session"])
    expect(await new Browser(authority.certificate).visit(gateway.url + path)).toMatchObject({
      status,
      text: expect.stringMatching(message),
    });
  expect((await ask(gateway, "/healthz")).status).toBe(200);
  expect((await ask(gateway, "/k/one/api")).status).toBe(401);
});

test("an issuer that cannot be reached is said to be, and can be tried again", async () => {
  const system = await start({ clusters: ["one"] });
  await system.issuer.stop();
  const browser = new Browser(system.authority.certificate);
  expect(await system.begin(browser)).toMatchObject({ status: 503, text: expect.stringContaining("ISSUER_UNREACHABLE") });
});

test("the gateway's own tokens make nobody an admin, even where the admins' configuration names it", async () => {
  const { gateway } = await start({
    clusters: [],
    variables: (_issuer, url) => ({ ADMIN_AUTHENTICATION: authenticationConfiguration(`${url}/issuer`, "one.gateway") }),
  });
  const answer = await ask(gateway, "/gateway/v1/clusters", { method: "POST", token: "a.b.c", body: "{}" });
  expect([answer.status, answer.body]).toEqual([400, expect.stringContaining("make nobody an admin")]);
});
