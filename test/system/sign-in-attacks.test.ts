/** What others may try with somebody's browser, and with a stolen or invented answer: none of it makes a session. */
import { describe, expect, test } from "vitest";
import { Browser, formOf, nextOf } from "#test/support/browser.ts";
import type { BrowserPage, Visit } from "#test/support/browser.ts";
import { useSignInSystem } from "#test/support/sign-in-system.ts";
import { ask } from "#test/support/system.ts";

const system = useSignInSystem({
  issuer: { claimsOf: (person) => ({ groups: person === "mallory" ? [`<img src=x onerror="alert(1)">`] : ["developers"] }) },
});
const sessionCookie = "__Host-sallyport-session";
const startCookie = "__Host-sallyport-start";

function newBrowser(): Browser {
  return new Browser(system.authority.certificate);
}

/** Signs in up to the issuer's redirect back, which is not followed. */
async function stopBeforeCallback(browser: Browser, person = "alice"): Promise<URL> {
  const page = await browser.follow(await system.begin(browser), person, (next) => next.pathname.startsWith("/sign-in/callback"));
  const callback = nextOf(page);
  if (callback === undefined) throw new Error("the issuer did not send the browser back");
  return callback;
}

function changed(url: URL, parameters: Readonly<Record<string, string | undefined>>): URL {
  const copy = new URL(url);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) copy.searchParams.delete(name);
    else copy.searchParams.set(name, value);
  }
  return copy;
}

function expectNoSession(page: BrowserPage, browser: Browser): void {
  expect([page.status, page.text]).toEqual([400, expect.stringContaining("SIGN_IN_FAILED")]);
  expect(browser.jar(system.gateway.url).has(sessionCookie)).toBe(false);
}

describe("an answer of the issuer", () => {
  test.each<[string, (callback: URL) => URL]>([
    ["without a state", (callback) => changed(callback, { state: undefined })],
    ["with a made up state", (callback) => changed(callback, { state: "A".repeat(43) })],
    ["with two states", (callback) => new URL(`${callback.href}&state=${callback.searchParams.get("state") ?? ""}`)],
    ["with a made up code", (callback) => changed(callback, { code: "made-up" })],
    ["without a code", (callback) => changed(callback, { code: undefined })],
    ["in another issuer's name", (callback) => changed(callback, { iss: "https://other.example" })],
    ["without the issuer's name", (callback) => changed(callback, { iss: undefined })],
    ["at another issuer's address", (callback) => new URL(callback.href.replace("/callback?", "/callback/0123456789ab?"))],
    ["that is an error", (callback) => changed(callback, { code: undefined, error: "access_denied" })],
  ])("%s makes no session", async (_name, change) => {
    const browser = newBrowser();
    expectNoSession(await browser.visit(change(await stopBeforeCallback(browser))), browser);
  });

  test("makes no session in another person's browser, and is used up by the attempt", async () => {
    const [attacker, victim] = [newBrowser(), newBrowser()];
    const callback = await stopBeforeCallback(attacker, "mallory");
    await victim.visit(`${system.gateway.url}/sign-in`);
    expectNoSession(await victim.visit(callback), victim);
    expectNoSession(await attacker.visit(callback), attacker);
  });

  test("makes no session without the cookie of the browser that began", async () => {
    const browser = newBrowser();
    const callback = await stopBeforeCallback(browser);
    browser.jar(system.gateway.url).delete(startCookie);
    expectNoSession(await browser.visit(callback), browser);
  });

  test("counts once", async () => {
    const browser = newBrowser();
    const callback = await stopBeforeCallback(browser);
    expect((await browser.visit(callback)).status).toBe(303);
    browser.jar(system.gateway.url).delete(sessionCookie);
    expectNoSession(await browser.visit(callback), browser);
  });

  test("is not used up by a HEAD request", async () => {
    const browser = newBrowser();
    const callback = await stopBeforeCallback(browser);
    expect((await browser.visit(callback, { method: "HEAD" })).status).toBe(405);
    expect((await browser.visit(callback)).status).toBe(303);
  });
});

describe("the way to the issuer", () => {
  test("has PKCE, a state and a nonce that are new each time, and no secret of the browser", async () => {
    const browser = newBrowser();
    const [first, second] = [nextOf(await system.begin(browser)), nextOf(await system.begin(browser))];
    expect(first?.searchParams.get("code_challenge_method")).toBe("S256");
    for (const name of ["state", "nonce", "code_challenge"]) {
      expect(first?.searchParams.get(name)).toMatch(/^[\w-]{43}$/);
      expect(first?.searchParams.get(name)).not.toBe(second?.searchParams.get(name));
    }
    expect(first?.href).not.toContain(browser.jar(system.gateway.url).get(startCookie));
  });

  test.each([
    "//evil.example",
    "/\\evil.example",
    "/\t/evil.example",
    "https:evil.example",
    "https://evil.example/",
    "javascript:alert(1)",
    "/@evil.example",
    "/session\r\nset-cookie: a=b",
    "/k/one/api/v1/namespaces/web/pods/p/proxy/",
    "/sign-in/callback?state=x",
    "/./../k/one/",
    "",
  ])("never leads back to %j", async (returnTo) => {
    const browser = newBrowser();
    const page = await browser.follow(await system.begin(browser, `/sign-in?return_to=${encodeURIComponent(returnTo)}`), "alice");
    expect([page.url.href, page.status]).toEqual([`${system.gateway.url}/`, 200]);
  });

  test.each(["https://evil.example", "", "null"])("does not begin for the issuer %j", async (issuer) => {
    const browser = newBrowser();
    const choice = await browser.visit(`${system.gateway.url}/sign-in`);
    const { action, fields } = formOf(choice, /name="issuer"/);
    fields.set("issuer", issuer);
    expect((await browser.visit(action, { form: fields })).status).toBe(404);
  });
});

describe("a form", () => {
  const refused: readonly [string, Visit][] = [
    ["from another site", { headers: { "sec-fetch-site": "cross-site", origin: "https://evil.example" } }],
    ["from another host of the same site", { headers: { "sec-fetch-site": "same-site" } }],
    ["from an opaque origin", { headers: { origin: "null" } }],
    ["whose browser names only a foreign origin", { headers: { "sec-fetch-site": undefined, origin: "https://evil.example" } }],
    ["that does not say where it is from", { headers: { "sec-fetch-site": undefined, origin: undefined } }],
    ["as plain text", { headers: { "content-type": "text/plain" } }],
    ["as multipart", { headers: { "content-type": "multipart/form-data; boundary=x" } }],
    ["of no type", { headers: { "content-type": undefined } }],
  ];

  test.each(refused)("%s does not sign anybody out", async (_name, visit) => {
    const { browser, page } = await system.signIn("alice");
    const { action, fields } = formOf(page, /sign-out/);
    const answer = await browser.visit(action, { form: fields, ...visit });
    expect([answer.status, answer.text]).toEqual([403, expect.stringContaining("FORM_REFUSED")]);
    expect((await browser.visit(system.gateway.url)).status).toBe(200);
  });

  test.each(refused)("%s begins no sign-in", async (_name, visit) => {
    const browser = newBrowser();
    const { action, fields } = formOf(await browser.visit(`${system.gateway.url}/sign-in`), /name="issuer"/);
    expect((await browser.visit(action, { form: fields, ...visit })).status).toBe(403);
  });

  test("needs its own token: none, another session's and two are refused", async () => {
    const [alice, bob] = [await system.signIn("alice"), await system.signIn("bob")];
    const { action, fields } = formOf(alice.page, /sign-out/);
    const own = fields.get("token") ?? "";
    const foreign = formOf(bob.page, /sign-out/).fields.get("token") ?? "";
    for (const form of [
      [],
      [["token", foreign]],
      [
        ["token", own],
        ["token", own],
      ],
      [["token", `${own}x`]],
    ] as [string, string][][]) {
      expect((await alice.browser.visit(action, { form: new URLSearchParams(form) })).status).toBe(403);
    }
    expect((await alice.browser.visit(system.gateway.url)).status).toBe(200);
  });

  test("that is too large is refused", async () => {
    const { browser, page } = await system.signIn("alice");
    const { action, fields } = formOf(page, /sign-out/);
    fields.set("filler", "x".repeat(20_000));
    expect((await browser.visit(action, { form: fields })).status).toBe(413);
  });

  test("is not replaced by a link: GET changes nothing", async () => {
    const { browser } = await system.signIn("alice");
    expect((await browser.visit(`${system.gateway.url}/sign-out`)).status).toBe(404);
    expect((await browser.visit(system.gateway.url)).status).toBe(200);
  });
});

describe("the session's cookie", () => {
  test("is an opaque number for this host alone, which scripts cannot read", async () => {
    const browser = newBrowser();
    const [line = ""] = (await browser.visit(await stopBeforeCallback(browser))).cookies;
    expect(line).toMatch(/^__Host-sallyport-session=[\w-]{43}; Path=\/; Secure; HttpOnly; SameSite=Lax; Max-Age=43200$/);
  });

  test("is another one after every sign-in, and the old one is dead", async () => {
    const { browser } = await system.signIn("alice");
    const jar = browser.jar(system.gateway.url);
    const before = jar.get(sessionCookie) ?? "";
    await system.signIn("alice", browser);
    expect(jar.get(sessionCookie)).not.toBe(before);
    jar.set(sessionCookie, before);
    expect((await browser.visit(system.gateway.url)).status).toBe(303);
  });

  test("cannot be chosen by somebody else: an unknown one is no session, before and after a sign-in", async () => {
    const browser = newBrowser();
    const fixed = "F".repeat(43);
    browser.jar(system.gateway.url).set(sessionCookie, fixed);
    expect((await browser.visit(system.gateway.url)).status).toBe(303);
    browser.jar(system.gateway.url).set(sessionCookie, fixed);
    await system.signIn("alice", browser);
    expect(browser.jar(system.gateway.url).get(sessionCookie)).not.toBe(fixed);
  });

  test("counts for nothing when it is there twice, in whatever order", async () => {
    const { browser } = await system.signIn("alice");
    const good = `${sessionCookie}=${browser.jar(system.gateway.url).get(sessionCookie) ?? ""}`;
    const tossed = `${sessionCookie}=${"T".repeat(43)}`;
    for (const cookie of [`${good}; ${tossed}`, `${tossed}; ${good}`, `${good}; ${good}`])
      expect((await newBrowser().visit(system.gateway.url, { headers: { cookie } })).status).toBe(303);
    expect((await newBrowser().visit(system.gateway.url, { headers: { cookie: good } })).status).toBe(200);
  });

  test.each([
    ["a cluster's API", "/k/one/api/v1/namespaces/web/pods", undefined],
    ["a cluster's own host", "/api/v1/namespaces/web/pods", "one.k8s.localhost"],
    ["a pod's application", "/k/one/api/v1/namespaces/web/pods/p/proxy/", undefined],
    ["the gateway's API", "/gateway/v1/clusters", undefined],
    ["the tunnel", "/tunnel/one", undefined],
  ])("is no credential for %s", async (_name, path, host) => {
    const { browser } = await system.signIn("alice");
    const cookie = [...browser.jar(system.gateway.url)].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await ask(system.gateway, path, {
      headers: { cookie, accept: "application/json" },
      ...(host !== undefined && { host }),
    });
    expect([400, 401]).toContain(answer.status);
    expect(answer.headers["set-cookie"]).toBeUndefined();
    expect(answer.headers["location"]).toBeUndefined();
  });
});

describe("the pages", () => {
  test("are for one host", async () => {
    const { browser } = await system.signIn("alice");
    const cookie = [...browser.jar(system.gateway.url)].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await ask(system.gateway, "/", { host: `127.0.0.1:${system.gateway.port}`, headers: { cookie, accept: "text/html" } });
    expect(answer.status).toBe(404);
    expect(answer.body).not.toContain("alice");
  });

  test("have no script, no foreign part and no frame, and are kept nowhere", async () => {
    const { page } = await system.signIn("alice");
    expect(page.headers["content-security-policy"]).toBe(
      "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    );
    expect(page.headers).toMatchObject({
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      "referrer-policy": "same-origin",
      "cross-origin-opener-policy": "same-origin",
      "cross-origin-resource-policy": "same-origin",
    });
    expect(page.text).not.toMatch(/<script|style="|\son\w+=|(?:src|href)="https?:/);
  });

  test("show what others name themselves as text", async () => {
    const { page } = await system.signIn("mallory");
    expect(page.text).toContain("&#60;img src=x onerror=&#34;alert(1)&#34;&#62;");
    expect(page.text).not.toContain("<img src=x");
  });

  test("do not name clusters to strangers", async () => {
    const choice = await newBrowser().visit(`${system.gateway.url}/sign-in`);
    expect(choice.text).not.toMatch(/\bone\b(?=<)|cluster-one/);
  });
});
