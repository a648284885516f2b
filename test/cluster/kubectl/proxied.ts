/**
 * `sallyport proxy` in front of the gateway: what only speaks SPDY works through it as at an apiserver, and so does what speaks WebSocket.
 * And in a pod, beside a client that knows nothing of Kubernetes' credentials.
 */
import { mkdirSync } from "node:fs";
import path from "node:path";

import { describe, expect, test } from "vitest";

import { audienceOf, clusterName, namespace, toolbox, toolImage } from "#test/cluster/fixture/names.ts";
import { lee, mia, type Person } from "#test/cluster/fixture/people.ts";
import type { GatewaySystem } from "#test/cluster/fixture/system.ts";
import { ToolRunner } from "#test/cluster/fixture/tool-runner.ts";
import { writeKubeconfig } from "#test/cluster/harness/kubeconfig.ts";
import { type KubectlVersion, kubectlPath, type SpdyKubectlVersion, spdyKubectlVersions } from "#test/cluster/harness/tools.ts";

import { lostPodCase, portForwardCases } from "./port-forward.ts";
import { runCase, streamCases } from "./streams.ts";

const copiedMegabytes = 32;
/** Long enough to start a command with. */
const shortSeconds = 10;
/** kubectl proxy's own filter lets neither exec nor attach pass. */
const flags = ["proxy", "--port=0", "--reject-paths="];

/** Registers the tests. */
export function proxiedTests(system: () => GatewaySystem): void {
  describe.each([...spdyKubectlVersions, "1.35"] as const)("kubectl %s", (version) => {
    const suffix = `proxied-${version.replace(".", "-")}`;
    const make = (): Promise<ToolRunner> => startProxied(system(), version, lee);
    streamCases({ suffix, megabytes: copiedMegabytes, make });
    portForwardCases({ suffix, make });
    if (version !== "1.22") runCase({ suffix, make });
    if (version === "1.28" || version === "1.35") lostPodCase({ suffix, make });
  });

  test.each(["1.22", "1.28"] as const)("kubectl %s ends with a failure where the user's token ends before the command", async (version) => {
    const kubectl = await startProxied(system(), version, lee, shortSeconds);
    const ended = await kubectl.run(["exec", toolbox, "--", "sleep", "600"]);
    expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining("SESSION_ENDED") });
  });

  test("a user who may not is told so over SPDY too", async () => {
    const kubectl = await startProxied(system(), "1.28", mia);
    const refused = await kubectl.run(["exec", toolbox, "--", "true"]);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain(`User "oidc:mia" cannot create resource "pods/exec" in the namespace "${namespace}"`);
  });

  test("a kubeconfig with a token and the gateway's path is known for one behind the gateway", async () => {
    const kubeconfig = await system().kubeconfig({ person: lee, entrance: "path" });
    const kubectl = await kubectlAt(
      system(),
      "1.22",
      await startProxy(system(), await plainRunner(system(), lee), ["--kubeconfig", kubeconfig]),
    );
    expect(await kubectl.must(["exec", toolbox, "--", "echo", "carried"])).toBe("carried\n");
  });

  test("in a pod it serves the pod's own ServiceAccount to its neighbours", async () => {
    const { cluster, image } = system();
    await cluster.admin(["apply", "-f", "-"], { stdin: JSON.stringify(podWithProxy(image.name)) });
    await cluster.admin(["-n", namespace, "wait", "--for=condition=Ready", "pod/with-proxy", "--timeout=60s"]);
    const curl = (target: string): Promise<string> =>
      cluster.admin(["-n", namespace, "exec", "with-proxy", "-c", "client", "--", "curl", "-sS", `http://localhost:8001${target}`]);
    expect(JSON.parse(await curl(`/api/v1/namespaces/${namespace}/pods/with-proxy`))).toMatchObject({ metadata: { name: "with-proxy" } });
    expect(JSON.parse(await curl(`/api/v1/namespaces/${namespace}/secrets`))).toMatchObject({
      message: expect.stringContaining(`User "system:serviceaccount:${namespace}:with-proxy" cannot list resource "secrets"`),
    });
    await cluster.admin(["-n", namespace, "delete", "pod", "with-proxy", "--wait=false"]);
  });
}

/** The sallyport command of a user, whose token the credential plugin gives. */
async function plainRunner(system: GatewaySystem, person: Person, lifetimeSeconds?: number): Promise<ToolRunner> {
  const runner = await system.sallyport(person, audienceOf(clusterName));
  if (lifetimeSeconds === undefined) return runner;
  return runner.with({ SALLYPORT_TOKEN: await system.provider.token(person, { audience: audienceOf(clusterName), lifetimeSeconds }) });
}

/** A kubectl at a `sallyport proxy` whose kubeconfig is the one that `sallyport kubeconfig` writes. */
async function startProxied(
  system: GatewaySystem,
  version: KubectlVersion | SpdyKubectlVersion,
  person: Person,
  lifetimeSeconds?: number,
): Promise<ToolRunner> {
  const sallyport = await plainRunner(system, person, lifetimeSeconds);
  await sallyport.must(["kubeconfig", "--cluster", clusterName]);
  return kubectlAt(system, version, await startProxy(system, sallyport, []));
}

/** Starts the proxy and gives its address. */
async function startProxy(system: GatewaySystem, sallyport: ToolRunner, more: readonly string[]): Promise<string> {
  const proxy = sallyport.start([...flags, ...more]);
  system.onStart(proxy);
  const line = await proxy.waitFor((text) => text.startsWith("Starting to serve on "));
  return line.slice("Starting to serve on ".length);
}

let made = 0;

async function kubectlAt(system: GatewaySystem, version: KubectlVersion | SpdyKubectlVersion, address: string): Promise<ToolRunner> {
  const home = path.join(system.folder, `proxied-${(made += 1)}`);
  mkdirSync(home);
  const kubeconfig = writeKubeconfig(path.join(home, "kubeconfig"), {
    server: `http://${address}`,
    namespace,
    credential: { type: "token", token: "sent-to-nobody" }, // over plain HTTP kubectl sends none
  });
  return new ToolRunner({ command: [await kubectlPath(version)], kubeconfig, hostsFile: system.hostsFile, onStart: system.onStart });
}

const readyCommand = ["curl", "-sSf", "http://localhost:8001/version"];

/** As Kubernetes' documentation has kubectl proxy in a pod: a neighbour in the same network. */
function podWithProxy(image: string): object {
  const name = "with-proxy";
  const account = { kind: "ServiceAccount", name, namespace };
  const items = [
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name, namespace } },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "RoleBinding",
      metadata: { name, namespace },
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" },
      subjects: [account],
    },
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, namespace },
      spec: {
        serviceAccountName: name,
        terminationGracePeriodSeconds: 0,
        containers: [
          { name: "proxy", image, imagePullPolicy: "Never", args: ["proxy", "--port=8001"] },
          { name: "client", image: toolImage, args: ["pause"], readinessProbe: { periodSeconds: 1, exec: { command: readyCommand } } },
        ],
      },
    },
  ];
  return { apiVersion: "v1", kind: "List", items };
}
