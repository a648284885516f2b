import { describe, expect, it } from "vitest";
import { readConfig } from "#agent/config.ts";
import type { ConfigResult } from "#agent/config.ts";
import { makeTemporaryDirectory } from "../cluster/temporary-directory.ts";

const authentication = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
  - issuer: { url: "https://login.example.com", audiences: [sallyport] }
    claimMappings: { username: { claim: sub, prefix: "oidc:" } }
`;

function read(args: readonly string[], environment: NodeJS.ProcessEnv = {}): ConfigResult {
  return readConfig(args, { environment, random: () => "random", hostname: "host-1" });
}

const authenticationFile = makeTemporaryDirectory().write("authentication.yaml", authentication);

describe("the agent's configuration", () => {
  it("is that of the role tunnel when no role is given", () => {
    const args = [
      "--gateway=https://gateway.test",
      "--cluster=blue",
      `--authentication-config=${authenticationFile}`,
      "--max-streams-per-user=5",
    ];
    expect(read(args, { NODE_NAME: "node-1" })).toMatchObject({
      type: "config",
      config: {
        role: "tunnel",
        cluster: "blue",
        key: { type: "secret", namespace: "sallyport-system", name: "sallyport-agent-key" },
        connection: { kubeconfig: undefined, apiservers: [] },
        joinTokenFile: "/var/run/secrets/sallyport/join/token",
        streamsPerUser: 5,
        replica: "random",
        node: "node-1",
      },
    });
    expect(read([...args, "--roles=tunnel"]).type).toBe("config");
  });

  it("takes gateway, cluster and pod from the environment too", () => {
    const environment = { SALLYPORT_GATEWAY: "https://gateway.test", SALLYPORT_CLUSTER: "blue", POD_UID: "pod-1" };
    expect(read([`--authentication-config=${authenticationFile}`], environment)).toMatchObject({
      config: { cluster: "blue", replica: "pod-1" },
    });
  });

  it("tells all that is missing at once", () => {
    expect(read([])).toMatchObject({
      type: "invalid",
      problems: [
        expect.stringContaining("--gateway is missing"),
        expect.stringContaining("--cluster is missing"),
        expect.stringContaining("--authentication-config is missing"),
      ],
    });
  });

  it.each([["--gateway=http://gateway.test"], ["--cluster=Blue!"], ["--key-secret=one"], ["--max-streams-per-user=0"], ["--no-such-flag"]])(
    "refuses %s",
    (flag) => {
      const result = read([flag]);
      expect(result.type === "invalid" && result.problems.some((problem) => problem.includes(flag.split("=")[0] ?? ""))).toBe(true);
    },
  );

  it("is that of the role that is given", () => {
    expect(read(["--roles=service-proxy", "--apiserver=https://10.1.0.1:6443"])).toMatchObject({
      config: { role: "service-proxy", node: "host-1" },
    });
  });

  it("knows one role at a time", () => {
    expect(read(["--roles=tunnel,service-proxy"]).type).toBe("invalid");
    expect(read(["--roles=juggler"])).toMatchObject({ problems: [expect.stringContaining("--roles juggler: this agent has the roles")] });
  });

  it("shows every role's flags", () => {
    expect(read(["--help"])).toMatchObject({ type: "help", usage: expect.stringMatching(/--gateway URL[^]*--service-proxy-name NAME/) });
  });
});
