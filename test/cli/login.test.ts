import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { decodeTokenClaims } from "#cli/session/token-claims.ts";
import { readSession, sessionFiles } from "#cli/session/token-store.ts";
import type { Session } from "#cli/session/token-store.ts";
import { makeBench } from "./support/command-run.ts";
import type { CommandBench } from "./support/command-run.ts";
import { signInWithBrowser, startIssuer } from "./support/issuer.ts";
import type { Issuer } from "./support/issuer.ts";
import { startGateway } from "./support/scripted-gateway.ts";
import type { ScriptedGateway } from "./support/scripted-gateway.ts";
import { makeToken, tokenIssuedAtSeconds } from "./support/token.ts";

let issuer: Issuer;
let gateway: ScriptedGateway;
let bench: CommandBench;

beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(() => issuer.close());
beforeEach(async () => {
  gateway = await startGateway();
  gateway.logins.set("prod", { issuer: issuer.url, clientId: "prod-audience", scopes: ["openid", "offline_access"] });
  bench = await makeBench();
});
afterEach(async () => {
  await gateway.close();
  await bench.remove();
});

async function storedSession(): Promise<Session> {
  const stored = await readSession(bench.store, { gateway: gateway.url, cluster: "prod" });
  if (stored.type !== "found") throw new Error(`no session: ${stored.type}`);
  return stored.session;
}

const terminal = { input: true, output: true, error: true };

describe("the loopback login", () => {
  it("signs in with the browser, stores an ID token and a refresh token, and prints neither", async () => {
    const pages: Promise<string>[] = [];
    const openBrowser = (url: string): void => void pages.push(signInWithBrowser(url, "lee"));
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--loopback"], { terminal, openBrowser });
    const session = await storedSession();
    expect(result).toMatchObject({ exitCode: 0, stdout: "" });
    expect(result.stderr).toContain("as lee@example.com until ");
    expect(await pages[0]).toContain("You can close this window");
    expect(decodeTokenClaims(session.idToken)).toMatchObject({ issuer: issuer.url, audiences: ["prod-audience"], subject: "lee" });
    expect(session.renewal).toMatchObject({ issuer: issuer.url, clientId: "prod-audience", tokenEndpoint: `${issuer.url}/token` });
    expect(result.stderr).not.toContain(session.idToken);
  });

  it("is not ended by a page that calls the listener with another state", async () => {
    const statuses: number[] = [];
    const openBrowser = (url: string): void => void attackThenSignIn(url, statuses);
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--loopback"], { terminal, openBrowser });
    expect(result.exitCode).toBe(0);
    expect(statuses).toEqual([400, 400, 404, 404]);
  });

  it("tells the refusal when the person refuses", async () => {
    const openBrowser = (url: string): void => void refuse(url);
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--loopback"], { terminal, openBrowser });
    expect(result.exitCode).toBe(4);
    expect(result.stderr).toContain("The sign-in was refused");
  });

  it("ends as cancelled when the person interrupts", async () => {
    const interrupt = new AbortController();
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--loopback"], {
      terminal,
      signal: interrupt.signal,
      openBrowser: () => interrupt.abort(),
    });
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain("CANCELLED");
  });

  it.each(["https://127.0.0.1/callback", "http://example.com/callback", "http://127.0.0.1.example.com/", "nonsense"])(
    "refuses to listen for the redirect address %s",
    async (redirectUri) => {
      const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--loopback", "--redirect-uri", redirectUri], {
        terminal,
      });
      expect(result.exitCode).toBe(2);
      expect(result.stderr).toContain("must be http on localhost");
    },
  );
});

/** Calls the listener as a hostile page would, then signs in. */
async function attackThenSignIn(url: string, statuses: number[]): Promise<void> {
  const callback = new URL(url).searchParams.get("redirect_uri") ?? "";
  for (const target of [`${callback}?code=stolen&state=guess`, `${callback}?code=stolen`, `${new URL(callback).origin}/other`])
    statuses.push((await fetch(target)).status);
  statuses.push((await fetch(callback, { method: "POST" })).status);
  await signInWithBrowser(url, "lee");
}

async function refuse(url: string): Promise<void> {
  const { searchParams } = new URL(url);
  const answer = new URL(searchParams.get("redirect_uri") ?? "");
  answer.search = new URLSearchParams({ error: "access_denied", state: searchParams.get("state") ?? "", iss: issuer.url }).toString();
  await fetch(answer);
}

describe("the device login", () => {
  it("shows a code, waits until it has been typed in, and stores the session", async () => {
    const shown = Promise.withResolvers<string>();
    const signedIn = shown.promise.then((address) => signInWithBrowser(address, "lee"));
    const stderr = { write: (text: string): void => resolveAddress(text, shown.resolve) };
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--device"], {
      process: { stdout: { write: () => undefined }, stderr, env: {} },
      time: { now: Date.now, wait: async () => void (await signedIn) },
    });
    const session = await storedSession();
    expect(result.exitCode).toBe(0);
    expect(decodeTokenClaims(session.idToken)?.subject).toBe("lee");
    expect(session.renewal).toBeDefined();
  });

  it("waits longer when the issuer says slow_down, and ends when the code has expired", async () => {
    let nowMs = 0;
    const pauses: number[] = [];
    const fetch = scriptDevicePolls(["authorization_pending", "slow_down", "authorization_pending"]);
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--device"], {
      fetch,
      time: {
        now: () => nowMs,
        wait: async (durationMs) => {
          pauses.push(durationMs);
          nowMs += durationMs;
        },
      },
    });
    expect(pauses.slice(0, 4)).toEqual([5000, 5000, 10_000, 10_000]);
    expect(result.stderr).toContain("The code expired before anybody signed in");
    expect(result.exitCode).toBe(4);
  });
});

function resolveAddress(text: string, resolve: (address: string) => void): void {
  const address = /or open (\S+)/.exec(text)?.[1];
  if (address !== undefined) resolve(address);
}

/** The real issuer and gateway, but the token endpoint answers from the script, its last line again and again. */
function scriptDevicePolls(errors: readonly string[]): typeof globalThis.fetch {
  const left = [...errors];
  return async (input, init) => {
    if (input !== `${issuer.url}/token`) return fetch(input, init);
    const error = left.length > 1 ? left.shift() : left[0];
    return Response.json({ error }, { status: 400 });
  };
}

describe("the choice of the flow", () => {
  const cases = [
    { name: "a desktop opens the browser", env: { DISPLAY: ":0" }, platform: "linux", opens: true },
    { name: "a Mac opens the browser", env: {}, platform: "darwin", opens: true },
    { name: "a Mac over SSH shows a code", env: { SSH_CONNECTION: "1" }, platform: "darwin", opens: false },
    { name: "Linux without a display shows a code", env: {}, platform: "linux", opens: false },
    {
      name: "Linux over SSH with X11 forwarding shows a code",
      env: { DISPLAY: "localhost:10.0", SSH_TTY: "/dev/pts/1" },
      platform: "linux",
      opens: false,
    },
  ] as const;

  it.each(cases)("$name", async ({ env, platform, opens }) => {
    const interrupt = new AbortController();
    const opened: string[] = [];
    const result = await bench.run(["login", gateway.url, "--cluster", "prod"], {
      terminal,
      env,
      platform,
      signal: interrupt.signal,
      openBrowser: (url) => {
        opened.push(url);
        interrupt.abort();
      },
      time: { now: Date.now, wait: async () => interrupt.abort() },
    });
    expect(opened.length === 1).toBe(opens);
    expect(result.stderr.includes("enter the code")).toBe(!opens);
  });

  it("is not made without a terminal, where nobody would see the code", async () => {
    const result = await bench.run(["login", gateway.url, "--cluster", "prod"]);
    expect(result.exitCode).toBe(4);
    expect(result.stderr).toContain("--token-file FILE");
  });
});

describe("a given token", () => {
  const now = (): number => (tokenIssuedAtSeconds + 10) * 1000;
  const time = { now, wait: async (): Promise<void> => undefined };

  it("is stored from standard input in a file that only its owner can read", async () => {
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--token", "-"], {
      time,
      readInput: async () => `${makeToken()}\n`,
    });
    const path = sessionFiles(bench.store, { gateway: gateway.url, cluster: "prod" }).session;
    expect(result.exitCode).toBe(0);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect((await storedSession()).idToken).toBe(makeToken());
  });

  it("is described on standard output with -o json, without the token", async () => {
    const file = join(bench.home, "token");
    await writeFile(file, makeToken());
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", "--token-file", file, "-o", "json"], { time });
    expect(JSON.parse(result.stdout)).toEqual({
      gateway: gateway.url,
      cluster: "prod",
      user: "lee@example.com",
      expiresAt: "2027-01-15T09:00:00.000Z",
    });
  });

  it.each([
    { name: "an argument", args: ["--token", makeToken()], code: 2, text: "--token takes only `-`" },
    { name: "a missing file", args: ["--token-file", "/nowhere"], code: 2, text: "does not exist" },
    { name: "two sources", args: ["--token", "-", "--device"], code: 2, text: "exclude each other" },
    { name: "text that is no JWT", args: ["--token", "-"], input: "hello", code: 4, text: "no JWT" },
    { name: "a line break inside", args: ["--token", "-"], input: "a.b\r\nX-Evil: 1.c", code: 4, text: "no JWT" },
    {
      name: "an expired token",
      args: ["--token", "-"],
      input: makeToken({ claims: { exp: tokenIssuedAtSeconds } }),
      code: 4,
      text: "expired at",
    },
  ])("is refused as $name", async ({ args, input = "", code, text }) => {
    const result = await bench.run(["login", gateway.url, "--cluster", "prod", ...args], { time, readInput: async () => input });
    expect(result.exitCode).toBe(code);
    expect(result.stderr).toContain(text);
    expect(result.stderr).not.toContain(makeToken());
  });
});

describe("login", () => {
  it.each([
    { name: "a cluster that does not exist", args: ["--cluster", "other"], code: 3, text: "CLUSTER_UNKNOWN" },
    { name: "a name that is none", args: ["--cluster", "../admin"], code: 2, text: "no cluster's name" },
    { name: "a gateway without a login of its own", args: [], code: 1, text: "LOGIN_UNAVAILABLE" },
  ])("says so for $name", async ({ args, code, text }) => {
    const result = await bench.run(["login", gateway.url, ...args], { terminal });
    expect(result.exitCode).toBe(code);
    expect(result.stderr).toContain(text);
  });

  it("does not take plain http for a gateway elsewhere", async () => {
    const result = await bench.run(["login", "http://gw.example.com", "--cluster", "prod"], { terminal });
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain("would show the token to the network");
  });

  it("does not take plain http for an issuer elsewhere", async () => {
    gateway.logins.set("prod", { issuer: "http://issuer.example.com", clientId: "prod-audience", scopes: ["openid"] });
    const result = await bench.run(["login", gateway.url, "--cluster", "prod"], { terminal });
    expect(result.exitCode).toBe(4);
    expect(result.stderr).toContain("LOGIN_FAILED");
  });

  it("remembers the gateway for the commands that follow", async () => {
    const time = { now: () => tokenIssuedAtSeconds * 1000, wait: async (): Promise<void> => undefined };
    await bench.run(["login", gateway.url, "--cluster", "prod", "--token", "-"], { time, readInput: async () => makeToken() });
    const result = await bench.run(["logout"]);
    expect(result.stderr).toContain('Signed out of cluster "prod"');
    expect(await readSession(bench.store, { gateway: gateway.url, cluster: "prod" })).toEqual({ type: "absent" });
  });
});

describe("logout", () => {
  it("revokes the refresh token at the issuer", async () => {
    const openBrowser = (url: string): void => void signInWithBrowser(url, "lee");
    await bench.run(["login", gateway.url, "--cluster", "prod", "--loopback"], { terminal, openBrowser });
    const { renewal } = await storedSession();
    await bench.run(["logout"]);
    const body = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: "prod-audience",
      refresh_token: renewal?.refreshToken ?? "",
    });
    const response = await fetch(`${issuer.url}/token`, { method: "POST", body });
    expect(await response.json()).toMatchObject({ error: "invalid_grant" });
  });
});
