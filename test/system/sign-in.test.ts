/** Signing in with a browser: a real workerd, a real oidc-provider, and a browser that a test can stop between any two requests. */
import { describe, expect, test } from "vitest";
import { Browser, formOf, nextOf } from "#test/support/browser.ts";
import { useSignInSystem } from "#test/support/sign-in-system.ts";

const system = useSignInSystem();
const sessionCookie = "__Host-sallyport-session";

function newBrowser(): Browser {
  return new Browser(system.authority.certificate);
}

describe("a person with a browser", () => {
  test("signs in at the issuer, and sees the clusters that take the sign-in, with the lines for kubectl", async () => {
    const { page } = await system.signIn("alice");
    expect(page).toMatchObject({ status: 200, url: new URL("/", system.gateway.url) });
    expect(page.text).toContain("You may reach 2 clusters.");
    expect(page.text).toContain(`sallyport login ${system.gateway.url} --cluster one`);
    expect(page.text).toContain("kubectl --context two get pods");
    expect(page.text).toContain("oidc:alice");
  });

  test("leaves lines in the log: who signed in, who did not and why, who signed out", async () => {
    const { browser, page } = await system.signIn("grace");
    const { action, fields } = formOf(page, /sign-out/);
    await browser.visit(action, { form: fields });
    const callback = nextOf(await browser.follow(await system.begin(browser), "grace", (next) => next.searchParams.has("code")));
    callback?.searchParams.set("code", "made-up");
    await browser.visit(callback ?? "");
    const events = system.gateway.lines.filter((line) => line.includes(system.issuer.url)).map((line): unknown => JSON.parse(line));
    const grace = { issuer: system.issuer.url, subject: "grace" };
    expect(events).toContainEqual({ event: "signed-in", ...grace, client: "cluster-one", address: "" });
    expect(events).toContainEqual({ event: "signed-out", people: [grace] });
    expect(events).toContainEqual({
      event: "sign-in-failed",
      issuer: system.issuer.url,
      message: expect.stringContaining("invalid_grant"),
    });
  });

  test("comes back to the page that was asked for", async () => {
    const browser = newBrowser();
    const asked = await browser.visit(`${system.gateway.url}/session`);
    expect(asked).toMatchObject({ status: 303, headers: { location: "/sign-in?return_to=/session" } });
    const page = await browser.follow(await system.begin(browser, "/sign-in?return_to=/session"), "alice");
    expect(page.url.pathname).toBe("/session");
  });

  test("signs out: the session has ended, here and at the issuer", async () => {
    const { browser, page } = await system.signIn("alice");
    const cookie = browser.jar(system.gateway.url).get(sessionCookie) ?? "";
    const { action, fields } = formOf(page, /sign-out/);
    const leaving = await browser.visit(action, { form: fields });
    expect(nextOf(leaving)?.href).toMatch(new RegExp(`^${system.issuer.url}/session/end\\?client_id=`));
    expect(nextOf(leaving)?.href).not.toContain("id_token");
    const end = await browser.follow(leaving, "alice");
    expect(end.url.pathname).toBe("/signed-out");
    browser.jar(system.gateway.url).set(sessionCookie, cookie);
    expect((await browser.visit(system.gateway.url)).headers["location"]).toBe("/sign-in");
  });
});
