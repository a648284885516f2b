import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readTunnelConfig } from "#agent/config/tunnel-config.ts";

const authentication = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: https://issuer.example
    audiences: [one]
  claimMappings:
    username:
      claim: sub
      prefix: "oidc:"
`;

let folder: string;
let file: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sallyport-config-"));
  file = join(folder, "authentication.yaml");
  await writeFile(file, authentication);
});
afterAll(() => rm(folder, { recursive: true }));

/** Flags that are enough, with some replaced, or left out where they are undefined. */
function flags(changes: Readonly<Record<string, string | undefined>> = {}): readonly string[] {
  const all = { gateway: "https://gateway.example", cluster: "one", "authentication-config": file, ...changes };
  return Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
}

function problems(args: readonly string[]): readonly string[] {
  const result = readTunnelConfig(args, {}, () => "random");
  return result.type === "invalid" ? result.problems : [];
}

describe("the configuration of the role tunnel", () => {
  it("needs a gateway, a cluster and an AuthenticationConfiguration, and has a default for the rest", () => {
    const result = readTunnelConfig(flags(), { POD_UID: "pod-1", NODE_NAME: "node-1" }, () => "random");
    expect(result).toMatchObject({
      type: "config",
      config: {
        cluster: "one",
        replica: "pod-1",
        node: "node-1",
        allowedGroups: [],
        connection: { apiservers: [] },
        streamsPerUser: 2000,
        key: { type: "secret", namespace: "sallyport-system", name: "sallyport-agent-key" },
      },
    });
  });

  it("is read from the environment where no flag says it", () => {
    const environment = { SALLYPORT_GATEWAY: "https://other.example", SALLYPORT_CLUSTER: "two" };
    expect(readTunnelConfig(flags({ gateway: undefined, cluster: undefined }), environment, () => "random")).toMatchObject({
      type: "config",
      config: { cluster: "two", replica: "random" },
    });
  });

  it("lists all that is wrong at once, each with its flag", () => {
    const args = flags({
      gateway: "http://gateway.example",
      cluster: "A_b",
      "authentication-config": join(folder, "none.yaml"),
      "issuer-keys": file,
      "key-secret": "no-slash",
      "max-streams-per-user": "many",
      apiserver: "10.0.0.1:6443",
    });
    const found = problems(args);
    expect(found).toHaveLength(7);
    const names = ["gateway", "cluster", "authentication-config", "issuer-keys", "key-secret", "max-streams-per-user", "apiserver"];
    for (const name of names) expect(found).toContainEqual(expect.stringMatching(new RegExp(`^--${name} `)));
  });

  it.each([
    ["gateway", "https://gateway.example/path"],
    ["gateway", "https://user:password@gateway.example"],
    ["gateway", "https://gateway.example?query"],
    ["gateway", "https://gateway.example#fragment"],
    ["gateway", "wss://gateway.example"],
    ["apiserver", "http://10.0.0.1:6443"],
    ["apiserver", "https://10.0.0.1:6443/api"],
    ["max-streams-per-user", "0"],
    ["max-streams-per-user", "1e3"],
    ["allow-kubelet-path", "run/*"],
    ["allow-kubelet-path", "/a/../b"],
    ["key-secret", "a/b/c"],
    ["key-secret", "/b"],
  ])("refuses --%s %s", (name, value) => {
    expect(problems(flags({ [name]: value }))).toEqual([expect.stringMatching(new RegExp(`^--${name} `))]);
  });

  it("names file and line of what is wrong in the AuthenticationConfiguration", async () => {
    const broken = join(folder, "broken.yaml");
    await writeFile(broken, authentication.replace("audiences: [one]", "audiences: []").replace("prefix:", "prefx:"));
    const found = problems(flags({ "authentication-config": broken }));
    expect(found.length).toBeGreaterThan(1);
    for (const problem of found) expect(problem).toMatch(new RegExp(`^${broken}:\\d+: `));
  });

  it.each([["--bogus"], ["positional"]])("refuses what it does not know: %s", (argument) => {
    expect(problems([...flags(), argument])).toHaveLength(1);
  });
});
