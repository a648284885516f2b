import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import type { CliContext } from "#cli/context.ts";
import { writeSession } from "#cli/session/token-store.ts";
import { parseClusterRegistration } from "#core/gateway-api.ts";
import { makeBench } from "./support/command-run.ts";
import type { CommandBench, CommandResult } from "./support/command-run.ts";
import { startCluster, writeKubeconfig } from "./support/scripted-cluster.ts";
import type { ScriptedCluster } from "./support/scripted-cluster.ts";
import { failureAnswer, makeCluster, startGateway } from "./support/scripted-gateway.ts";
import type { ScriptedGateway } from "./support/scripted-gateway.ts";
import { makeToken } from "./support/token.ts";

const adminToken = makeToken({ claims: { sub: "admin", exp: undefined } });
const publicKey = { kty: "RSA", kid: "1", alg: "RS256", n: "AQAB", e: "AQAB" };
const authentication = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
  - issuer:
      url: https://issuer.example.com
      audiences: [sallyport-prod]
    claimMappings:
      username: { claim: email, prefix: "oidc:" }
      groups: { claim: groups, prefix: "oidc:" }
      extra:
        - { key: example.com/department, valueExpression: claims.department }
`;

let target: ScriptedCluster;
let gateway: ScriptedGateway;
let bench: CommandBench;

beforeAll(async () => {
  target = await startCluster();
});
afterAll(() => target.close());
beforeEach(async () => {
  gateway = await startGateway();
  bench = await makeBench();
  gateway.views.set(adminToken, [makeCluster(gateway, "prod")]);
  gateway.overrides.set("POST /gateway/v1/clusters", { status: 201, body: makeCluster(gateway, "prod", { agents: [] }) });
  target.answers.set("/.well-known/openid-configuration", {
    status: 200,
    body: { issuer: "https://kubernetes.default.svc", jwks_uri: "https://10.0.0.1/openid/v1/jwks" },
  });
  target.answers.set("/openid/v1/jwks", { status: 200, body: { keys: [publicKey] } });
  target.authorizations.length = 0;
  await writeFile(file("auth.yaml"), authentication);
  await writeFile(file("keys.json"), JSON.stringify({ keys: [publicKey] }));
  await writeKubeconfig(file("target.kubeconfig"), target);
  await writeSession(bench.store, {
    key: { gateway: gateway.url, cluster: undefined },
    idToken: adminToken,
    expiresAtMs: undefined,
    renewal: undefined,
    authorities: undefined,
  });
});
afterEach(async () => {
  await gateway.close();
  await bench.remove();
});

function file(name: string): string {
  return join(bench.home, name);
}

function cluster(args: readonly string[], changes: Partial<CliContext> = {}): Promise<CommandResult> {
  return bench.run(["cluster", ...args], { env: { SALLYPORT_GATEWAY: gateway.url }, ...changes });
}

function add(...args: readonly string[]): Promise<CommandResult> {
  return cluster(["add", "prod", "--authentication-config", file("auth.yaml"), "--kubeconfig", file("target.kubeconfig"), ...args]);
}

/** What the gateway was asked to register. */
function registered(): unknown {
  const post = gateway.requests.find((request) => request.method === "POST");
  return post === undefined ? undefined : JSON.parse(post.body);
}

describe("cluster add", () => {
  it("registers the file, the cluster's own ServiceAccount issuer and keys, and who may join", async () => {
    await add("--login-client-id", "sallyport-prod");
    expect(registered()).toEqual({
      name: "prod",
      authenticationConfiguration: authentication,
      issuerKeys: {},
      join: {
        issuer: "https://kubernetes.default.svc",
        jwks: { keys: [publicKey] },
        audience: `${gateway.url}/clusters/prod`,
        subject: "system:serviceaccount:sallyport-system:sallyport-agent",
      },
      login: { issuer: "https://issuer.example.com", clientId: "sallyport-prod", scopes: ["openid", "profile", "email", "offline_access"] },
      allowSharedAudience: false,
    });
    expect(parseClusterRegistration(registered()).type).toBe("parsed");
    expect(target.authorizations).toEqual(["Bearer admin-token", "Bearer admin-token"]);
    expect(gateway.requests.at(-1)?.authorization).toBe(`Bearer ${adminToken}`);
  });

  it("prints one line that installs the agent, and nothing else, on standard output", async () => {
    const result = await add();
    expect(result).toMatchObject({
      exitCode: 0,
      stdout: `kubectl --kubeconfig ${file("target.kubeconfig")} --context admin apply -f ${file("sallyport-prod.yaml")}\n`,
    });
  });

  it("writes manifests with the same audience, file, groups and extra keys", async () => {
    await add(
      "--allow-group",
      "oidc:developers",
      "--allow-group",
      "oidc:ops-*",
      "--image",
      "registry.example.com/agent:1",
      "--replicas",
      "3",
    );
    const text = await readFile(file("sallyport-prod.yaml"), "utf8");
    const documents = parseAllDocuments(text).map((document) => document.toJS() as { kind: string; spec?: { replicas: number } });
    expect(documents.find((document) => document.kind === "Deployment")?.spec?.replicas).toBe(3);
    for (const part of [
      `${gateway.url}/clusters/prod`,
      "registry.example.com/agent:1",
      "oidc:ops-*",
      "example.com/department",
      "https://issuer.example.com",
    ])
      expect(text).toContain(part);
  });

  it("prints the manifests with --manifests -, for kubectl to read", async () => {
    const result = await add("--manifests", "-");
    expect(result.stdout).toContain("kind: Deployment");
    expect(await readdir(bench.home)).not.toContain("sallyport-prod.yaml");
  });

  it("works without access to the cluster, from its issuer and keys in files", async () => {
    const result = await cluster([
      "add",
      "prod",
      "--authentication-config",
      file("auth.yaml"),
      "--join-issuer",
      "https://sa.example.com",
      "--join-keys",
      file("keys.json"),
    ]);
    expect(result).toMatchObject({ exitCode: 0, stdout: `kubectl apply -f ${file("sallyport-prod.yaml")}\n` });
    expect(registered()).toMatchObject({ join: { issuer: "https://sa.example.com", jwks: { keys: [publicKey] } } });
  });

  it("registers keys of issuers that the gateway cannot reach, and a shared audience only when told", async () => {
    await add("--issuer-keys", `https://issuer.example.com=${file("keys.json")}`, "--allow-shared-audience");
    expect(registered()).toMatchObject({ issuerKeys: { "https://issuer.example.com": { keys: [publicKey] } }, allowSharedAudience: true });
  });

  it("describes the result for programs with -o json", async () => {
    const result = await add("-o", "json");
    expect(JSON.parse(result.stdout)).toMatchObject({
      cluster: { name: "prod" },
      manifests: file("sallyport-prod.yaml"),
      apply: expect.stringContaining("kubectl --kubeconfig"),
    });
  });
});

describe("cluster add refuses, before anything is changed,", () => {
  afterEach(async () => {
    expect(registered()).toBeUndefined();
    expect(await readdir(bench.home)).not.toContain("sallyport-prod.yaml");
  });

  it("a configuration with all its problems at once, each with its line", async () => {
    await writeFile(file("auth.yaml"), authentication.replace("https://issuer", "http://issuer").replace("claims.department", "claims."));
    const result = await add("--issuer-keys", "nonsense", "--login-client-id", "other");
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain("CONFIGURATION_INVALID");
    expect(result.stderr).toContain(`${file("auth.yaml")}:5: `);
    expect(result.stderr).toContain(`${file("auth.yaml")}:11: `);
    expect(result.stderr).toContain("--issuer-keys nonsense: must be ISSUER=FILE");
  });

  it.each([
    { name: "a file that is not there", args: ["--authentication-config", "/nowhere.yaml"], text: "/nowhere.yaml: does not exist" },
    {
      name: "keys of an issuer that the file does not have",
      args: ["--issuer-keys", "https://other.example.com=keys.json"],
      text: "no issuer https://other.example.com",
    },
    {
      name: "a login whose tokens would be refused",
      args: ["--login-client-id", "sallyport-staging"],
      text: "its tokens would be refused",
    },
    { name: "a login issuer without a client", args: ["--login-issuer", "https://issuer.example.com"], text: "need --login-client-id" },
    {
      name: "a login that gives no ID token",
      args: ["--login-client-id", "sallyport-prod", "--login-scope", "email"],
      text: "`openid` is missing",
    },
    { name: "a context that is not there", args: ["--context", "other"], text: 'no context "other"' },
    { name: "keys without their issuer", args: ["--join-keys", "keys.json"], text: "belong together" },
    { name: "no replica at all", args: ["--replicas", "0"], text: "from 1 to 10" },
    { name: "two uses of standard output", args: ["--manifests", "-", "-o", "json"], text: "both want standard output" },
  ])("$name", async ({ args, text }) => {
    const result = await cluster([
      "add",
      "prod",
      ...(args.includes("--authentication-config") ? [] : ["--authentication-config", file("auth.yaml")]),
      "--kubeconfig",
      file("target.kubeconfig"),
      ...args,
    ]);
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain(text);
  });

  it("a name that could be no host name", async () => {
    expect((await cluster(["add", "Prod_1", "--authentication-config", file("auth.yaml")])).exitCode).toBe(2);
  });

  it.each([
    { name: "a private key", key: { ...publicKey, d: "secret" } },
    { name: "a symmetric key", key: { kty: "oct", k: "secret" } },
  ])("$name among the keys, without repeating it", async ({ key }) => {
    await writeFile(file("keys.json"), JSON.stringify({ keys: [key] }));
    const result = await add("--issuer-keys", `https://issuer.example.com=${file("keys.json")}`);
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain("private or symmetric key");
    expect(result.stderr).not.toContain("secret");
  });

  it("a cluster that lets nobody read its issuer", async () => {
    target.answers.set("/openid/v1/jwks", { status: 403, body: {} });
    const result = await add();
    expect(result.exitCode).toBe(5);
    expect(result.stderr).toContain("--join-keys FILE");
  });

  it("a cluster with another authority than the kubeconfig's", async () => {
    const other = await startCluster();
    await writeKubeconfig(file("target.kubeconfig"), { ...other, url: target.url });
    await other.close();
    expect((await add()).exitCode).toBe(6);
    expect(target.authorizations).toEqual([]);
  });

  it("an admin who has not signed in", async () => {
    const env = { SALLYPORT_GATEWAY: "https://other.example.com" };
    const result = await cluster(["add", "prod", "--authentication-config", file("auth.yaml"), "--kubeconfig", file("target.kubeconfig")], {
      env,
    });
    expect(result.exitCode).toBe(4);
  });
});

describe("cluster add leaves no manifests", () => {
  it("when the gateway refuses, and tells each of its reasons", async () => {
    const answer = failureAnswer("CONFIGURATION_INVALID", "authenticationConfiguration:5: no");
    const causes = ["authenticationConfiguration:5: no", "authenticationConfiguration:9: neither"].map((message) => ({
      reason: "CONFIGURATION_INVALID",
      message,
    }));
    gateway.overrides.set("POST /gateway/v1/clusters", { ...answer, body: { ...(answer.body as object), details: { causes } } });
    const result = await add();
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain("authenticationConfiguration:9: neither");
    expect(await readdir(bench.home)).not.toContain("sallyport-prod.yaml");
  });

  it("over a file that holds something else, unless told", async () => {
    await writeFile(file("sallyport-prod.yaml"), "mine");
    expect((await add()).exitCode).toBe(2);
    expect(registered()).toBeUndefined();
    expect((await add("--overwrite")).exitCode).toBe(0);
    expect(await readFile(file("sallyport-prod.yaml"), "utf8")).toContain("kind: Deployment");
  });
});

describe("cluster manifests", () => {
  it("prints what cluster add wrote, without asking the gateway", async () => {
    await add("--allow-group", "oidc:*");
    const asked = gateway.requests.length;
    const result = await cluster(["manifests", "prod", "--authentication-config", file("auth.yaml"), "--allow-group", "oidc:*"]);
    expect(result.stdout).toBe(await readFile(file("sallyport-prod.yaml"), "utf8"));
    expect(gateway.requests).toHaveLength(asked);
  });
});

describe("cluster list and remove", () => {
  it.each([
    { output: "name", wanted: "prod\n" },
    { output: "yaml", wanted: "clusters:\n  - name: prod\n" },
  ])("lists as $output", async ({ output, wanted }) => {
    expect((await cluster(["list", "-o", output])).stdout).toContain(wanted);
  });

  const terminal = { input: true, output: true, error: true };

  it("removes with --yes, without asking", async () => {
    expect((await cluster(["remove", "prod", "--yes"])).exitCode).toBe(0);
    expect(gateway.requests.at(-1)).toMatchObject({ method: "DELETE", path: "/gateway/v1/clusters/prod" });
  });

  it("removes when the name is typed", async () => {
    expect((await cluster(["remove", "prod"], { terminal, ask: async () => "prod" })).exitCode).toBe(0);
    expect(gateway.requests.at(-1)?.method).toBe("DELETE");
  });

  it.each([
    { name: "when something else is typed", changes: { terminal, ask: async (): Promise<string> => "y" }, text: "CANCELLED" },
    { name: "without a terminal, where nobody can be asked", changes: {}, text: "Give --yes." },
  ])("removes nothing $name", async ({ changes, text }) => {
    const result = await cluster(["remove", "prod"], changes);
    expect(result.exitCode).toBe(2);
    expect(result.stderr).toContain(text);
    expect(gateway.requests.map((request) => request.method)).not.toContain("DELETE");
  });

  it("ends with 3 for a cluster that does not exist", async () => {
    expect((await cluster(["remove", "other", "--yes"])).exitCode).toBe(3);
  });
});
