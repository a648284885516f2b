/** One person in several browsers: each sees the others' sessions and can end them, and nobody else can. */
import { describe, expect, test } from "vitest";
import { formOf } from "#test/support/browser.ts";
import type { Browser, BrowserPage } from "#test/support/browser.ts";
import { useSignInSystem } from "#test/support/sign-in-system.ts";

const system = useSignInSystem();

async function sessionPage(browser: Browser): Promise<BrowserPage> {
  return browser.visit(`${system.gateway.url}/session`);
}

async function isSignedIn(browser: Browser): Promise<boolean> {
  return (await sessionPage(browser)).status === 200;
}

function count(page: BrowserPage): number {
  return page.text.split('action="/session/end"').length - 1;
}

describe("a person with two browsers", () => {
  test("sees the other one, and ends it from here", async () => {
    const [here, there] = [(await system.signIn("alice")).browser, (await system.signIn("alice")).browser];
    await system.signIn("bob");
    const page = await sessionPage(here);
    expect(count(page)).toBe(1);
    const { action, fields } = formOf(page, /session\/end"/);
    expect((await here.visit(action, { form: fields })).status).toBe(303);
    expect([await isSignedIn(here), await isSignedIn(there)]).toEqual([true, false]);
    expect(count(await sessionPage(here))).toBe(0);
  });

  test("signs out everywhere at once, and others stay", async () => {
    const [here, there] = [(await system.signIn("carol")).browser, (await system.signIn("carol")).browser];
    const bob = (await system.signIn("bob")).browser;
    const { action, fields } = formOf(await sessionPage(here), /end-all/);
    const end = await here.visit(action, { form: fields });
    expect([end.status, end.headers["location"]]).toEqual([303, "/signed-out"]);
    expect([await isSignedIn(here), await isSignedIn(there), await isSignedIn(bob)]).toEqual([false, false, true]);
  });

  test("cannot end somebody else's, whose name they know", async () => {
    const [first, second] = [(await system.signIn("dave")).browser, (await system.signIn("dave")).browser];
    const mallory = (await system.signIn("mallory")).browser;
    const theirs = formOf(await sessionPage(first), /session\/end"/).fields.get("name") ?? "";
    const { action, fields } = formOf(await sessionPage(mallory), /end-all/);
    const forged = new URLSearchParams({ token: fields.get("token") ?? "", name: theirs });
    expect((await mallory.visit(new URL("/session/end", action), { form: forged })).status).toBe(404);
    expect([await isSignedIn(first), await isSignedIn(second)]).toEqual([true, true]);
  });

  test("is not signed out by another site's form", async () => {
    const { browser } = await system.signIn("erin");
    const { action, fields } = formOf(await sessionPage(browser), /end-all/);
    expect((await browser.visit(action, { form: fields, headers: { "sec-fetch-site": "cross-site" } })).status).toBe(403);
    expect(await isSignedIn(browser)).toBe(true);
  });
});
