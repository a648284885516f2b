import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTestIssuer } from "#test/support/issuer.ts";
import { startScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import type { ScriptedApiserver } from "#test/support/scripted-apiserver.ts";
import { authenticationConfiguration, startGateway } from "#test/support/system.ts";
import type { AgentFixture, ClusterFixture, GatewayFixture } from "#test/support/system.ts";

let gateway: GatewayFixture;
let cluster: ClusterFixture;
let agent: AgentFixture;
let apiserver: ScriptedApiserver;
let home: string;
let addArguments: readonly string[];

beforeAll(async () => {
  apiserver = await startScriptedApiserver();
  gateway = await startGateway({ bundle: "dist/worker/main.js" });
  cluster = await gateway.register({ name: "one" });
  agent = await cluster.startAgent({ kubeconfig: await apiserver.kubeconfig(join(gateway.folder, "kubeconfig")) });
  home = join(gateway.folder, "home");
  await mkdir(home);
  await writeFile(join(home, "ca.crt"), gateway.authority.certificate);
  const users = await createTestIssuer("https://users.example/two");
  const joining = await createTestIssuer("https://kubernetes.example/two");
  await writeFile(join(home, "authentication.yaml"), authenticationConfiguration(users.url, "cluster-two", "oidc:"));
  await writeFile(join(home, "users.json"), JSON.stringify(users.keySet));
  await writeFile(join(home, "join.json"), JSON.stringify(joining.keySet));
  addArguments = [
    `--authentication-config=${join(home, "authentication.yaml")}`,
    `--issuer-keys=${users.url}=${join(home, "users.json")}`,
    `--join-issuer=${joining.url}`,
    `--join-keys=${join(home, "join.json")}`,
    "--allow-group=oidc:*",
  ];
});

afterAll(async () => {
  await agent.stop();
  await gateway.stop();
  await apiserver.stop();
});

interface Run {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The real command line as a child process, signed in with this token. */
function run(token: string, ...args: readonly string[]): Promise<Run> {
  const env = {
    PATH: process.env["PATH"] ?? "",
    HOME: home,
    SALLYPORT_GATEWAY: gateway.url,
    SALLYPORT_GATEWAY_CA: join(home, "ca.crt"),
    SALLYPORT_TOKEN: token,
    NO_COLOR: "1",
  };
  return new Promise((resolve) => {
    execFile(process.execPath, ["src/cli/main.ts", ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

const adminToken = () => gateway.admin.token({ sub: "root", aud: "sallyport-admin", groups: ["admins"] });

describe("the command line and the real gateway", () => {
  test("add a cluster, print its agent's manifests, list and remove it", async () => {
    const token = await adminToken();
    const added = await run(token, "cluster", "add", "two", ...addArguments, "--manifests=-");
    expect(added).toMatchObject({ code: 0 });
    expect(added.stdout).toMatch(/kind: Deployment/);
    expect(added.stdout).toMatch(/cluster-two/);
    expect(await run(token, "cluster", "list", "-o", "name")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^(cluster\/)?two$/m),
    });
    expect(await run(token, "cluster", "remove", "two", "--yes")).toMatchObject({ code: 0 });
    expect((await run(token, "cluster", "list", "-o", "name")).stdout).not.toMatch(/two/);
  });

  test("refuse an audience that another cluster has, with the audience and the cluster named", async () => {
    const configuration = join(home, "shared.yaml");
    await writeFile(configuration, authenticationConfiguration("https://users.example/two", cluster.audience, "oidc:"));
    const [, ...rest] = addArguments;
    const refused = await run(
      await adminToken(),
      "cluster",
      "add",
      "three",
      `--authentication-config=${configuration}`,
      ...rest,
      "--manifests=-",
    );
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain(cluster.audience);
    expect(refused.stderr).toMatch(/\bone\b/);
  });

  test("refuse a name that is taken, and people who are no admins", async () => {
    expect(await run(await adminToken(), "cluster", "add", "one", ...addArguments, "--manifests=-")).toMatchObject({ code: 1 });
    const somebody = await gateway.admin.token({ sub: "somebody", aud: "sallyport-admin", groups: ["staff"] });
    const refused = await run(somebody, "cluster", "add", "four", ...addArguments, "--manifests=-");
    expect(refused).toMatchObject({ code: 5 });
    expect(refused.stderr).toContain("ADMIN_ONLY");
  });

  test("list every problem of a configuration with its line, and register nothing", async () => {
    const configuration = join(home, "broken.yaml");
    await writeFile(
      configuration,
      "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: { url: 'http://x', audiences: [] }\n  clameMappings: {}\n",
    );
    const [, ...rest] = addArguments;
    const refused = await run(
      await adminToken(),
      "cluster",
      "add",
      "five",
      `--authentication-config=${configuration}`,
      ...rest,
      "--manifests=-",
    );
    expect(refused.code).toBe(2);
    expect(refused.stderr.match(/broken\.yaml:\d+:/g)?.length).toBeGreaterThan(1);
    expect((await run(await adminToken(), "cluster", "list", "-o", "name")).stdout).not.toMatch(/five/);
  });

  test("show an agent's state as it came through the tunnel, to admins and to the cluster's own users", async () => {
    for (const token of [await adminToken(), await cluster.token("alice")]) {
      const status = await run(token, "status", "one", "-o", "json");
      expect(status).toMatchObject({ code: 0 });
      expect(status.stdout).toContain("replica-1");
      expect(status.stdout).toContain("apiservers");
    }
  });
});
