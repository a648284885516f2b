import { chmod, lstat, mkdir, readFile, readdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { writeSession } from "#cli/session/token-store.ts";
import { makeBench } from "./support/command-run.ts";
import type { CommandBench, CommandResult } from "./support/command-run.ts";
import { makeCluster, startGateway } from "./support/scripted-gateway.ts";
import type { ScriptedGateway } from "./support/scripted-gateway.ts";
import { makeToken } from "./support/token.ts";

let gateway: ScriptedGateway;
let bench: CommandBench;
let path: string;

beforeEach(async () => {
  gateway = await startGateway();
  bench = await makeBench();
  path = join(bench.home, ".kube", "config");
  const token = makeToken({ claims: { exp: undefined } });
  await writeSession(bench.store, {
    key: { gateway: gateway.url, cluster: "prod" },
    idToken: token,
    expiresAtMs: undefined,
    renewal: undefined,
    authorities: "PEM of the gateway",
  });
  gateway.views.set(token, [makeCluster(gateway, "prod", { url: "https://prod.gw.example.com" })]);
});
afterEach(async () => {
  await gateway.close();
  await bench.remove();
});

function run(...args: readonly string[]): Promise<CommandResult> {
  return bench.run(["kubeconfig", "--gateway", gateway.url, ...args]);
}

async function readConfig(): Promise<unknown> {
  return parse(await readFile(path, "utf8"));
}

describe("kubeconfig", () => {
  it("adds the clusters of every session, with the authority that the login trusted", async () => {
    const result = await run();
    expect(result).toMatchObject({ exitCode: 0, stdout: "" });
    expect(await readConfig()).toMatchObject({
      clusters: [
        {
          cluster: {
            server: "https://prod.gw.example.com",
            "certificate-authority-data": Buffer.from("PEM of the gateway").toString("base64"),
          },
        },
      ],
      contexts: [{ name: "prod" }],
    });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("keeps a private copy of the file as it was, its mode, and leaves no lock or temporary file", async () => {
    await mkdir(join(bench.home, ".kube"));
    await writeFile(path, "apiVersion: v1\nkind: Config\n# mine\n");
    await chmod(path, 0o640);
    await run();
    expect(await readFile(`${path}.sallyport-backup`, "utf8")).toBe("apiVersion: v1\nkind: Config\n# mine\n");
    expect((await stat(`${path}.sallyport-backup`)).mode & 0o777).toBe(0o600);
    expect((await stat(path)).mode & 0o777).toBe(0o640);
    expect((await readdir(join(bench.home, ".kube"))).toSorted()).toEqual(["config", "config.sallyport-backup"]);
  });

  it("writes through a link instead of replacing it", async () => {
    await mkdir(join(bench.home, ".kube"));
    await writeFile(join(bench.home, "real"), "apiVersion: v1\nkind: Config\n");
    await symlink(join(bench.home, "real"), path);
    await run();
    expect((await lstat(path)).isSymbolicLink()).toBe(true);
    expect(await readConfig()).toMatchObject({ contexts: [{ name: "prod" }] });
  });

  it("does not touch the file while kubectl has it locked", async () => {
    await mkdir(join(bench.home, ".kube"));
    await writeFile(path, "apiVersion: v1\nkind: Config\n");
    await writeFile(`${path}.lock`, "");
    let nowMs = 0;
    const time = { now: () => nowMs, wait: async (durationMs: number): Promise<void> => void (nowMs += durationMs) };
    const result = await bench.run(["kubeconfig", "--gateway", gateway.url], { time });
    expect(result.exitCode).toBe(75);
    expect(result.stderr).toContain("is locked by another program");
    expect(await readFile(path, "utf8")).toBe("apiVersion: v1\nkind: Config\n");
  });

  it("leaves a file that it cannot read as it is", async () => {
    await mkdir(join(bench.home, ".kube"));
    await writeFile(path, "clusters: [");
    const result = await run();
    expect(result.exitCode).toBe(2);
    expect(await readFile(path, "utf8")).toBe("clusters: [");
  });

  it("writes where kubectl would: the first file of KUBECONFIG that exists, else its last", async () => {
    const [first, second] = [join(bench.home, "first"), join(bench.home, "second")];
    const env = { KUBECONFIG: `${first}:${second}` };
    await bench.run(["kubeconfig", "--gateway", gateway.url], { env });
    expect(parse(await readFile(second, "utf8"))).toMatchObject({ contexts: [{ name: "prod" }] });
    await writeFile(first, "");
    await bench.run(["kubeconfig", "--gateway", gateway.url], { env });
    expect(parse(await readFile(first, "utf8"))).toMatchObject({ contexts: [{ name: "prod" }] });
  });

  it("prints a kubeconfig of its own with --print, and writes nothing", async () => {
    const result = await run("--print", "-n", "web", "--context-name", "{gateway}-{cluster}");
    expect(parse(result.stdout)).toMatchObject({
      contexts: [{ name: "127.0.0.1-prod", context: { namespace: "web" } }],
      "current-context": "127.0.0.1-prod",
    });
    expect(await readdir(bench.home)).not.toContain(".kube");
  });

  it("gives a named cluster that no session shows the URL that every cluster has", async () => {
    gateway.logins.set("staging", { issuer: "https://issuer.example.com", clientId: "staging-audience", scopes: ["openid"] });
    const result = await run("--cluster", "staging", "--cluster", "prod");
    expect(result.exitCode).toBe(0);
    expect(result.stderr).toContain(`sallyport login --gateway ${gateway.url} --cluster staging`);
    expect(result.stderr).toContain("kubectl sends no credentials over http");
    expect(await readConfig()).toMatchObject({
      clusters: [{ cluster: { server: `${gateway.url}/k/staging` } }, { cluster: { server: "https://prod.gw.example.com" } }],
    });
  });

  it.each([
    { name: "a cluster that does not exist", args: ["--cluster", "other"], code: 3 },
    { name: "a name that is none", args: ["--cluster", "Prod!"], code: 2 },
    { name: "a context name with white space", args: ["--context-name", "a b"], code: 2 },
  ])("refuses $name", async ({ args, code }) => {
    expect((await run(...args)).exitCode).toBe(code);
    expect(await readdir(bench.home)).not.toContain(".kube");
  });

  it("writes no address that would show the token to the network", async () => {
    const [token] = gateway.views.keys();
    gateway.views.set(token ?? "", [makeCluster(gateway, "prod", { url: "http://prod.gw.example.com" })]);
    const result = await run();
    expect(result.exitCode).not.toBe(0);
    expect(result.stderr).toContain("not https");
    expect(await readdir(bench.home)).not.toContain(".kube");
  });

  it("says how to sign in without a session", async () => {
    const result = await bench.run(["kubeconfig", "--gateway", "https://other.example.com"], { env: {} });
    expect(result.exitCode).toBe(4);
    expect(result.stderr).toContain("sallyport login --gateway https://other.example.com");
  });

  it("takes its entries out again with --remove", async () => {
    await run();
    const result = await run("--remove");
    expect(result.stderr).toContain("prod");
    expect(await readConfig()).toMatchObject({ clusters: [], users: [], contexts: [], "current-context": "" });
  });
});
