import { describe, expect, it } from "vitest";
import { readKubeconfig } from "#agent/cluster/kubeconfig.ts";
import { makeTemporaryDirectory } from "./temporary-directory.ts";

const directory = makeTemporaryDirectory();
const pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";

interface Parts {
  readonly cluster?: object;
  readonly user?: object;
  readonly top?: object;
}

function makeKubeconfig({ cluster = {}, user = { token: "t" }, top = {} }: Parts = {}): string {
  const config = {
    "current-context": "c",
    contexts: [
      { name: "c", context: { cluster: "k", user: "u" } },
      { name: "anonymous", context: { cluster: "k" } },
    ],
    clusters: [{ name: "k", cluster: { server: "https://k.example", ...cluster } }],
    users: [{ name: "u", user }],
    ...top,
  };
  return directory.write("kubeconfig", JSON.stringify(config));
}

function problemsOf(path: string, context?: string): readonly string[] {
  try {
    readKubeconfig(path, context);
    return [];
  } catch (error) {
    return String(error instanceof Error && "code" in error && error.code === "CONFIGURATION_INVALID" ? error.message : error)
      .split("\n")
      .map((line) => line.replace(`${path}: `, ""));
  }
}

describe("a kubeconfig", () => {
  it("gives its current context, with files beside it read", () => {
    directory.write("ca.pem", pem);
    const path = makeKubeconfig({ cluster: { "certificate-authority": "ca.pem", "tls-server-name": "inner" } });
    expect(readKubeconfig(path, undefined)).toEqual({
      server: "https://k.example",
      ca: pem,
      serverName: "inner",
      insecure: false,
      certificate: undefined,
      key: undefined,
      bearer: { type: "token", token: "t" },
    });
  });

  it("gives another context by name, also one without a user", () => {
    expect(readKubeconfig(makeKubeconfig(), "anonymous").bearer).toEqual({ type: "none" });
  });

  it("written as YAML is read", () => {
    const path = directory.write(
      "yaml",
      "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\nclusters: [{name: b, cluster: {server: 'https://[fd00::1]:6443'}}]\nusers: [{name: c, user: {token: t}}]\n",
    );
    expect(readKubeconfig(path, undefined).server).toBe("https://[fd00::1]:6443");
  });

  it("prefers embedded data to files, as kubectl does", () => {
    const path = makeKubeconfig({
      cluster: { "certificate-authority": "nowhere.pem", "certificate-authority-data": Buffer.from(pem).toString("base64") },
    });
    expect(readKubeconfig(path, undefined).ca).toBe(pem);
  });

  it("has an exec command with a slash found beside it, and one without in the path", () => {
    const command = (text: string): unknown => {
      const { bearer } = readKubeconfig(
        makeKubeconfig({ user: { exec: { apiVersion: "client.authentication.k8s.io/v1", command: text } } }),
        undefined,
      );
      return bearer.type === "exec" ? bearer.plugin.command : undefined;
    };
    expect([command("./bin/plugin"), command("aws")]).toEqual([`${directory.path}/bin/plugin`, "aws"]);
  });

  const faults: readonly (readonly [string, Parts, readonly string[]])[] = [
    ["without a current context", { top: { "current-context": "" } }, ["it has no current-context; name one with --context"]],
    ["with a context that is missing", { top: { "current-context": "x" } }, ['contexts has no entry "x"']],
    ["with a cluster that is missing", { top: { clusters: [] } }, ['clusters has no entry "k"']],
    ["with a user that is missing", { top: { users: [] } }, ['users has no entry "u"']],
    ["with a server that is no URL", { cluster: { server: "k.example:6443" } }, ["server is not an http or https URL without a path"]],
    [
      "with a path in its server",
      { cluster: { server: "https://k.example/clusters/a" } },
      ["server is not an http or https URL without a path"],
    ],
    ["with a proxy", { cluster: { "proxy-url": "http://p" } }, ["proxy-url is not supported: the agent dials the apiserver itself"]],
    [
      "with an authority that is not there",
      { cluster: { "certificate-authority": "no.pem" } },
      ["certificate-authority: no.pem cannot be read"],
    ],
    ["with an authority that is no PEM", { cluster: { "certificate-authority-data": "eA==" } }, ["certificate-authority is not PEM"]],
    [
      "insecure with an authority",
      { cluster: { "insecure-skip-tls-verify": true, "certificate-authority-data": Buffer.from(pem).toString("base64") } },
      ["insecure-skip-tls-verify and certificate-authority exclude each other"],
    ],
    [
      "with a password",
      { user: { username: "a", password: "b" } },
      [
        "user field username is not supported; use a token, a certificate or exec",
        "user field password is not supported; use a token, a certificate or exec",
      ],
    ],
    ["that impersonates", { user: { token: "t", as: "admin" } }, ["user field as is not supported; use a token, a certificate or exec"]],
    [
      "with an auth-provider",
      { user: { "auth-provider": { name: "gcp" } } },
      ["user field auth-provider is not supported; use a token, a certificate or exec"],
    ],
    [
      "with a certificate and no key",
      { user: { "client-certificate-data": Buffer.from(pem).toString("base64") } },
      ["client-certificate and client-key need each other"],
    ],
    [
      "with an exec plugin that is wrong in every way",
      { user: { exec: { apiVersion: "client.authentication.k8s.io/v1alpha1", interactiveMode: "Always" } } },
      [
        "exec.apiVersion is none of client.authentication.k8s.io/v1, client.authentication.k8s.io/v1beta1",
        "exec.command is missing",
        "exec.interactiveMode Always: nobody sits at an agent",
      ],
    ],
    [
      "with faults in cluster and user",
      { cluster: { server: "x", "proxy-url": "http://p" }, user: { as: "admin" } },
      [
        "server is not an http or https URL without a path",
        "proxy-url is not supported: the agent dials the apiserver itself",
        "user field as is not supported; use a token, a certificate or exec",
      ],
    ],
  ];

  it.each(faults)("%s says so, with all that is wrong", (_what, parts, problems) => {
    expect(problemsOf(makeKubeconfig(parts))).toEqual(problems);
  });

  it.each([
    ["no YAML", "a: [b\n", "it cannot be read as YAML"],
    ["a list", "- a\n", "it is not a kubeconfig"],
    ["nothing", "", "it is not a kubeconfig"],
  ])("that is %s says so", (_what, text, problem) => {
    expect(problemsOf(directory.write("broken", text))).toEqual([problem]);
  });

  it("that is not there says so", () => {
    expect(problemsOf(`${directory.path}/none`)).toEqual(["there is no such file"]);
  });

  it("never shows a secret in its problems", () => {
    const path = makeKubeconfig({ cluster: { server: "bad" }, user: { token: "s3cret", password: "s3cret", username: "s3cret" } });
    expect(problemsOf(path).join("\n")).not.toContain("s3cret");
  });
});
