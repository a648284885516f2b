/** What an issuer's tokens must be, before a session believes them: the issuer here says what each test wants. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { JWTPayload } from "jose";
import { Browser, nextOf } from "#test/support/browser.ts";
import type { BrowserPage } from "#test/support/browser.ts";
import { createTestIssuer } from "#test/support/issuer.ts";
import { startScriptedIssuer, tokenAnswer } from "#test/support/scripted-issuer.ts";
import type { ScriptedIssuer } from "#test/support/scripted-issuer.ts";
import { registerOidcCluster, useSignInSystem } from "#test/support/sign-in-system.ts";

const system = useSignInSystem({
  clusters: ["one"],
  variables: () => ({ LOGIN_CLIENT_SECRETS: JSON.stringify({ "https://elsewhere.example": { "cluster-three": "other" } }) }),
});
const sessionCookie = "__Host-sallyport-session";
let issuer: ScriptedIssuer;

beforeAll(async () => {
  issuer = await startScriptedIssuer(system.authority);
  await registerOidcCluster(system.gateway, issuer, "three");
});
afterAll(() => issuer.stop());
beforeEach(() => {
  issuer.asked.length = 0;
  issuer.metadata = {};
});

interface Attempt {
  readonly browser: Browser;
  readonly authorization: URL;
  /** Comes back with a code. */
  readonly answer: (parameters?: Readonly<Record<string, string>>) => Promise<BrowserPage>;
  /** A good ID token's claims, changed. */
  readonly claims: (changes?: JWTPayload) => JWTPayload;
}

async function attempt(browser = new Browser(system.authority.certificate)): Promise<Attempt> {
  const authorization = nextOf(await system.begin(browser, "/sign-in?cluster=three"));
  if (authorization === undefined) throw new Error("the page leads nowhere");
  const parameter = (name: string) => authorization.searchParams.get(name) ?? "";
  return {
    browser,
    authorization,
    answer: (parameters = { iss: issuer.url }) => {
      const callback = new URL(parameter("redirect_uri"));
      callback.search = new URLSearchParams({ code: "c0de", state: parameter("state"), ...parameters }).toString();
      return browser.visit(callback);
    },
    claims: (changes = {}) => ({ sub: "alice", aud: "cluster-three", nonce: parameter("nonce"), ...changes }),
  };
}

test("a good answer makes a session, and the code is redeemed with the verifier of its challenge", async () => {
  const { answer, claims, authorization, browser } = await attempt();
  issuer.onToken = () => tokenAnswer(issuer, claims());
  expect((await answer()).status).toBe(303);
  expect((await browser.visit(system.gateway.url)).text).toContain("oidc:alice");
  const [asked] = issuer.asked;
  const challenge = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(asked?.form.get("code_verifier") ?? ""));
  expect(Buffer.from(challenge).toString("base64url")).toBe(authorization.searchParams.get("code_challenge"));
  expect(Object.fromEntries(asked?.form ?? [])).toMatchObject({
    client_id: "cluster-three",
    redirect_uri: `${system.gateway.url}/sign-in/callback`,
  });
  expect(asked?.authorization).toBeUndefined();
});

describe("an ID token", () => {
  test.each<[string, JWTPayload]>([
    ["with another sign-in's nonce", { nonce: "A".repeat(43) }],
    ["without a nonce", { nonce: undefined }],
    ["for another client", { aud: "cluster-one" }],
    ["for two clients without saying whose", { aud: ["cluster-three", "cluster-one"] }],
    ["of another issuer", { iss: "https://other.example" }],
    ["that has ended", { exp: 1_700_000_000 }],
    ["without a subject", { sub: "" }],
  ])("%s makes no session", async (_name, changes) => {
    const { answer, claims, browser } = await attempt();
    issuer.onToken = () => tokenAnswer(issuer, claims(changes));
    expect(await answer()).toMatchObject({ status: 400, text: expect.stringContaining("SIGN_IN_FAILED") });
    expect(browser.jar(system.gateway.url).has(sessionCookie)).toBe(false);
  });

  test("that another key signed makes no session", async () => {
    const { answer, claims, browser } = await attempt();
    const forger = await createTestIssuer(issuer.url);
    issuer.onToken = async () => ({ ...(await tokenAnswer(issuer, claims())), id_token: await forger.token(claims()) });
    expect((await answer()).status).toBe(400);
    expect(browser.jar(system.gateway.url).has(sessionCookie)).toBe(false);
  });

  test("that nobody signed makes no session", async () => {
    const { answer, claims, browser } = await attempt();
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const now = Math.floor(Date.now() / 1000);
    const unsigned = `${encode({ alg: "none" })}.${encode({ iss: issuer.url, iat: now, exp: now + 60, ...claims() })}.`;
    issuer.onToken = async () => ({ ...(await tokenAnswer(issuer, claims())), id_token: unsigned });
    expect((await answer()).status).toBe(400);
    expect(browser.jar(system.gateway.url).has(sessionCookie)).toBe(false);
  });

  test("that is missing makes no session", async () => {
    const { answer } = await attempt();
    issuer.onToken = () => ({ access_token: "access", token_type: "Bearer" });
    expect((await answer()).status).toBe(400);
  });
});

describe("two issuers", () => {
  test("an answer that names the other one is refused before its code goes anywhere", async () => {
    const { answer } = await attempt();
    expect((await answer({ iss: system.issuer.url })).status).toBe(400);
    expect(issuer.asked).toEqual([]);
  });

  test("one that does not name itself gets an address of its own, and answers count only there", async () => {
    issuer.metadata = { authorization_response_iss_parameter_supported: undefined };
    const { answer, claims, authorization } = await attempt();
    const own = new URL(authorization.searchParams.get("redirect_uri") ?? "");
    expect(own.pathname).toMatch(/^\/sign-in\/callback\/[0-9a-f]{12}$/);
    issuer.onToken = () => tokenAnswer(issuer, claims());
    expect((await answer({})).status).toBe(303);
    const second = await attempt();
    const shared = new URL("/sign-in/callback", system.gateway.url);
    shared.search = new URLSearchParams({ code: "c0de", state: second.authorization.searchParams.get("state") ?? "" }).toString();
    expect((await second.browser.visit(shared)).status).toBe(400);
  });

  test("are both in one session, each with its own person", async () => {
    const { browser } = await system.signIn("bob");
    const { answer, claims } = await attempt(browser);
    issuer.onToken = () => tokenAnswer(issuer, claims());
    await answer();
    const home = await browser.visit(system.gateway.url);
    expect(home.text).toContain("oidc:bob");
    expect(home.text).toContain("oidc:alice");
  });

  test("somebody else at the same issuer takes the place of the one before", async () => {
    const first = await attempt();
    issuer.onToken = () => tokenAnswer(issuer, first.claims());
    await first.answer();
    const second = await attempt(first.browser);
    issuer.onToken = () => tokenAnswer(issuer, second.claims({ sub: "mallory" }));
    await second.answer();
    const home = await first.browser.visit(system.gateway.url);
    expect(home.text).toContain("oidc:mallory");
    expect(home.text).not.toContain("oidc:alice");
  });
});

/** A session whose ID token is about to end, so that the next page renews it. */
async function endingSession(): Promise<Attempt> {
  const made = await attempt();
  issuer.onToken = () => tokenAnswer(issuer, made.claims(), 30);
  await made.answer();
  issuer.asked.length = 0;
  return made;
}

describe("a renewal", () => {
  test("gives a new ID token, and the new refresh token is the one that is used next", async () => {
    const { browser, claims } = await endingSession();
    let count = 0;
    issuer.onToken = async () => ({
      ...(await tokenAnswer(issuer, claims({ nonce: undefined }), 30)),
      refresh_token: `rotated-${++count}`,
    });
    expect((await browser.visit(system.gateway.url)).status).toBe(200);
    expect((await browser.visit(system.gateway.url)).status).toBe(200);
    expect(issuer.asked.map(({ form }) => [form.get("grant_type"), form.get("refresh_token")])).toEqual([
      ["refresh_token", "refresh"],
      ["refresh_token", "rotated-1"],
    ]);
  });

  test("is made once, however many pages ask at the same time", async () => {
    const { browser, claims } = await endingSession();
    issuer.onToken = () => tokenAnswer(issuer, claims({ nonce: undefined }), 600);
    const pages = await Promise.all(Array.from({ length: 8 }, () => browser.visit(system.gateway.url)));
    expect(pages.map(({ status }) => status)).toEqual(pages.map(() => 200));
    expect(issuer.asked).toHaveLength(1);
  });

  test.each<[string, (made: Attempt) => Promise<object> | object]>([
    ["without a new ID token", () => ({ access_token: "access", token_type: "Bearer", refresh_token: "next" })],
    ["that is refused", () => ({ error: "invalid_grant" })],
    ["for somebody else", ({ claims }) => tokenAnswer(issuer, claims({ sub: "mallory", nonce: undefined }))],
    ["for another client", ({ claims }) => tokenAnswer(issuer, claims({ aud: "cluster-one", nonce: undefined }))],
    [
      "that another key signed",
      async ({ claims }) => ({ ...(await tokenAnswer(issuer, {})), id_token: await (await createTestIssuer(issuer.url)).token(claims()) }),
    ],
  ])("%s ends the session: the person signs in again", async (_name, answer) => {
    const made = await endingSession();
    issuer.onToken = () => answer(made);
    expect(await made.browser.visit(system.gateway.url)).toMatchObject({ status: 303, headers: { location: "/sign-in" } });
  });
});
