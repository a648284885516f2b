import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeSession } from "#cli/session/token-store.ts";
import { makeBench } from "./support/command-run.ts";
import type { CommandBench, CommandResult } from "./support/command-run.ts";
import { failureAnswer, makeCluster, startGateway } from "./support/scripted-gateway.ts";
import type { ScriptedAnswer, ScriptedGateway } from "./support/scripted-gateway.ts";
import { makeToken } from "./support/token.ts";

let gateway: ScriptedGateway;
let bench: CommandBench;
const adminToken = makeToken({ claims: { sub: "admin", exp: undefined } });
const userToken = makeToken({ claims: { sub: "user", exp: undefined } });

beforeEach(async () => {
  gateway = await startGateway();
  bench = await makeBench();
});
afterEach(async () => {
  await gateway.close();
  await bench.remove();
});

async function signIn(cluster: string | undefined, idToken: string): Promise<void> {
  await writeSession(bench.store, {
    key: { gateway: gateway.url, cluster },
    idToken,
    expiresAtMs: undefined,
    renewal: undefined,
    authorities: undefined,
  });
}

const time = { now: () => Date.parse("2026-11-22T10:05:00Z"), wait: async (): Promise<void> => undefined };

function status(...args: readonly string[]): Promise<CommandResult> {
  return bench.run(["status", "--gateway", gateway.url, ...args], { time });
}

describe("status", () => {
  it("shows each agent of each cluster, and clusters without one as offline", async () => {
    gateway.views.set(adminToken, [makeCluster(gateway, "prod"), makeCluster(gateway, "staging", { agents: [] })]);
    await signIn(undefined, adminToken);
    const result = await status();
    expect(result.exitCode).toBe(0);
    expect(result.stdout.split("\n").map((line) => line.trim().split(/ {2,}/))).toEqual([
      ["CLUSTER", "STATE", "AGENT", "NODE", "VERSION", "LANES", "CONNECTED", "ROLES", "LAST ERROR"],
      ["prod", "online", "0f8e1c52", "node-1", "0.4.1", "2", "5m ago", "tunnel=ready", "-"],
      ["staging", "offline", "-", "-", "-", "-", "-", "-", "-"],
      [""],
    ]);
  });

  it("shows a cluster's nodes when it is asked for: those in trouble first, and how many are left out", async () => {
    const [agent] = makeCluster(gateway, "prod").agents;
    if (agent === undefined) throw new Error("the maker makes one agent");
    const nodes = {
      nodes: 4002,
      notSynced: 3,
      listed: [
        { node: "node-7", state: "failing", since: "2026-11-22T10:00:00Z", generation: 12, lastError: "IPv4: \u001b[2Jnft: busy" },
        { node: "node-9", state: "unknown", since: "2026-11-22T07:05:00Z", generation: 40 },
        { node: "node-1", state: "synced", since: "2026-11-20T10:05:00Z", generation: 3 },
      ],
      lastError: "no answer",
    };
    const agents = [
      { ...agent, roles: { "service-proxy": { state: "unreadable" } } },
      { ...agent, roles: { "service-proxy": nodes } },
    ];
    gateway.views.set(adminToken, [makeCluster(gateway, "prod", { agents })]);
    await signIn(undefined, adminToken);
    const lines = (await status("prod")).stdout.split("\n").map((line) => line.trim().split(/ {2,}/));
    expect(lines.slice(3)).toEqual([
      [""],
      ["NODE", "SERVICE PROXY", "SINCE", "GENERATION", "LAST ERROR"],
      ["node-7", "failing", "5m ago", "12", "IPv4: [2Jnft: busy"],
      ["node-9", "unknown", "3h ago", "40", "-"],
      ["node-1", "synced", "2d ago", "3", "-"],
      ["and 3999 more of 4002 nodes, 1 of them not synced"],
      ["The agent: no answer"],
      [""],
    ]);
    expect((await status()).stdout).not.toContain("node-7");
    expect(JSON.parse((await status("prod", "-o", "json")).stdout)).toMatchObject({
      clusters: [{ agents: [{}, { roles: { "service-proxy": nodes } }] }],
    });
  });

  it("puts together what each cluster's own session shows, each with its own token", async () => {
    gateway.views.set(userToken, [makeCluster(gateway, "prod")]);
    await signIn("prod", userToken);
    const other = makeToken({ claims: { sub: "other", exp: undefined } });
    gateway.views.set(other, [makeCluster(gateway, "staging")]);
    await signIn("staging", other);
    expect((await status("-o", "name")).stdout).toBe("prod\nstaging\n");
    expect(new Set(gateway.requests.map((request) => request.authorization))).toEqual(new Set([`Bearer ${userToken}`, `Bearer ${other}`]));
  });

  it("leaves out a session that no longer works, and says so", async () => {
    gateway.views.set(userToken, [makeCluster(gateway, "prod")]);
    await signIn("prod", userToken);
    await signIn("staging", "a.b.c");
    const result = await status("-o", "name");
    expect(result).toMatchObject({ exitCode: 0, stdout: "prod\n" });
    expect(result.stderr).toContain("Left out");
  });

  it("sends no session of one gateway to another", async () => {
    await signIn("prod", userToken);
    const result = await bench.run(["status", "--gateway", gateway.url.replace("127.0.0.1", "localhost")], { time });
    expect(result.exitCode).toBe(4);
    expect(gateway.requests).toEqual([]);
  });

  it("prints the document for programs, and nothing else, on standard output", async () => {
    gateway.views.set(adminToken, [makeCluster(gateway, "prod")]);
    await signIn(undefined, adminToken);
    const result = await status("-o", "json");
    expect(JSON.parse(result.stdout)).toEqual({ clusters: [makeCluster(gateway, "prod")] });
    expect(result.stderr).toBe("");
  });

  it("shows nothing of an agent's error text that could move the cursor", async () => {
    const [agent] = makeCluster(gateway, "prod").agents;
    if (agent === undefined) throw new Error("the maker makes one agent");
    gateway.views.set(adminToken, [makeCluster(gateway, "prod", { agents: [{ ...agent, lastError: "\u001b[2J\nfake  line" }] })]);
    await signIn(undefined, adminToken);
    const result = await status();
    expect(result.stdout).toContain("[2J fake line\n");
    expect(result.stdout).not.toContain("\u001b");
  });

  it("takes a token of the environment instead of any session", async () => {
    gateway.views.set(userToken, [makeCluster(gateway, "prod")]);
    await signIn("prod", adminToken);
    const env = { SALLYPORT_TOKEN: userToken, SALLYPORT_GATEWAY: gateway.url };
    expect((await bench.run(["status", "-o", "name"], { time, env })).stdout).toBe("prod\n");
  });

  it("prints with --watch what changed, until the person interrupts", async () => {
    const interrupt = new AbortController();
    await signIn(undefined, adminToken);
    const views = [[makeCluster(gateway, "prod")], [makeCluster(gateway, "prod")], [makeCluster(gateway, "prod", { agents: [] })]];
    gateway.views.set(adminToken, views.shift() ?? []);
    const wait = async (): Promise<void> => {
      const next = views.shift();
      if (next === undefined) interrupt.abort();
      else gateway.views.set(adminToken, next);
    };
    const result = await bench.run(["status", "--gateway", gateway.url, "--watch"], {
      time: { now: time.now, wait },
      signal: interrupt.signal,
    });
    expect(result.exitCode).toBe(0);
    expect(result.stdout.match(/CLUSTER/g)).toHaveLength(2);
    expect(result.stdout).toContain("offline");
  });
});

describe("exit codes", () => {
  const answers: readonly { readonly name: string; readonly answer: ScriptedAnswer; readonly code: number; readonly text: string }[] = [
    { name: "sign-in needed", answer: failureAnswer("TOKEN_EXPIRED", "the token has expired"), code: 4, text: "ref 8f3c21" },
    { name: "denied", answer: failureAnswer("POLICY_DENIED", "no"), code: 5, text: "POLICY_DENIED" },
    { name: "try again", answer: failureAnswer("OVERLOADED", "busy"), code: 75, text: "OVERLOADED" },
    {
      name: "a login page in between",
      answer: { status: 200, body: "<html>Sign in</html>" },
      code: 75,
      text: "does not answer as a Sallyport gateway",
    },
    {
      name: "a redirect, which is not followed",
      answer: { status: 302, body: "", headers: { location: "https://evil.example.com" } },
      code: 75,
      text: "HTTP status 302",
    },
    {
      name: "an answer of another shape",
      answer: { status: 200, body: { clusters: [{ name: "../x" }] } },
      code: 75,
      text: "clusters[0].name",
    },
  ];

  it.each(answers)("$name: $code", async ({ answer, code, text }) => {
    await signIn(undefined, adminToken);
    gateway.overrides.set("GET /gateway/v1/clusters", answer);
    const result = await status();
    expect(result).toMatchObject({ exitCode: code, stdout: "" });
    expect(result.stderr).toContain(text);
    expect(result.stderr).not.toContain(adminToken);
  });

  it("cluster offline: 6, after the table", async () => {
    gateway.views.set(adminToken, [makeCluster(gateway, "prod", { agents: [] })]);
    await signIn(undefined, adminToken);
    const result = await status("prod");
    expect(result.exitCode).toBe(6);
    expect(result.stdout).toContain("offline");
    expect(result.stderr).toContain("sallyport status prod --watch");
  });

  it.each([
    { args: ["status", "nowhere"], code: 3 },
    { args: ["stauts"], code: 2 },
    { args: ["status", "a", "b"], code: 2 },
    { args: ["status", "--nope"], code: 2 },
    { args: ["status", "-o", "xml"], code: 2 },
    { args: ["cluster", "ad"], code: 2 },
    { args: ["cluster", "add", "prod"], code: 2 },
    { args: ["status", "--gateway", "ftp://x"], code: 2 },
    { args: ["--help"], code: 0 },
    { args: [], code: 0 },
    { args: ["version"], code: 0 },
    { args: ["status", "--help"], code: 0 },
  ])("$args: $code", async ({ args, code }) => {
    gateway.views.set(adminToken, []);
    await signIn(undefined, adminToken);
    expect((await bench.run(args, { env: { SALLYPORT_GATEWAY: gateway.url } })).exitCode).toBe(code);
  });

  it("a gateway that is not there: 75", async () => {
    await signIn(undefined, adminToken);
    await gateway.close();
    const result = await status("-o", "json");
    expect(result.exitCode).toBe(75);
    expect(JSON.parse(result.stderr)).toMatchObject({ error: { code: "GATEWAY_UNREACHABLE", exitCode: 75, cause: "ECONNREFUSED" } });
  });
});
