/** The harness itself, without the gateway: what the other cluster tests stand on. */
import { existsSync } from "node:fs";

import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { buildAgentImage } from "./harness/agent-image.ts";
import { type Cluster, startCluster } from "./harness/cluster.ts";
import { runCommand, waitUntil } from "./harness/command.ts";
import { startInformer } from "./harness/informer.ts";
import { startPythonClient, Terminal } from "./harness/python.ts";
import { helm, kubectl, kubectlPath, kubectlVersions, toolEnvironment } from "./harness/tools.ts";

const agnhost = "registry.k8s.io/e2e-test-images/agnhost:2.56";

describe("a cluster of two nodes and two apiservers", () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await startCluster({ hostNames: ["gateway.test"] });
    await cluster.admin(["run", "echo", `--image=${agnhost}`, "--", "netexec"]);
    await cluster.admin(["wait", "--for=condition=Ready", "pod/echo", "--timeout=120s"]);
  });

  afterAll(async () => {
    await cluster.stop();
    expect(existsSync(cluster.folder)).toBe(false);
    const { stdout } = await runCommand("ip", ["netns", "list"]);
    expect(stdout).not.toContain(cluster.network?.bridge);
  });

  test.each(kubectlVersions)("answers kubectl %s, and runs commands in a pod with input and exit codes", async (version) => {
    const kubeconfig = cluster.adminKubeconfig;
    const args = ["exec", "-i", "echo", "--", "sh", "-c", "read line; echo got $line; exit 7"];
    expect(await kubectl(version, args, { kubeconfig, stdin: "hello\n" })).toMatchObject({ code: 7, stdout: "got hello\n" });
  });

  test("answers helm", async () => {
    expect(await helm(["list", "--all-namespaces", "--output=json"], { kubeconfig: cluster.adminKubeconfig })).toMatchObject({
      code: 0,
      stdout: "[]\n",
    });
  });

  test("gives a pod the apiservers' Service, its own DNS and the tests' host names", async () => {
    const script = "curl --silent --insecure https://kubernetes.default.svc/version && dig +short gateway.test";
    const output = await cluster.admin(["exec", "echo", "--", "sh", "-c", script]);
    expect(output).toContain('"gitVersion": "v1.34.4"');
    expect(output).toContain(cluster.hostAddress);
  });

  test("goes on with one apiserver, and takes the other back", async () => {
    const [first, second] = cluster.apiservers;
    await second?.kill();
    await expect(second?.ask({ path: "/version" })).rejects.toThrow("ECONNREFUSED");
    expect(await first?.ask({ path: "/version" })).toMatchObject({ status: 200 });
    await second?.restart();
    expect(await second?.ask({ path: "/version" })).toMatchObject({ status: 200 });
  });

  test("knows users by their client certificates", async () => {
    const credential = await cluster.clientCertificate({ name: "alice", commonName: "alice", organizations: ["team"] });
    const kubeconfig = cluster.kubeconfigFor("alice-direct", credential);
    const { stdout } = await kubectl("1.34", ["auth", "whoami", "--output=json"], { kubeconfig });
    expect(JSON.parse(stdout)).toMatchObject({ status: { userInfo: { username: "alice", groups: ["team", "system:authenticated"] } } });
  });

  test("tells an informer every change, and its cache is what the cluster holds", async () => {
    await cluster.admin(["create", "namespace", "watched"]);
    const informer = await startInformer(cluster.adminKubeconfig, "watched");
    await informer.waitFor(({ type }) => type === "synced");
    const created = await cluster.admin(["-n", "watched", "create", "configmap", "one", "--from-literal=number=1", "-o", "json"]);
    const { resourceVersion } = (JSON.parse(created) as { metadata: { resourceVersion: string } }).metadata;
    expect(await informer.waitFor(({ name }) => name === "one")).toEqual({ type: "added", name: "one", resourceVersion, number: "1" });
    expect(await informer.finish()).toBe(0);
    expect(informer.lines.at(-1)).toMatchObject({ type: "cache", items: { one: resourceVersion } });
  });

  test("answers the Python client's list, watch and exec", async () => {
    const client = await startPythonClient(cluster.adminKubeconfig, [
      "exec",
      "default",
      "echo",
      "hello",
      "sh",
      "-c",
      "read l; echo $l; exit 3",
    ]);
    expect(await client.take(1)).toEqual([{ stdout: "hello\n", stderr: "", code: 3 }]);
    await cluster.admin(["create", "namespace", "python"]);
    const watcher = await startPythonClient(cluster.adminKubeconfig, ["watch", "python", "1"]);
    await watcher.waitFor(({ listed }) => listed !== undefined);
    await cluster.admin(["-n", "python", "create", "configmap", "seen"]);
    const events = await watcher.waitFor(({ name }) => name === "seen" || name === "kube-root-ca.crt");
    expect(events.type).toMatch(/ADDED/);
    await watcher.stop();
    const list = await startPythonClient(cluster.adminKubeconfig, ["list", "python"]);
    expect((await list.take(1))[0]?.names).toContain("seen");
  });

  test("gives a program a terminal that can be resized", async () => {
    const program = await kubectlPath("1.35");
    const terminal = new Terminal(program, ["exec", "-it", "echo", "--", "bash"], {
      rows: 30,
      columns: 90,
      env: toolEnvironment(cluster.adminKubeconfig),
    });
    terminal.type("stty size; echo first-$((1+1))\r");
    await terminal.output.waitFor((line) => line.includes("first-2"));
    expect(terminal.output.lines.join("\n")).toContain("30 90");
    terminal.resize(40, 120);
    terminal.type("until [ \"$(stty size)\" = '40 120' ]; do :; done; echo second-$((1+1)); exit 5\r");
    await terminal.output.waitFor((line) => line.includes("second-2"));
    expect(await terminal.output.finish()).toBe(5);
  });

  test("runs the agent's image as the user that the manifests name", async () => {
    const image = await buildAgentImage(cluster.folder);
    await cluster.importImage(image.archive);
    const overrides = { spec: { securityContext: { runAsNonRoot: true, runAsUser: 65532 }, restartPolicy: "Never" } };
    await cluster.admin([
      "run",
      "agent-help",
      `--image=${image.name}`,
      `--overrides=${JSON.stringify(overrides)}`,
      "--",
      "agent",
      "--help",
    ]);
    await cluster.admin(["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/agent-help", "--timeout=60s"]);
    expect(await cluster.admin(["logs", "agent-help"])).toContain("--gateway URL");
  });

  test("takes the shipped manifests as they are", async () => {
    const output = await cluster.admin(["apply", "-f", "infra/manifests/agent.yaml"]);
    expect(output.split("\n").filter((line) => line.endsWith("created"))).toHaveLength(15);
    const warnings = await runCommand(
      await kubectlPath("1.34"),
      ["apply", "--server-side", "--dry-run=server", "-f", "infra/manifests/agent.yaml"],
      {
        env: toolEnvironment(cluster.adminKubeconfig),
      },
    );
    expect(warnings.stderr).not.toContain("would violate PodSecurity");
  });
});

describe("a control plane alone", () => {
  test("needs no network of its own, and reads its AuthenticationConfiguration", async () => {
    const authenticationConfiguration = `apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
  - issuer: { url: "https://issuer.test", audiences: [cluster] }
    claimMappings: { username: { claim: sub, prefix: "" } }
`;
    await using cluster = await startCluster({ nodes: 0, apiservers: 1, authenticationConfiguration });
    await waitUntil("the issuer in the log", 30_000, async () => cluster.logOf("apiserver1").includes("issuer.test"));
    expect(await cluster.apiservers[0]?.ask({ path: "/api/v1/namespaces/default" })).toMatchObject({ status: 200 });
  });
});
