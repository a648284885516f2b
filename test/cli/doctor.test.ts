import { spawn } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { CliContext } from "#cli/context.ts";
import type { CheckResult } from "#cli/doctor/check.ts";
import { checkClock } from "#cli/doctor/network.ts";
import { checkToken } from "#cli/doctor/token.ts";
import { writeSession } from "#cli/session/token-store.ts";
import { makeBench } from "./support/command-run.ts";
import type { CommandBench } from "./support/command-run.ts";
import { startIssuer } from "./support/issuer.ts";
import type { Issuer } from "./support/issuer.ts";
import { startCluster } from "./support/scripted-cluster.ts";
import { failureAnswer, makeCluster, startGateway } from "./support/scripted-gateway.ts";
import type { ScriptedGateway } from "./support/scripted-gateway.ts";
import { makeToken, tokenIssuedAtSeconds } from "./support/token.ts";

let issuer: Issuer;
let gateway: ScriptedGateway;
let bench: CommandBench;
let token: string;

beforeAll(async () => {
  issuer = await startIssuer();
});
afterAll(() => issuer.close());
beforeEach(async () => {
  gateway = await startGateway();
  bench = await makeBench();
  const now = Math.floor(Date.now() / 1000);
  token = makeToken({ claims: { iss: issuer.url, iat: now, exp: now + 600 } });
  const login = { issuer: issuer.url, clientId: "prod-audience", scopes: ["openid"] };
  gateway.logins.set("prod", login);
  gateway.views.set(token, [makeCluster(gateway, "prod")]);
  gateway.overrides.set("POST /k/prod/apis/authentication.k8s.io/v1/selfsubjectreviews", {
    status: 201,
    body: { kind: "SelfSubjectReview", status: { userInfo: { username: "oidc:lee@example.com", groups: ["oidc:developers"] } } },
  });
  await writeSession(bench.store, {
    key: { gateway: gateway.url, cluster: "prod" },
    idToken: token,
    expiresAtMs: (now + 600) * 1000,
    renewal: undefined,
    authorities: undefined,
  });
});
afterEach(async () => {
  await gateway.close();
  await bench.remove();
});

interface DoctorResult {
  readonly exitCode: number;
  readonly findings: Readonly<Record<string, CheckResult>>;
  readonly stderr: string;
  readonly stdout: string;
}

async function doctor(changes: Partial<CliContext> = {}, args: readonly string[] = ["--cluster", "prod"]): Promise<DoctorResult> {
  const { exitCode, stdout, stderr } = await bench.run(["doctor", "--gateway", gateway.url, "-o", "json", ...args], changes);
  const { findings } = JSON.parse(stdout) as { findings: ({ name: string } & CheckResult)[] };
  return { exitCode, findings: Object.fromEntries(findings.map(({ name, ...result }) => [name, result])), stderr, stdout };
}

describe("doctor", () => {
  it("passes from the network to the cluster's own answer when all is well", async () => {
    await bench.run(["kubeconfig", "--gateway", gateway.url]);
    const { exitCode, findings } = await doctor();
    expect(exitCode).toBe(0);
    expect(Object.entries(findings).map(([name, { type }]) => `${name} ${type}`)).toEqual([
      "proxy passed",
      "name passed",
      "TLS warned",
      "gateway passed",
      "clock passed",
      "kubeconfig passed",
      "plugin passed",
      "login passed",
      "session passed",
      "token passed",
      "agent passed",
      "whoami passed",
      "WebSocket passed",
    ]);
    expect(findings["whoami"]?.detail).toBe("oidc:lee@example.com in oidc:developers");
  });

  it("reads the way people do, one line for each check and a fix below what needs one", async () => {
    const result = await bench.run(["doctor", "--gateway", gateway.url, "--cluster", "prod"]);
    expect(result.stdout).toMatch(/^✔ gateway {5}answered in \d+ ms$/m);
    expect(result.stdout).toMatch(/^! TLS {9}http: .*\n {14}Fix: {2}Give the gateway https\.$/m);
  });

  it("writes its findings to a private file that holds no token", async () => {
    const bundle = join(bench.home, "findings.json");
    await doctor({ env: { HTTPS_PROXY: "" } }, ["--cluster", "prod", "--bundle", bundle]);
    const text = await readFile(bundle, "utf8");
    expect(JSON.parse(text)).toMatchObject({ cluster: "prod" });
    expect(text).not.toContain(token);
    expect(text).not.toContain(token.split(".")[1]);
  });

  it("names proxy variables but never their values", async () => {
    const { findings, stdout } = await doctor({ env: { HTTPS_PROXY: "http://user:secret@proxy" } });
    expect(findings["proxy"]).toMatchObject({ type: "passed", detail: expect.stringContaining("HTTPS_PROXY") });
    expect(findings["name"]?.type).toBe("skipped");
    expect(stdout).not.toContain("secret");
  });

  const faults: readonly {
    readonly name: string;
    readonly arrange: () => void | Promise<void>;
    readonly check: string;
    readonly detail: string;
    readonly code: number;
  }[] = [
    {
      name: "a login page that answers for the gateway",
      arrange: () => void gateway.overrides.set("GET /gateway/v1/login", { status: 200, body: "<html>" }),
      check: "gateway",
      detail: "something else answered",
      code: 75,
    },
    {
      name: "an issuer that says it is another",
      arrange: () => void gateway.logins.set("prod", { issuer: `${issuer.url}/`, clientId: "prod-audience", scopes: [] }),
      check: "login",
      detail: "another issuer",
      code: 75,
    },
    {
      name: "an issuer that is not there",
      arrange: () => void gateway.logins.set("prod", { issuer: "http://127.0.0.1:1", clientId: "prod-audience", scopes: [] }),
      check: "login",
      detail: "gives no answer",
      code: 75,
    },
    {
      name: "a token for another client",
      arrange: () => void gateway.logins.set("prod", { issuer: issuer.url, clientId: "other", scopes: [] }),
      check: "token",
      detail: "not for other",
      code: 4,
    },
    {
      name: "a cluster that does not exist",
      arrange: () => void gateway.logins.delete("prod"),
      check: "login",
      detail: "there is no cluster prod",
      code: 3,
    },
    {
      name: "a cluster that the token does not show",
      arrange: () => void gateway.views.set(token, []),
      check: "cluster",
      detail: "does not show it",
      code: 3,
    },
    {
      name: "an agent that is away",
      arrange: () => void gateway.views.set(token, [makeCluster(gateway, "prod", { agents: [] })]),
      check: "agent",
      detail: "no agent is connected",
      code: 6,
    },
    {
      name: "a cluster that refuses the token",
      arrange: () =>
        void gateway.overrides.set(
          "POST /k/prod/apis/authentication.k8s.io/v1/selfsubjectreviews",
          failureAnswer("IDENTITY_REFUSED", "the user name is reserved"),
        ),
      check: "whoami",
      detail: "the user name is reserved",
      code: 5,
    },
    {
      name: "upgrades that are taken out on the way",
      arrange: scriptPlainWatch,
      check: "WebSocket",
      detail: "removes WebSocket upgrades",
      code: 2,
    },
    {
      name: "upgrades that are refused",
      arrange: () => void (gateway.upgradeStatus = 502),
      check: "WebSocket",
      detail: "HTTP status 502",
      code: 2,
    },
    {
      name: "a kuberc that forbids plugins",
      arrange: () => writeKuberc("credentialPluginPolicy: DenyAll\n"),
      check: "plugin",
      detail: "no credential plugin",
      code: 2,
    },
    {
      name: "a kuberc that allows other plugins",
      arrange: () => writeKuberc("credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist:\n- command: other\n"),
      check: "plugin",
      detail: "does not allow",
      code: 2,
    },
    {
      name: "a kubeconfig that is broken",
      arrange: () => writeKube("config", "clusters: ["),
      check: "kubeconfig",
      detail: "is not YAML",
      code: 2,
    },
  ];

  it.each(faults)("finds $name", async ({ arrange, check, detail, code }) => {
    await arrange();
    const { exitCode, findings, stderr } = await doctor();
    expect(findings[check]).toMatchObject({ type: "failed", detail: expect.stringContaining(detail), fix: expect.stringMatching(/\S/) });
    expect(exitCode).toBe(code);
    expect(stderr).toContain(`checks failed, first: ${check}`);
  });

  it("tells a missing session once, and skips what rests on it", async () => {
    const { exitCode, findings } = await doctor({}, ["--cluster", "prod", "--gateway-ca", await writeCertificate()]);
    expect(exitCode).toBe(0);
    await bench.run(["logout", "--gateway", gateway.url]);
    const without = await doctor();
    expect(without.exitCode).toBe(4);
    expect(without.findings["session"]).toMatchObject({ type: "failed", fix: expect.stringContaining("sallyport login") });
    expect(without.findings["token"]).toBeUndefined();
    expect(findings["token"]).toBeDefined();
  });

  it("cannot try the upgrade where RBAC allows no watch, and says so", async () => {
    gateway.upgradeStatus = 403;
    expect((await doctor()).findings["WebSocket"]).toMatchObject({ type: "skipped" });
  });

  it("takes an apiserver's own refusal of the upgrade for what it is: the upgrade got through", async () => {
    gateway.upgradeStatus = undefined;
    const body = { kind: "Status", status: "Failure", message: "no watch over WebSocket", code: 400 };
    gateway.overrides.set("GET /k/prod/api/v1/namespaces/default/configmaps", { status: 400, body });
    expect((await doctor()).findings["WebSocket"]).toMatchObject({ type: "passed" });
  });

  it("tells what the gateway itself refuses the upgrade for", async () => {
    gateway.upgradeStatus = undefined;
    gateway.overrides.set(
      "GET /k/prod/api/v1/namespaces/default/configmaps",
      failureAnswer("RATE_LIMITED", "one user has at most 3 watches and streams open"),
    );
    const { exitCode, findings } = await doctor();
    expect(findings["WebSocket"]).toMatchObject({ type: "failed", detail: "one user has at most 3 watches and streams open" });
    expect(exitCode).toBe(75);
  });

  it("without a cluster's name does not call somebody signed out who is signed in to a cluster", async () => {
    gateway.logins.set("", { issuer: issuer.url, clientId: "admins", scopes: ["openid"] });
    const result = await bench.run(["doctor", "--gateway", gateway.url]);
    expect(result.stdout).toContain("sallyport doctor --cluster prod");
    expect(result.exitCode).toBe(0);
  });

  it("allows a kuberc that names the plugin", async () => {
    await writeKuberc("credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist:\n- command: /usr/local/bin/sallyport\n");
    expect((await doctor()).findings["plugin"]).toMatchObject({ type: "passed" });
  });
});

function scriptPlainWatch(): void {
  gateway.upgradeStatus = undefined;
  gateway.overrides.set("GET /k/prod/api/v1/namespaces/default/configmaps", { status: 200, body: {} });
}

async function writeKube(name: string, text: string): Promise<void> {
  await mkdir(join(bench.home, ".kube"), { recursive: true });
  await writeFile(join(bench.home, ".kube", name), text);
}

function writeKuberc(text: string): Promise<void> {
  return writeKube("kuberc", `apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\n${text}`);
}

async function writeCertificate(): Promise<string> {
  const path = join(bench.home, "ca.pem");
  await writeFile(path, "-----BEGIN CERTIFICATE-----\n");
  return path;
}

describe("doctor over TLS", () => {
  const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

  async function runMain(args: readonly string[]): Promise<string> {
    const child = spawn(process.execPath, [main, ...args], {
      env: { PATH: process.env["PATH"], HOME: bench.home },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let stdout = "";
    child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
    await new Promise((resolve) => child.on("close", resolve));
    return stdout;
  }

  it("trusts a gateway's own authority with --gateway-ca, and only then", async () => {
    const secure = await startCluster();
    secure.answers.set("/gateway/v1/login", {
      status: 200,
      body: { issuer: issuer.url, clientId: "gateway-audience", scopes: ["openid"] },
    });
    const authority = join(bench.home, "authority.pem");
    await writeFile(authority, secure.authority);
    const trusted = await runMain(["doctor", "--gateway", secure.url, "--gateway-ca", authority]);
    const plain = await runMain(["doctor", "--gateway", secure.url]);
    await secure.close();
    expect(trusted).toMatch(/! TLS +the certificate ends in 0 days/);
    expect(trusted).toMatch(/✔ gateway/);
    expect(plain).toMatch(/✖ TLS +no TLS connection \(\w+\)/);
    expect(plain).toMatch(/✖ gateway/);
  });
});

describe("checkClock", () => {
  it.each([
    [0, "passed"],
    [-29_000, "passed"],
    [31_000, "warned"],
    [61_000, "failed"],
    [-61_000, "failed"],
  ])("a difference of %d ms: %s", (differenceMs, type) => {
    const answer = { status: 200, body: {}, dateMs: 1_000_000_000_000, tookMs: 1 };
    expect(checkClock(answer, answer.dateMs + differenceMs).type).toBe(type);
  });
});

describe("checkToken", () => {
  const nowMs = (tokenIssuedAtSeconds + 10) * 1000;
  const login = { issuer: "https://issuer.example.com", clientId: "prod-audience", scopes: [] };

  it.each([
    { name: "a sound one", changes: {}, type: "passed", detail: "lee@example.com" },
    { name: "an expired one", changes: { claims: { exp: tokenIssuedAtSeconds } }, type: "failed", detail: "expired" },
    { name: "one without an end", changes: { claims: { exp: undefined } }, type: "failed", detail: "never expires" },
    { name: "one from the future", changes: { claims: { iat: tokenIssuedAtSeconds + 600 } }, type: "failed", detail: "from the future" },
    { name: "one not yet valid", changes: { claims: { nbf: tokenIssuedAtSeconds + 600 } }, type: "failed", detail: "not yet valid" },
    {
      name: "one that lives too long",
      changes: { claims: { exp: tokenIssuedAtSeconds + 90_000 } },
      type: "failed",
      detail: "longer than doors allow",
    },
    { name: "one without a subject", changes: { claims: { sub: undefined } }, type: "failed", detail: "(sub)" },
    { name: "one without an audience", changes: { claims: { aud: [] } }, type: "failed", detail: "(aud)" },
    { name: "an unsigned one", changes: { header: { alg: "none" } }, type: "failed", detail: "no door takes" },
    { name: "one signed with a shared secret", changes: { header: { alg: "HS256" } }, type: "failed", detail: "no door takes" },
    {
      name: "one of another issuer",
      changes: { claims: { iss: "https://other.example.com" } },
      type: "warned",
      detail: "https://other.example.com",
    },
    { name: "one that is too long", changes: { claims: { groups: "x".repeat(20_000) } }, type: "failed", detail: "more than the 16384" },
  ])("$name: $type", ({ changes, type, detail }) => {
    const result = checkToken({ token: makeToken(changes), login, signInCommand: "sallyport login", nowMs });
    expect(result).toMatchObject({ type, detail: expect.stringContaining(detail) });
  });
});
