/** Signing in with a real Chromium: what no simulated browser proves, such as its cookie rules, its form policy and what it shows. */
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { registerTrustingCluster, startSignInSystem } from "#test/support/sign-in-system.ts";
import type { SignInSystem } from "#test/support/sign-in-system.ts";
import { openChromium } from "./chromium.ts";
import type { Chromium } from "./chromium.ts";

let system: SignInSystem;
const opened: Chromium[] = [];
/** SCREENSHOTS names a folder for pictures of every page. */
const pictures = process.env["SCREENSHOTS"];

beforeAll(async () => {
  const clients = ["one", "two", "trusting"].map((name) => ({ id: `cluster-${name}` }));
  system = await startSignInSystem({ clusters: ["one", "two"], issuer: { clients } });
  await registerTrustingCluster(system, "trusting");
});
afterAll(async () => {
  await system.gateway.stop();
  await system.issuer.stop();
});
afterEach(async () => {
  for (const chromium of opened.splice(0)) await chromium.close();
});

type Look = NonNullable<Parameters<typeof openChromium>[0]>;

/** A new browser with one page, and everything that it complains about. */
async function open(look: Look = {}): Promise<{ readonly page: Page; readonly complaints: string[] }> {
  const chromium = await openChromium(look);
  opened.push(chromium);
  const page = await chromium.context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (page.url().startsWith(system.gateway.url) && ["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("requestfailed", (request) => {
    if (request.frame().url().startsWith(system.gateway.url)) complaints.push(`${request.url()} ${request.failure()?.errorText ?? ""}`);
  });
  return { page, complaints };
}

async function signIn(page: Page, person = "alice"): Promise<void> {
  await page.goto(system.gateway.url);
  await page.getByRole("button", { name: /^Continue with/ }).click();
  await page.locator('input[name="login"]').fill(person);
  await page.locator('input[name="password"]').fill("any");
  await page.locator('button[type="submit"]').click();
  await page.getByRole("heading", { name: "Clusters", exact: true }).waitFor();
}

async function picture(page: Page, name: string): Promise<void> {
  if (pictures === undefined) return;
  await mkdir(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

test("a person signs in, reads the lines for kubectl, comes back later, and signs out here and at the issuer", async () => {
  const { page, complaints } = await open();
  await signIn(page);
  expect(await page.locator("pre").first().textContent()).toContain(`sallyport login ${system.gateway.url} --cluster one`);
  await page.reload();
  await page.getByRole("link", { name: "Session" }).click();
  await page.getByText("Ends at the latest").waitFor();
  const [cookie, ...others] = (await page.context().cookies(system.gateway.url)).filter(({ name }) => name.endsWith("-session"));
  expect(others).toEqual([]);
  expect(cookie).toMatchObject({ name: "__Host-sallyport-session", httpOnly: true, secure: true, sameSite: "Lax", path: "/" });
  await page.getByRole("button", { name: "Sign out" }).first().click();
  await page.getByRole("button", { name: "Yes, sign me out" }).click();
  await page.getByRole("heading", { name: "Signed out" }).waitFor();
  expect((await page.context().cookies(system.gateway.url)).filter(({ name }) => name.startsWith("__Host-sallyport-session"))).toEqual([]);
  await page.goto(`${system.gateway.url}/session`);
  expect(new URL(page.url()).pathname).toBe("/sign-in");
  expect(complaints).toEqual([]);
});

test("a person downloads a kubeconfig, sees it listed, and revokes it", async () => {
  const { page } = await open();
  await signIn(page);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download kubeconfig" }).click()]);
  expect(download.suggestedFilename()).toBe("trusting.kubeconfig");
  expect(JSON.parse(await readFile(await download.path(), "utf8"))).toMatchObject({ kind: "Config", "current-context": "trusting" });
  await page.getByRole("link", { name: "Kubeconfigs" }).click();
  await page.getByRole("button", { name: /^Revoke the kubeconfig for trusting/ }).click();
  await page.getByText("You have none that still works.").waitFor();
});

test("everything works without scripts", async () => {
  const { page } = await open({ javaScriptEnabled: false });
  await signIn(page);
  expect(await page.locator("article").count()).toBe(3);
});

test("everything works with the keyboard alone", async () => {
  const { page } = await open();
  await page.goto(system.gateway.url);
  const press = async (name: RegExp) => {
    for (let count = 0; count < 12; count++) {
      await page.keyboard.press("Tab");
      if (name.test((await page.locator(":focus").textContent()) ?? "")) return page.keyboard.press("Enter");
    }
    throw new Error(`nothing to press is named ${String(name)}`);
  };
  await press(/^\s*Continue with/);
  await page.locator('input[name="login"]').fill("alice");
  await page.locator('input[name="password"]').fill("any");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Clusters", exact: true }).waitFor();
  await press(/^Session$/);
  await page.getByRole("heading", { name: "Session" }).waitFor();
});

test("another site can neither send its own form, nor frame a page, nor read one", async () => {
  const { page } = await open();
  await signIn(page);
  const evil = system.issuer.url.replace("localhost", "127.0.0.1");
  await page.route(`${evil}/evil`, (route) =>
    route.fulfill({
      contentType: "text/html",
      body: `<form method="post" action="${system.gateway.url}/sign-out"></form><iframe src="${system.gateway.url}/"></iframe>`,
    }),
  );
  await page.goto(`${evil}/evil`);
  expect(
    await page.evaluate(
      (url) =>
        fetch(url, { credentials: "include" }).then(
          () => "read",
          () => "refused",
        ),
      system.gateway.url,
    ),
  ).toBe("refused");
  expect(
    page
      .frames()
      .slice(1)
      .every((frame) => !frame.url().startsWith(system.gateway.url)),
  ).toBe(true);
  await page.evaluate(() => document.querySelector("form")?.submit());
  await page.getByRole("heading", { name: "This form was not accepted" }).waitFor();
  await page.goto(system.gateway.url);
  await page.getByRole("heading", { name: "Clusters", exact: true }).waitFor();
});

describe("the pages fit", () => {
  test.each<[string, Look]>([
    ["light", { colorScheme: "light", viewport: { width: 1280, height: 800 } }],
    ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 800 } }],
    ["phone", { colorScheme: "light", viewport: { width: 360, height: 740 } }],
    ["phone-dark", { colorScheme: "dark", viewport: { width: 360, height: 740 } }],
  ])("%s: nothing is cut off or too faint to read", async (name, look) => {
    const { page } = await open(look);
    const check = async (shown: string) => {
      await picture(page, `${name}-${shown}`);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
      expect(await page.evaluate(faintTexts)).toEqual([]);
    };
    await page.goto(system.gateway.url);
    await check("sign-in");
    await signIn(page);
    await page.locator("summary").first().click();
    await check("home");
    await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download kubeconfig" }).click()]);
    await page.goto(`${system.gateway.url}/kubeconfigs`);
    await check("kubeconfigs");
    await page.goto(`${system.gateway.url}/session`);
    await check("session");
    await page.goto(`${system.gateway.url}/sign-in/callback?state=x`);
    await check("failure");
    await page.goto(`${system.gateway.url}/signed-out`);
    await check("signed-out");
  });
});

/** Texts whose contrast with what is behind them is below WCAG 2.2's 4.5 to 1; runs in the page. */
function faintTexts(): string[] {
  const channels = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = (color: string) => {
    const [red = 0, green = 0, blue = 0] = channels(color).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const background = (element: Element | null): string => {
    if (element === null) return "rgb(255, 255, 255)";
    const color = getComputedStyle(element).backgroundColor;
    return channels(color)[3] === 0 ? background(element.parentElement) : color;
  };
  return [...document.querySelectorAll("h1, h2, p, a, button, dt, dd, code, label, summary, span, footer")]
    .filter((element) => (element.textContent ?? "").trim() !== "")
    .filter((element) => {
      const [one, other] = [luminance(getComputedStyle(element).color), luminance(background(element))];
      return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5;
    })
    .map((element) => `${element.tagName} ${element.textContent}`);
}
