import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runCredential } from "#cli/session/credential-run.ts";
import type { CredentialRun } from "#cli/session/credential-run.ts";
import { createTokenStore, writeSession } from "#cli/session/token-store.ts";
import type { Session, TokenStore } from "#cli/session/token-store.ts";
import { makeToken, tokenIssuedAtSeconds } from "../support/token.ts";

const key = { gateway: "https://gw.example.com", cluster: "prod" };
const startMs = tokenIssuedAtSeconds * 1000;
const interactiveInfo = JSON.stringify({
  apiVersion: "client.authentication.k8s.io/v1",
  kind: "ExecCredential",
  spec: { interactive: true },
});

let directory: string;
let store: TokenStore;
let nowMs: number;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-run-"));
  store = createTokenStore(directory, "linux");
  nowMs = startMs;
});
afterEach(() => rm(directory, { recursive: true, force: true }));

interface RunResult {
  readonly exitCode: number;
  readonly output: string;
  readonly errors: string;
}

async function run(changes: Partial<CredentialRun> = {}): Promise<RunResult> {
  let output = "";
  let errors = "";
  const exitCode = await runCredential({
    args: ["--gateway", key.gateway, "--cluster", key.cluster],
    env: { KUBERNETES_EXEC_INFO: interactiveInfo },
    store,
    parent: 100,
    hasErrorTerminal: false,
    hasOutputTerminal: false,
    time: { now: () => nowMs, wait: () => wait(1) },
    fetch: async () => {
      throw new Error("the issuer was asked");
    },
    trust: async () => undefined,
    login: async () => false,
    writeOutput: (text) => (output += text),
    writeError: (text) => (errors += text),
    ...changes,
  });
  return { exitCode, output, errors };
}

function makeSession(changes: Partial<Session> = {}): Session {
  const renewal = {
    issuer: "https://issuer.example.com",
    clientId: "prod-audience",
    tokenEndpoint: "https://issuer.example.com/token",
    refreshToken: "r",
  };
  return { key, idToken: makeToken(), expiresAtMs: startMs - 1, renewal, authorities: undefined, ...changes };
}

/** An issuer that cannot be reached, and how often it was tried. */
function makeDeadIssuer(): { readonly fetch: typeof fetch; readonly tries: () => number } {
  let tries = 0;
  const dead = async (): Promise<Response> => {
    tries += 1;
    throw new TypeError("fetch failed");
  };
  return { fetch: dead, tries: () => tries };
}

describe("a failure is remembered", () => {
  it("for thirty seconds, in which the issuer is not asked again", async () => {
    const issuer = makeDeadIssuer();
    await writeSession(store, makeSession());
    await run({ fetch: issuer.fetch });
    nowMs += 29_999;
    await run({ fetch: issuer.fetch });
    expect(issuer.tries()).toBe(1);
    nowMs += 1;
    await run({ fetch: issuer.fetch });
    expect(issuer.tries()).toBe(2);
  });

  it("and told once to each parent process", async () => {
    const results = [await run({ parent: 1 }), await run({ parent: 1 }), await run({ parent: 2 })];
    expect(results.map((result) => result.errors !== "")).toEqual([true, false, true]);
    expect(results.map((result) => result.exitCode)).toEqual([4, 4, 4]);
  });

  it("and told again to a parent that is still there after ten minutes", async () => {
    await run();
    nowMs += 10 * 60_000;
    expect((await run()).errors).not.toBe("");
  });

  it("until a login stores a session", async () => {
    await run();
    await writeSession(store, makeSession({ expiresAtMs: startMs + 600_000 }));
    expect((await run()).exitCode).toBe(0);
  });

  it("but not when the clock was set back", async () => {
    const issuer = makeDeadIssuer();
    await writeSession(store, makeSession());
    await run({ fetch: issuer.fetch });
    nowMs -= 20_000;
    await run({ fetch: issuer.fetch });
    expect(issuer.tries()).toBe(2);
  });
});

describe("an interactive run", () => {
  const interactive = { hasErrorTerminal: true };

  it("signs the person in once when several run at the same time", async () => {
    let logins = 0;
    const login = async (): Promise<boolean> => {
      logins += 1;
      await writeSession(store, makeSession({ expiresAtMs: startMs + 600_000 }));
      return true;
    };
    const results = await Promise.all(Array.from({ length: 5 }, () => run({ ...interactive, login })));
    expect(logins).toBe(1);
    expect(results.map((result) => result.exitCode)).toEqual([0, 0, 0, 0, 0]);
  });

  it("asks the person once when the sign-in is not finished", async () => {
    let logins = 0;
    const login = async (): Promise<boolean> => {
      logins += 1;
      return false;
    };
    const results = await Promise.all(Array.from({ length: 5 }, () => run({ ...interactive, login })));
    expect(logins).toBe(1);
    expect(results.map((result) => result.exitCode)).toEqual([4, 4, 4, 4, 4]);
    expect(results.filter((result) => result.errors !== "")).toHaveLength(1);
  });

  it("does not sign in anew when only the issuer is away", async () => {
    await writeSession(store, makeSession());
    const login = async (): Promise<boolean> => {
      throw new Error("a login was started");
    };
    expect((await run({ ...interactive, login, fetch: makeDeadIssuer().fetch })).exitCode).toBe(75);
  });

  it.each([
    { name: "without a terminal", changes: { hasErrorTerminal: false } },
    {
      name: "when kubectl says that nobody is there",
      changes: { hasErrorTerminal: true, env: { KUBERNETES_EXEC_INFO: interactiveInfo.replace("true", "false") } },
    },
    { name: "without KUBERNETES_EXEC_INFO", changes: { hasErrorTerminal: true, env: {} } },
  ])("starts no login $name", async ({ changes }) => {
    const login = async (): Promise<boolean> => {
      throw new Error("a login was started");
    };
    expect((await run({ ...changes, login })).exitCode).toBe(4);
  });
});

describe("a token", () => {
  it.each([
    { name: "is handed out until half a minute before its end", leftMs: 30_001, exitCode: 0 },
    { name: "is not handed out in its last half minute", leftMs: 30_000, exitCode: 4 },
  ])("$name", async ({ leftMs, exitCode }) => {
    await writeSession(store, makeSession({ expiresAtMs: startMs + leftMs, renewal: undefined }));
    expect((await run()).exitCode).toBe(exitCode);
  });

  it("is not printed to a terminal when the command is run by hand", async () => {
    await writeSession(store, makeSession({ expiresAtMs: startMs + 600_000 }));
    const result = await run({ env: {}, hasOutputTerminal: true });
    expect(result).toMatchObject({ exitCode: 2, output: "" });
  });

  it("is renewed with the authority of its login trusted first", async () => {
    const steps: string[] = [];
    await writeSession(store, makeSession({ authorities: "PEM" }));
    await run({
      trust: async (authorities) => void steps.push(`trust ${authorities}`),
      fetch: async () => {
        steps.push("ask the issuer");
        return Response.json({ error: "invalid_grant" }, { status: 400 });
      },
    });
    expect(steps).toEqual(["trust PEM", "ask the issuer"]);
  });
});
