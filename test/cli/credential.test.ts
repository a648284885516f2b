import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTokenStore, readSession, sessionFiles, writeSession } from "#cli/session/token-store.ts";
import type { Session, TokenStore } from "#cli/session/token-store.ts";
import { makeToken, tokenIssuedAtSeconds } from "./support/token.ts";

const entry = fileURLToPath(new URL("../../src/cli/credential.ts", import.meta.url));
const key = { gateway: "https://gw.example.com", cluster: "prod" };
const execInfo = JSON.stringify({ apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential", spec: { interactive: false } });

/** A token endpoint that rotates refresh tokens, as issuers do for public clients: each can be used once. */
interface RotatingIssuer {
  readonly server: Server;
  readonly url: string;
  uses: string[];
  /** What to answer instead. */
  failure: { readonly status: number; readonly body: object } | undefined;
  /** Claims of the tokens that it gives. */
  claims: object;
}

let issuer: RotatingIssuer;
let home: string;
let store: TokenStore;

beforeAll(async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  issuer = { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, uses: [], failure: undefined, claims: {} };
  server.on("request", async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer); // an IncomingMessage gives buffers
    const used = new URLSearchParams(Buffer.concat(chunks).toString()).get("refresh_token") ?? "";
    const isSpent = issuer.uses.includes(used);
    issuer.uses.push(used);
    const answer = issuer.failure ?? (isSpent ? { status: 400, body: { error: "invalid_grant" } } : grant());
    response.writeHead(answer.status, { "content-type": "application/json" });
    response.end(JSON.stringify(answer.body));
  });
});

function grant(): { readonly status: number; readonly body: object } {
  return {
    status: 200,
    body: { id_token: liveToken({ jti: String(issuer.uses.length), ...issuer.claims }), refresh_token: `refresh-${issuer.uses.length}` },
  };
}

afterAll(() => {
  issuer.server.closeAllConnections();
  issuer.server.close();
});

beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), "sallyport-credential-"));
  store = createTokenStore(join(home, "state", "sallyport"), "linux");
  Object.assign(issuer, { uses: [], failure: undefined, claims: {} });
});
afterEach(() => rm(home, { recursive: true, force: true }));

function liveToken(claims: object = {}): string {
  const now = Math.floor(Date.now() / 1000);
  return makeToken({ claims: { iat: now, exp: now + 600, ...claims } });
}

function makeSession(changes: Partial<Session> = {}): Session {
  const renewal = {
    issuer: "https://issuer.example.com",
    clientId: "prod-audience",
    tokenEndpoint: `${issuer.url}/token`,
    refreshToken: "refresh-first",
  };
  return {
    key,
    idToken: makeToken(),
    expiresAtMs: (tokenIssuedAtSeconds - 365 * 86_400) * 1000,
    renewal,
    authorities: undefined,
    ...changes,
  };
}

interface PluginResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface PluginChanges {
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
}

async function runPlugin({
  env = {},
  args = ["--gateway", key.gateway, "--cluster", key.cluster],
}: PluginChanges = {}): Promise<PluginResult> {
  const child = spawn(process.execPath, [entry, "credential", ...args], {
    env: { PATH: process.env["PATH"], HOME: home, XDG_STATE_HOME: join(home, "state"), KUBERNETES_EXEC_INFO: execInfo, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const exitCode = await new Promise<number>((resolve) => child.on("close", (code) => resolve(code ?? -1)));
  return { exitCode, stdout, stderr };
}

function tokenOf(result: PluginResult): unknown {
  return (JSON.parse(result.stdout) as { status: { token: string } }).status.token; // the plugin's own answer
}

describe("the credential plugin", () => {
  it("answers with the stored token and an expiry half a minute early", async () => {
    const idToken = liveToken();
    await writeSession(store, makeSession({ idToken, expiresAtMs: 2_000_000_000_000 }));
    const result = await runPlugin();
    expect(result).toMatchObject({ exitCode: 0, stderr: "" });
    expect(JSON.parse(result.stdout)).toEqual({
      apiVersion: "client.authentication.k8s.io/v1",
      kind: "ExecCredential",
      status: { token: idToken, expirationTimestamp: "2033-05-18T03:32:50Z" },
    });
    expect(issuer.uses).toEqual([]);
  });

  it("renews an expired token and keeps the rotated refresh token", async () => {
    await writeSession(store, makeSession());
    const result = await runPlugin();
    const stored = await readSession(store, key);
    expect(result.exitCode).toBe(0);
    expect(issuer.uses).toEqual(["refresh-first"]);
    expect(stored).toMatchObject({ type: "found", session: { idToken: tokenOf(result), renewal: { refreshToken: "refresh-1" } } });
  });

  it("renews once when twelve run at the same time, and all get the same token", async () => {
    await writeSession(store, makeSession());
    const results = await Promise.all(Array.from({ length: 12 }, () => runPlugin()));
    expect(issuer.uses).toEqual(["refresh-first"]);
    expect(new Set(results.map(tokenOf)).size).toBe(1);
    expect(results.map((result) => result.exitCode)).toEqual(Array(12).fill(0));
  }, 60_000);

  it("asks the issuer once and tells the failure once when twelve runs of one parent fail", async () => {
    issuer.failure = { status: 400, body: { error: "invalid_grant", error_description: "\u001b[2Jevil" } };
    await writeSession(store, makeSession());
    const results = await Promise.all(Array.from({ length: 12 }, () => runPlugin()));
    expect(issuer.uses).toHaveLength(1);
    expect(results.filter((result) => result.stderr !== "")).toHaveLength(1);
    expect(results.map((result) => result.stderr).join("")).toContain("sallyport login --gateway https://gw.example.com --cluster prod");
    expect(results.map((result) => result.stderr).join("")).not.toContain("evil");
    expect(results.map((result) => result.exitCode)).toEqual(Array(12).fill(4));
  }, 60_000);

  it("never sends a refused refresh token again", async () => {
    issuer.failure = { status: 400, body: { error: "invalid_grant" } };
    await writeSession(store, makeSession());
    await runPlugin();
    expect(await readSession(store, key)).toMatchObject({ session: { renewal: undefined } });
  });

  it("keeps the refresh token when the issuer only fails for now, and says try again", async () => {
    issuer.failure = { status: 503, body: {} };
    await writeSession(store, makeSession());
    const result = await runPlugin();
    expect(result.exitCode).toBe(75);
    expect(result.stderr).toContain("ISSUER_UNREACHABLE");
    expect(await readSession(store, key)).toMatchObject({ session: { renewal: { refreshToken: "refresh-first" } } });
  });

  it.each([
    { name: "another user's token", claims: { sub: "mallory" } },
    { name: "a token for another client", claims: { aud: "other-audience" } },
    { name: "another issuer's token", claims: { iss: "https://evil.example.com" } },
  ])("does not take $name from a renewal", async ({ claims }) => {
    issuer.claims = claims;
    await writeSession(store, makeSession());
    const result = await runPlugin();
    expect(result.exitCode).toBe(4);
    expect(result.stdout).toBe("");
  });

  it("sends no refresh token over plain http to another machine", async () => {
    await writeSession(
      store,
      makeSession({ renewal: { ...makeSession().renewal, tokenEndpoint: "http://issuer.example.com/token" } as Session["renewal"] }),
    );
    const result = await runPlugin();
    expect(result.exitCode).toBe(4);
    expect(result.stderr).toContain("not https");
  });

  it("ends with 4 and names the login command without a session", async () => {
    const result = await runPlugin();
    expect(result).toMatchObject({ exitCode: 4, stdout: "" });
    expect(result.stderr).toContain("sallyport login --gateway https://gw.example.com --cluster prod");
  });

  it("opens no browser and waits for nobody when kubectl is interactive but standard error is no terminal", async () => {
    const info = execInfo.replace("false", "true");
    const result = await runPlugin({ env: { KUBERNETES_EXEC_INFO: info } });
    expect(result.exitCode).toBe(4);
    expect((await readdir(store.directory)).filter((name) => name.includes("login"))).toEqual([]);
  });

  it("does not use a session file that others can read", async () => {
    await writeSession(store, makeSession({ idToken: liveToken(), expiresAtMs: 2_000_000_000_000 }));
    await chmod(sessionFiles(store, key).session, 0o644);
    const result = await runPlugin();
    expect(result).toMatchObject({ exitCode: 4, stdout: "" });
    expect(result.stderr).toContain("others may read");
  });

  it("does not give one cluster's session to another", async () => {
    await writeSession(store, makeSession({ idToken: liveToken(), expiresAtMs: 2_000_000_000_000 }));
    const result = await runPlugin({ args: ["--gateway", key.gateway, "--cluster", "staging"] });
    expect(result).toMatchObject({ exitCode: 4, stdout: "" });
  });

  it("takes over the lock of a process that died", async () => {
    await writeSession(store, makeSession());
    await mkdir(store.directory, { recursive: true });
    await writeFile(
      sessionFiles(store, key).lock,
      JSON.stringify({ ticket: "dead", pid: await deadPid(), host: hostname(), since: Date.now() }),
    );
    expect((await runPlugin()).exitCode).toBe(0);
  });

  it.each([
    {
      name: "an older protocol",
      env: { KUBERNETES_EXEC_INFO: execInfo.replace("/v1", "/v1beta1") },
      text: "apiVersion client.authentication.k8s.io/v1",
    },
    { name: "nonsense", env: { KUBERNETES_EXEC_INFO: "{" }, text: "not an ExecCredential" },
  ])("says what is wrong with KUBERNETES_EXEC_INFO: $name", async ({ env, text }) => {
    const result = await runPlugin({ env });
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain(text);
  });

  it.each([[["--cluster", "prod"]], [["--gateway", "gw"]], [["--gateway", "gw", "--cluster", "prod", "--more"]]])(
    "needs both arguments and no other: %j",
    async (args) => {
      expect((await runPlugin({ args })).exitCode).toBe(2);
    },
  );
});

/** The number of a process that has ended. */
async function deadPid(): Promise<number | undefined> {
  const child = spawn(process.execPath, ["--version"], { stdio: "ignore" });
  await once(child, "exit");
  return child.pid;
}

describe("the credential plugin in CI", () => {
  it("takes SALLYPORT_TOKEN, which GitLab's id_tokens can fill", async () => {
    const token = liveToken();
    expect(tokenOf(await runPlugin({ env: { SALLYPORT_TOKEN: token } }))).toBe(token);
  });

  it("reads SALLYPORT_ID_TOKEN_FILE at every start", async () => {
    const file = join(home, "token");
    const env = { SALLYPORT_ID_TOKEN_FILE: file };
    const [first, second] = [liveToken({ jti: "1" }), liveToken({ jti: "2" })];
    await writeFile(file, `${first}\n`);
    expect(tokenOf(await runPlugin({ env }))).toBe(first);
    await writeFile(file, second);
    expect(tokenOf(await runPlugin({ env }))).toBe(second);
  });

  it.each([
    { name: "an expired token", env: { SALLYPORT_TOKEN: makeToken({ claims: { exp: 1 } }) }, code: 4, text: "TOKEN_EXPIRED" },
    { name: "a token with a line break", env: { SALLYPORT_TOKEN: "a\r\nb" }, code: 4, text: "no bearer token" },
    { name: "a missing file", env: { SALLYPORT_ID_TOKEN_FILE: "/nowhere" }, code: 4, text: "does not exist" },
    {
      name: "a token service over plain http elsewhere",
      env: { ACTIONS_ID_TOKEN_REQUEST_URL: "http://runner.example.com", ACTIONS_ID_TOKEN_REQUEST_TOKEN: "t", SALLYPORT_AUDIENCE: "a" },
      code: 4,
      text: "not an https URL",
    },
  ])("refuses $name", async ({ env, code, text }) => {
    const result = await runPlugin({ env });
    expect(result).toMatchObject({ exitCode: code, stdout: "" });
    expect(result.stderr).toContain(text);
  });

  it("asks GitHub's token service for the audience, with the runner's own token", async () => {
    const token = liveToken();
    const asked: string[] = [];
    const runner = createServer((request, response) => {
      asked.push(`${request.headers.authorization ?? ""} ${request.url ?? ""}`);
      response.end(JSON.stringify({ value: token }));
    });
    await new Promise<void>((resolve) => runner.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(runner.address() as AddressInfo).port}/token?api-version=2.0`;
    const env = { ACTIONS_ID_TOKEN_REQUEST_URL: url, ACTIONS_ID_TOKEN_REQUEST_TOKEN: "runner-secret" };
    const result = await runPlugin({ env, args: ["--gateway", key.gateway, "--cluster", "prod", "--audience", "prod-audience"] });
    runner.close();
    expect(tokenOf(result)).toBe(token);
    expect(asked).toEqual(["Bearer runner-secret /token?api-version=2.0&audience=prod-audience"]);
    expect(await readdir(home)).toEqual([]);
  });
});
